"""The Tokenizer page: how a text splits and why, what the tokenizer is, how it treats languages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import dcc, html

from workbench.pages.base import Page
from workbench.parts import tokenizer_about, tokenizer_build, tokenizer_callbacks, tokenizer_data, tokenizer_views
from workbench.parts.empty import empty
from workbench.parts.kinds import Kind
from workbench.parts.panel import page_head
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.workspace import Workspace


def layout(workspace: Workspace, state: State) -> Any:
    """The page for the model and the prompt of the state. Raises ModelError."""
    summary = workspace.summary(state.model)
    if summary is not None and "info" in summary and not Kind.of(summary).text and not summary["tokenizer_hash"]:
        return _none(Kind.of(summary))
    seen = tokenizer_data.see(workspace, state)
    answer = tokenizer_callbacks.lookup_content(workspace, state)
    return [
        dcc.Store(id="tokenizer-view", data={"position": state.position}),
        dcc.Store(id="tokenizer-texts", data=tokenizer_views.exported(seen)),
        dcc.Store(id="tokenizer-said"),
        page_head(
            "Tokenizer",
            "How a text becomes tokens, and why it splits where it does.",
            tokenizer_views.tools() if seen.report else None,
        ),
        tokenizer_views.text_panel(seen, state),
        *([_split(seen, workspace, state)] if seen.report else []),
        html.Div(
            [
                html.Div(
                    [
                        tokenizer_about.lookup_panel(state.lookup, answer),
                        tokenizer_about.languages_panel(seen.languages),
                    ],
                    className="wb-stack",
                ),
                tokenizer_about.facts_panel(seen.facts),
            ],
            className="tok-columns",
        ),
    ]


def _none(kind: Kind) -> Any:
    what = "a sound" if kind.sound else "an image"
    link = html.A(
        "Open the Prompt page", href="/prompt", className="wb-button wb-primary", **{"data-wb-nav": "/prompt"}
    )
    reason = f"It is given {what}, not a text: the Prompt page shows how that is cut into what the model attends to."
    return empty("This model has no tokenizer", reason, link)


def _split(seen: tokenizer_data.Seen, workspace: Workspace, state: State) -> Any:
    build = tokenizer_callbacks.build_content(workspace, state, seen)
    return html.Div([tokenizer_views.table_panel(seen), tokenizer_build.build_panel(build)], className="tok-columns")


PAGE = Page("/tokenizer", "Tokenizer", 1, "tokenizer", layout, tokenizer_callbacks.register, needs_prompt=False)
