"""What stands where there is nothing yet: an empty state with one next step, an error with its hint, a running job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dash_mantine_components as dmc
from dash import html

from hooks.errors import WorkbenchError
from workbench.figures.numbers import seconds
from workbench.parts.icons import icon


def empty(title: str, text: str, action: Any = None, *, symbol: str = "info", id: str = "wb-empty") -> Any:
    """An empty state: what is missing, why, and the one next step (`action`, usually a button)."""
    return html.Div(
        [icon(symbol, size=28), html.H2(title), html.P(text), *([action] if action is not None else [])],
        className="wb-empty",
        id=id,
    )


def problem(
    error: WorkbenchError | Mapping[str, str], action: Any = None, *, title: str = "", id: str = "wb-problem"
) -> Any:
    """An error where its result would stand: the message, what to do about it, perhaps a button that does it."""
    given = error.as_dict() if isinstance(error, WorkbenchError) else error
    lines = [html.P(sentence(given["message"]), className="wb-problem-message")]
    if given.get("hint"):
        lines.append(html.P(given["hint"], className="wb-problem-hint"))
    heading = [html.H2(title)] if title else []
    body = html.Div([*heading, *lines, *([action] if action is not None else [])])
    return html.Div([icon("warning"), body], className="wb-problem", role="alert", id=id)


def inline_problem(error: WorkbenchError | Mapping[str, str] | None) -> Any:
    """The same, small, beside the control that caused it; nothing for None."""
    if error is None:
        return None
    given = error.as_dict() if isinstance(error, WorkbenchError) else error
    hint = [" ", html.Span(given["hint"], className="wb-muted")] if given.get("hint") else []
    return html.Span([html.Strong(sentence(given["message"])), *hint], className="wb-inline-problem", role="alert")


def waiting(
    title: str,
    message: str,
    done: int = 0,
    total: int = 0,
    seconds_left: float | None = None,
    *,
    id: str = "wb-waiting",
) -> Any:
    """Something is being computed: what, how far, how long still. Words first, then the bar."""
    share = 100 * done / total if total else 0
    left = f"{seconds(seconds_left)} left" if seconds_left is not None else ""
    count = f"{done} of {total}" if total > 1 else ""
    facts = " · ".join(part for part in (message, count, left) if part)
    bar = dmc.Progress(
        value=share if total else 100, animated=not total, striped=not total, size=6, **{"aria-label": title}
    )
    return html.Div(
        [html.H2(title), html.P(facts, className="wb-muted"), bar], className="wb-waiting", id=id, role="status"
    )


def sentence(text: str) -> str:
    """`text` with a capital at its start."""
    return text[:1].upper() + text[1:]
