"""Looking into the component trees that layouts return."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def text_of(component: Any) -> str:
    """All text of a component tree."""
    if isinstance(component, str | int | float):
        return str(component)
    if isinstance(component, list | tuple):
        return " ".join(text_of(child) for child in component)
    children = getattr(component, "children", None)
    return "" if children is None else text_of(children)


def all_of(component: Any, wanted: Callable[[Any], bool]) -> list[Any]:
    """The components of a tree that satisfy a condition."""
    if component is None or isinstance(component, str | int | float):
        return []
    if isinstance(component, list | tuple):
        return [found for child in component for found in all_of(child, wanted)]
    here = [component] if wanted(component) else []
    return here + all_of(getattr(component, "children", None), wanted)
