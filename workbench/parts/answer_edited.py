"""The Prompt page of models that continue no text, under the edits of the tray: the same answer, clean and edited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from dash import ALL, Dash, Input, Output, State, ctx, html
from dash.exceptions import PreventUpdate

from hooks.errors import WorkbenchError
from workbench import urls
from workbench.parts import answer_views as views
from workbench.parts import answers
from workbench.parts.ablation_effect import side_by_side
from workbench.parts.attention_progress import outcome, pending, told
from workbench.parts.edited_rows import SHOWN, rows_of
from workbench.parts.empty import problem
from workbench.parts.given import inputs_of, under_edits
from workbench.parts.kinds import Kind, kind_of
from workbench.parts.panel import panel
from workbench.requests import CaptureRequest

if TYPE_CHECKING:
    from workbench.workspace import Workspace


def request_of(workspace: Workspace, state: urls.State, kind: Kind) -> CaptureRequest:
    """The capture of the edited run. Raises WorkbenchError."""
    return under_edits(answers.request_of(state, kind), state, inputs_of(workspace, state))


def watch(workspace: Workspace, state: urls.State, kind: Kind, session: str, *, again: bool = False) -> tuple[str, Any]:
    """What the panel shows, with a key that changes whenever that does; nothing where the tray is empty."""
    looked = f"{state.position} {state.answer} {state.foil} {state.other}"
    if not state.edits:
        return "none", None
    try:
        request = request_of(workspace, state, kind)
        job = pending(workspace, request, session, again=again)
        if job is not None:
            return f"{job.id} {job.state} {job.done} {job.message}", _panel(told(job, "answer"))
        clean, edited = outcome(workspace, answers.request_of(state, kind)), outcome(workspace, request)
        if clean is None:  # the page's own capture, on its way
            return f"{request.id} waits for the clean run", None
        return f"done {request.id} {looked}", compared(workspace, state, kind, clean, edited)
    except WorkbenchError as error:
        return f"refused {error} {looked}", _panel(problem(error, id="ans-edited-problem"))


def _panel(*content: Any, title: Any = "Under the edits") -> Any:
    return panel(title, *content, edited=True, id="ans-edited-panel")


def compared(workspace: Workspace, state: urls.State, kind: Kind, clean: Any, edited: Any) -> Any:
    """The panel for two stored runs: both answers and the change. Raises InputError."""
    batch = workspace.tokens(state.model, answers.inputs_of(state.model_copy(update={"other": ""})))
    title = html.Span(views.title(kind, batch, state))
    if kind.task == "features":
        return _panel(views.embeddings(*(stored.read("logits") for stored in (clean, edited))), title=title)
    place = answers.position_of(state, batch)
    before, after = (stored.read("logits", prompt=0)[place] for stored in (clean, edited))
    if kind.output == "number":
        return _panel(views.values(float(before[0]), float(after[0]), kind), title=title)
    return _panel(_tables(workspace, state, kind, before, after), title=title)


def _tables(workspace: Workspace, state: urls.State, kind: Kind, before: np.ndarray, after: np.ndarray) -> Any:
    most = min(len(kind.classes), answers.MOST_CLASSES) or SHOWN
    rows = rows_of(before, after, lambda ids: answers.names_of(workspace, state, kind, ids), most=most)
    marks = zip(answers.marks_of(workspace, state), answers.MARKS, strict=True)
    return side_by_side(rows, {token: mark for ids, mark in marks for token in ids}, kind.noun, after="Edited")


def register(app: Dash, workspace: Workspace) -> None:
    """Run the edits when the tray or what the model is given changes; show the outcome beside the clean run."""

    @app.callback(
        Output("ans-edited", "children"),
        Output("ans-edited-shown", "data"),
        Input("url", "search"),
        Input("job-events", "data"),
        Input({"type": "attn-again", "of": ALL}, "n_clicks"),
        Input("ans-shown", "data"),
        State("ans-edited-shown", "data"),
        State("session", "data"),
    )
    def show(
        search: str, _: Any, again: list[int | None], clean: Any, shown: str | None, session: str | None
    ) -> tuple[Any, str]:
        state = urls.read(search)
        kind = kind_of(workspace, state)
        if kind is None or kind.task == "causal":
            raise PreventUpdate
        asked = isinstance(ctx.triggered_id, dict) and any(again)
        key, content = watch(workspace, state, kind, session or "", again=bool(asked))
        if key == shown:
            raise PreventUpdate
        return content, key
