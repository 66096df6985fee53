"""The Tokenizer page: how a text splits and why, what the tokenizer is, how it treats languages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import dcc, html

from workbench.pages.base import Page
from workbench.parts import tokenizer_about, tokenizer_build, tokenizer_callbacks, tokenizer_data, tokenizer_views
from workbench.parts.panel import page_head
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.workspace import Workspace


def layout(workspace: Workspace, state: State) -> Any:
    """The page for the model and the prompt of the state."""
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


def _split(seen: tokenizer_data.Seen, workspace: Workspace, state: State) -> Any:
    build = tokenizer_callbacks.build_content(workspace, state, seen)
    return html.Div([tokenizer_views.table_panel(seen), tokenizer_build.build_panel(build)], className="tok-columns")


PAGE = Page("/tokenizer", "Tokenizer", 1, "tokenizer", layout, tokenizer_callbacks.register, needs_prompt=False)
