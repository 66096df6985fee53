"""A Dash app in which a part of the page that becomes empty is forgotten with all that was in it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from dash import Dash, Output


class EmptyingDash(Dash):
    """Dash, with None for `children` sent as an empty list.

    Dash's renderer keeps the addresses of components whose place is given None: the next callback with such a component
    among its outputs then ends in an error, and nothing on the page is updated any more. An empty list looks the same
    and removes the addresses.
    """

    def callback(self, *arguments: Any, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """As Dash's own."""
        attach = super().callback(*arguments, **options)
        outputs = [argument for argument in arguments if isinstance(argument, Output)]

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(function)
            def emptying(*given: Any, **named: Any) -> Any:
                return emptied(outputs, function(*given, **named))

            return attach(emptying)

        return decorate


def emptied(outputs: list[Output], result: Any) -> Any:
    """What a callback gave for its outputs, with an empty list for None where the output is `children`."""
    if len(outputs) == 1:
        return _emptied(outputs[0], result)
    if not isinstance(result, (tuple, list)) or len(result) != len(outputs):
        return result
    return [_emptied(output, value) for output, value in zip(outputs, result, strict=True)]


def _emptied(output: Output, value: Any) -> Any:
    return [] if value is None and output.component_property == "children" else value
