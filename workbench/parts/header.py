"""The header: which model, whether parity holds, which tokens, how many edits; palette, theme, help."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dash import html

from workbench.figures.numbers import number
from workbench.parts.icons import icon
from workbench.parts.kinds import Kind
from workbench.urls import State

SHOWN_CHARACTERS = 42


def header() -> Any:
    """The header's fixed parts; `facts` fills the rest."""
    return html.Header(
        [
            html.Div(id="header-facts", className="wb-facts"),
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


def facts(state: State, summary: Mapping[str, Any] | None, status: str, tokens: int | None) -> list[Any]:
    """Model, parity and prompt for a state. status: open, opening or failed; tokens: how many, None if unknown."""
    kind = Kind.of(summary) if summary is not None and "info" in summary else None
    count = html.Span(
        f"({tokens})" if tokens is not None else "", className="wb-muted wb-number", title="tokens as fed"
    )
    return [
        html.Button(
            [_model(state.model), icon("down", size=14)],
            id="header-model",
            className="wb-pill",
            **_action("model", "Model: choose another"),
        ),
        parity(summary, status, id="header-parity"),
        html.Button(
            [html.Span(given(state, kind), className="wb-ellipsis", dir="auto"), count, icon("down", size=14)],
            id="header-prompt",
            className="wb-pill wb-prompt-pill",
            **_action("prompt", "Prompt: edit what the model is given, answer and foil"),
        ),
    ]


def _model(name: str) -> Any:
    """A model's name, cut at its front where it is long: the end of a path says which it is."""
    return html.Span(html.Bdi(name, dir="ltr"), className="wb-mono wb-ellipsis wb-ellipsis-front", title=name)


def given(state: State, kind: Kind | None) -> str:
    """What the model is given, in few words: the text, the image, what was written so far."""
    text = " ".join(state.prompt.split())
    text = f"“{text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + '…'}”"
    if kind is None:
        return text
    parts = ["sound" if kind.sound else "image"] if kind.image else []
    parts += [text] if kind.text else []
    return " + ".join(parts) + (f" → “{' '.join(state.target.split())}”" if kind.target and state.target else "")


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
