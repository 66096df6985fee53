"""The header: which model, whether parity holds, which tokens, how many edits; palette, theme, help."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dash import html

from workbench.figures.numbers import number
from workbench.parts import header_given
from workbench.parts.icons import icon
from workbench.parts.kinds import Kind
from workbench.urls import State


def header() -> Any:
    """The header's fixed parts; `facts` and `given` fill the rest."""
    return html.Header(
        [
            html.Div(
                [
                    html.Span(id="header-facts", className="wb-given"),
                    html.Span(id="header-given", className="wb-given"),
                ],
                className="wb-facts",
            ),
            html.Div(
                [
                    html.Button(
                        [icon("edit", size=16), html.Span("clean", id="edit-count")],
                        id="header-edits",
                        className="wb-pill",
                        **_action("tray", "Active edits: open or close the edit tray"),
                    ),
                    html.Button(
                        html.Kbd("Ctrl K"),
                        id="header-palette",
                        className="wb-pill wb-only-wide",
                        **_action("palette", "Open the command palette"),
                    ),
                    html.Button(
                        icon("theme"),
                        id="header-theme",
                        className="wb-icon-button",
                        **_action("theme", "Switch between light and dark"),
                    ),
                    html.Button(
                        icon("help"), id="header-help", className="wb-icon-button", **_action("help", "Show all keys")
                    ),
                ],
                className="wb-header-tools",
            ),
        ],
        className="wb-header",
        id="header",
    )


def facts(state: State, summary: Mapping[str, Any] | None, status: str) -> list[Any]:
    """Model and parity for a state. status: open, opening or failed."""
    return [
        html.Button(
            [_model(state.model), icon("down", size=14)],
            id="header-model",
            className="wb-pill",
            **_action("model", "Model: choose another"),
        ),
        parity(summary, status, id="header-parity"),
    ]


def given(
    state: State, summary: Mapping[str, Any] | None, tokens: int | None, many: header_given.Many | None = None
) -> Any:
    """What the pages work on. tokens: of the one prompt, None if unknown; many: the task or table that is chosen."""
    kind = Kind.of(summary) if summary is not None and "info" in summary else None
    return header_given.pill(state, kind, tokens, many)


def _model(name: str) -> Any:
    """A model's name, cut at its front where it is long: the end of a path says which it is."""
    return html.Span(html.Bdi(name, dir="ltr"), className="wb-mono wb-ellipsis wb-ellipsis-front", title=name)


def parity(summary: Mapping[str, Any] | None, status: str, *, id: str) -> Any:
    """The parity verdict as a dot and words; a link to the proof."""
    if summary is None:
        tone, words = ("bad", "not open") if status == "failed" else ("idle", "opening…")
    elif summary["parity"]["exact"]:
        tone, words = "ok", "exact parity"
    else:
        tone, words = "warn", f"read-only: parity within {number(summary['parity']['error'], digits=2)}"
    return html.A(
        [html.Span(className=f"wb-dot wb-dot-{tone}"), html.Span(words)],
        href="/model",
        id=id,
        className=f"wb-pill wb-parity wb-parity-{tone}",
        title="Logits under observation against the unobserved model; opens the proof",
        **{"data-wb-nav": "/model"},
    )


def _action(name: str, label: str) -> dict[str, Any]:
    return {"aria-label": label, "title": label, "type": "button", "data-wb-action": name}
