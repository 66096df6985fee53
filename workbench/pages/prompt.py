"""The Prompt page: the tokens as fed, how surprising each was, and what would come next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import Dash, dcc, html

from hooks.errors import WorkbenchError
from hooks.tokens import TokenBatch
from workbench.pages.base import Page
from workbench.parts import answer_page, generation_views, next_token, prompt_callbacks, prompt_edited, prompt_views
from workbench.parts.generation_data import is_open
from workbench.parts.icons import icon
from workbench.parts.kinds import kind_of
from workbench.parts.panel import page_head, panel
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.workspace import Workspace

ABOUT = "The tokens exactly as the model gets them, and what it expects after each."


def layout(workspace: Workspace, state: State) -> Any:
    """The page for the prompt of the state; what is captured already is drawn at once."""
    kind = kind_of(workspace, state)
    if kind is not None and kind.task != "causal":
        return answer_page.layout(workspace, state, kind)
    batch = workspace.tokens(state.model, next_token.inputs_of(state))
    edit = html.Button(
        [icon("edit", size=16), "Edit prompt"], className="wb-button", type="button", **{"data-wb-action": "prompt"}
    )
    position = html.Button(
        [icon("ablate", size=16), "Edit at token"],
        className="wb-button",
        type="button",
        title="Zero the residual stream at the chosen token (a); layer and kind can be changed in the tray",
        **{"data-prompt-edit": ""},
    )
    return [
        dcc.Store(id="prompt-wanted", data=True),
        dcc.Store(id="prompt-job"),
        dcc.Store(id="prompt-ended"),
        dcc.Store(id="prompt-view"),
        dcc.Store(id="prompt-saving"),
        dcc.Store(id="prompt-saved"),
        dcc.Store(id="gen-shown"),
        dcc.Store(id="gen-sink"),
        dcc.Store(id="prompt-edited-shown"),
        page_head(
            "Prompt", "The tokens exactly as the model gets them, and what it expects after each.", [position, edit]
        ),
        _tokens(batch, state),
        generation_views.continuation(state),
        panel(
            html.Span(prompt_views.heading(batch, state), id="prompt-heading"),
            html.Div(
                [
                    html.Div(prompt_views.reserved(state), id="prompt-table", className="prompt-table"),
                    prompt_views.controls(state),
                ],
                className="prompt-next",
            ),
            generation_views.attention_place(state, workspace.summary(state.model)),
            tools=html.A(
                [icon("lens", size=16), "Layer by layer"],
                href="/lens",
                className="wb-button",
                id="prompt-lens",
                **{"data-wb-nav": "/lens"},
            ),
            id="prompt-next-panel",
        ),
        html.Div(id="prompt-edited", className="wb-stack"),
    ]


def _tokens(batch: TokenBatch, state: State) -> Any:
    selected = _selected(batch, state)
    strip = prompt_views.token_strip(batch, None, selected)
    warnings = [html.P(warning, className="wb-muted") for warning in batch.warnings]
    return panel(
        "Tokens",
        html.Div(strip, id="prompt-strip"),
        html.P(
            "Point at a token for its position and id; click it to see what was expected after it.",
            id="prompt-readout",
            className="prompt-readout",
        ),
        *warnings,
        tools=html.Span(prompt_views.facts(batch, None), id="prompt-facts", className="wb-tools"),
        about=prompt_views.legend(),
        id="prompt-tokens-panel",
    )


def _selected(batch: TokenBatch, state: State) -> int | None:
    if is_open(state):
        return None
    try:
        return next_token.position_of(state, batch.lengths[0])
    except WorkbenchError:
        return None


def register(app: Dash, workspace: Workspace) -> None:
    """Capture the logits once; redraw from them."""
    prompt_callbacks.register(app, workspace)
    prompt_edited.register(app, workspace)
    answer_page.register(app, workspace)


PAGE = Page("/prompt", "Prompt", 1, "prompt", layout, register)
