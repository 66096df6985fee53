"""The Prompt page under the edits of the tray: the same tokens and the same next token, clean and edited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from dash import ALL, Dash, Input, Output, State, ctx, html
from dash.exceptions import PreventUpdate

from hooks.errors import WorkbenchError
from workbench import urls
from workbench.figures.ablation import TokenRow
from workbench.figures.numbers import number
from workbench.parts import next_token
from workbench.parts.ablation_effect import side_by_side
from workbench.parts.attention_progress import outcome, pending, told
from workbench.parts.chips import chips_of, strip
from workbench.parts.edited_rows import rows_of
from workbench.parts.empty import problem
from workbench.parts.given import inputs_of, under_edits
from workbench.parts.panel import panel
from workbench.parts.prompt_views import heading
from workbench.requests import CaptureRequest

if TYPE_CHECKING:
    from workbench.workspace import Workspace


def request_of(workspace: Workspace, state: urls.State) -> CaptureRequest:
    """The capture of the edited run. Raises WorkbenchError."""
    return under_edits(next_token.capture_request(state), state, inputs_of(workspace, state))


def watch(workspace: Workspace, state: urls.State, session: str, *, again: bool = False) -> tuple[str, Any]:
    """What the panel shows, with a key that changes whenever that does; nothing where the tray is empty."""
    looked = f"{state.position} {state.temperature}"
    if not state.edits:
        return "none", None
    try:
        request = request_of(workspace, state)
        job = pending(workspace, request, session, again=again)
        if job is not None:
            return f"{job.id} {job.state} {job.done} {job.message}", _panel(told(job, "answer"))
        clean, edited = outcome(workspace, next_token.capture_request(state)), outcome(workspace, request)
        if clean is None:  # the page's own capture, on its way
            return f"{request.id} waits for the clean run", None
        return f"done {request.id} {looked}", _compared(workspace, state, clean, edited)
    except WorkbenchError as error:
        return f"refused {error} {looked}", _panel(problem(error, id="prompt-edited-problem"))


def _panel(*content: Any, title: Any = "Under the edits") -> Any:
    return panel(title, *content, edited=True, id="prompt-edited-panel")


def _compared(workspace: Workspace, state: urls.State, clean: Any, edited: Any) -> Any:
    batch = workspace.tokens(state.model, next_token.inputs_of(state))
    before, after = (stored.read("logits", prompt=0) for stored in (clean, edited))
    position = next_token.position_of(state, batch.lengths[0])
    ids = batch.id_lists()[0]
    surprise = [next_token.surprisals(logits, ids) for logits in (before, after)]
    about = "Surprisal of the same tokens in the edited run."
    if surprise[0]:
        means = [number(float(np.mean(values))) for values in surprise]
        about = f"Mean surprisal {means[0]} nats clean, {means[1]} nats edited. Bars: surprisal in the edited run."
    rows = token_rows(workspace, state, before[position], after[position])
    chips = strip(chips_of(batch), id="prompt-edited-chips", surprisal=surprise[1], selected=position, bars=True)
    words = html.P(about, className="wb-muted", id="prompt-edited-mean")
    return _panel(chips, words, side_by_side(rows, {}, after="Edited"), title=html.Span(heading(batch, state)))


def token_rows(workspace: Workspace, state: urls.State, before: np.ndarray, after: np.ndarray) -> list[TokenRow]:
    """The likeliest tokens of either run at the state's temperature, likeliest first. before, after: [d_vocab]."""
    return rows_of(
        before,
        after,
        lambda ids: next_token.token_strings(workspace, state.model, ids),
        temperature=state.temperature,
    )


def register(app: Dash, workspace: Workspace) -> None:
    """Run the edits when the tray or the prompt changes; show the outcome beside the clean run."""

    @app.callback(
        Output("prompt-edited", "children"),
        Output("prompt-edited-shown", "data"),
        Input("url", "search"),
        Input("job-events", "data"),
        Input({"type": "attn-again", "of": ALL}, "n_clicks"),
        Input("prompt-ended", "data"),
        State("prompt-edited-shown", "data"),
        State("session", "data"),
    )
    def show(
        search: str, _: Any, again: list[int | None], ended: Any, shown: str | None, session: str | None
    ) -> tuple[Any, str]:
        asked = isinstance(ctx.triggered_id, dict) and any(again)
        key, content = watch(workspace, urls.read(search), session or "", again=bool(asked))
        if key == shown:
            raise PreventUpdate
        return content, key
