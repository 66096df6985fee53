"""Page: what a page module exports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dash import Dash

from workbench.urls import State

if TYPE_CHECKING:
    from workbench.workspace import Workspace


@dataclass(frozen=True)
class Page:
    """A page of the app.

    path: its address, such as `/attention`. layout: components for a state of the address. register: attach callbacks
    to the app, once. order: place in the navigation. icon: name of a drawing in `workbench.parts.icons`.
    """

    path: str
    title: str
    order: int
    icon: str
    layout: Callable[[Workspace, State], Any]
    register: Callable[[Dash, Workspace], None]
    needs_model: bool = True
    needs_prompt: bool = True
