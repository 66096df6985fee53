"""The Prompt page of models that continue no text: what they are given, and what they answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import ALL, Dash, Input, Output, State, ctx, dcc, html
from dash.exceptions import PreventUpdate

from hooks.errors import StoreError, WorkbenchError
from hooks.tokens import TokenBatch
from workbench import urls
from workbench.parts import answer_edited, answers
from workbench.parts import answer_views as views
from workbench.parts.attention_progress import outcome, pending, told
from workbench.parts.chips import chips_of, strip
from workbench.parts.empty import inline_problem, problem
from workbench.parts.icons import icon
from workbench.parts.image_view import legend, preview
from workbench.parts.kinds import Kind, kind_of
from workbench.parts.panel import page_head, panel

if TYPE_CHECKING:
    from workbench.workspace import Workspace

ABOUT = {
    "masked": "The tokens exactly as the model gets them, and what it would fill in.",
    "seq2seq": "What the encoder reads, what the decoder has written, and the token it expects next.",
    "features": "The tokens exactly as the model gets them, and the embedding it makes of them.",
    "pairs": "The text and the image exactly as the model gets them, and how alike it finds them.",
}
STACK_TITLES = {"encoder": "Read by the encoder", "vision": "Image"}


def layout(workspace: Workspace, state: urls.State, kind: Kind) -> Any:
    """The page for what the state gives the model; the answer arrives by a callback."""
    batch = workspace.tokens(state.model, answers.inputs_of(state.model_copy(update={"other": ""})))
    words = "Edit prompt" if kind.text else f"Choose {kind.given.lower()}"
    edit = html.Button(
        [icon("edit", size=16), words], className="wb-button", type="button", **{"data-wb-action": "prompt"}
    )
    usual = "What the model is given, exactly as it gets it, and the class it chooses."
    return [
        dcc.Store(id="ans-shown"),
        dcc.Store(id="ans-saving"),
        dcc.Store(id="ans-edited-shown"),
        page_head("Prompt", ABOUT.get(kind.task, usual), edit),
        html.Div(_given(state, kind, batch, _selected(state, batch, kind)), id="ans-given", className="wb-stack"),
        panel(
            html.Span(views.title(kind, batch, state), id="ans-title"),
            html.Div(views.reserved(kind), id="ans-answer", className="ans-answer"),
            html.Div(views.save(kind), className="wb-tools ans-save"),
            id="ans-panel",
        ),
        html.Div(id="ans-edited", className="wb-stack"),
    ]


def _selected(state: urls.State, batch: TokenBatch, kind: Kind) -> int | None:
    if batch.single:
        return None
    try:
        return answers.position_of(state, batch)
    except WorkbenchError:
        return None


def _given(state: urls.State, kind: Kind, batch: TokenBatch, selected: int | None) -> list[Any]:
    """A panel for each stack: its tokens, or its image with the patches."""
    panels = [_side(state, kind, side, STACK_TITLES.get(name, name)) for name, side in batch.sides.items()]
    title = {"seq2seq": "Target so far", "pairs": "Text"}.get(kind.task, "Image" if batch.inputs else "Tokens")
    return [*panels, _side(state, kind, batch, title, main=True, selected=selected)]


def _side(
    state: urls.State, kind: Kind, batch: TokenBatch, title: str, *, main: bool = False, selected: int | None = None
) -> Any:
    warnings = [html.P(warning, className="wb-muted") for warning in batch.warnings]
    if batch.inputs:
        return panel(title, preview(state, kind), legend(kind), *warnings, tools=views.image_facts(kind, batch))
    readout = html.P(views.readout(kind), id="prompt-readout", className="prompt-readout") if main else None
    shown = strip(chips_of(batch), id="prompt-chips" if main else f"ans-{title[0].lower()}", selected=selected)
    return panel(title, shown, readout, *warnings, tools=views.token_facts(batch))


def register(app: Dash, workspace: Workspace) -> None:
    """Ask for the answer, draw it, save it, compare with another text."""
    _draw(app, workspace)
    _save(app, workspace)
    answer_edited.register(app, workspace)

    @app.callback(
        Output("url", "search", allow_duplicate=True),
        Input("ans-compare", "n_clicks"),
        Input("ans-other", "n_submit"),
        State("ans-other", "value"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def compare(clicks: int | None, entered: int | None, other: str | None, search: str) -> str:
        if not clicks and not entered:
            raise PreventUpdate
        return urls.change(search, other=other or "")


def _draw(app: Dash, workspace: Workspace) -> None:
    @app.callback(
        Output("ans-given", "children"),
        Output("ans-title", "children"),
        Output("ans-answer", "children"),
        Output("ans-shown", "data"),
        Input("url", "search"),
        Input("job-events", "data"),
        Input({"type": "attn-again", "of": ALL}, "n_clicks"),
        State("ans-shown", "data"),
        State("session", "data"),
    )
    def draw(search: str, _: Any, again: list[int | None], shown: str | None, session: str | None) -> Any:
        state = urls.read(search)
        kind = kind_of(workspace, state)
        if kind is None or kind.task == "causal":
            raise PreventUpdate
        batch = workspace.tokens(state.model, answers.inputs_of(state.model_copy(update={"other": ""})))
        retry = isinstance(ctx.triggered_id, dict) and any(again)
        key, content = answer(workspace, state, kind, batch, session or "", again=bool(retry))
        if key == shown:
            raise PreventUpdate
        title = views.title(kind, batch, state)
        return _given(state, kind, batch, _selected(state, batch, kind)), title, content, key


def answer(
    workspace: Workspace, state: urls.State, kind: Kind, batch: TokenBatch, session: str, *, again: bool = False
) -> tuple[str, Any]:
    """What the panel says, and a key that changes whenever that does."""
    looked = f"{state.position} {state.top_k} {state.answer} {state.foil} {state.other}"
    try:
        request = answers.request_of(state, kind)
        job = pending(workspace, request, session, again=again)
        if job is not None:
            return f"{job.id} {job.state} {job.done} {job.message}", told(job, "answer")
        stored = outcome(workspace, request)
        if stored is None:
            raise StoreError("the stored logits are gone: they were removed to make room.", "Reload the page.")
        return f"done {request.id} {looked}", _answered(workspace, state, kind, batch, stored)
    except WorkbenchError as error:
        return f"refused {error} {looked}", problem(error)


def _answered(workspace: Workspace, state: urls.State, kind: Kind, batch: TokenBatch, stored: Any) -> Any:
    if kind.task == "features":
        return views.embedding(answers.embedding_of(stored.read("logits")), state)
    logits = stored.read("logits", prompt=0)
    if kind.output == "number":
        return views.value(float(logits[answers.position_of(state, batch), 0]), kind)
    marks = answers.marks_of(workspace, state)
    rows = answers.choices(workspace, state, kind, logits[answers.position_of(state, batch)], marks)
    return [views.table(rows, kind), views.footer(rows, kind, batch)]


def _save(app: Dash, workspace: Workspace) -> None:
    @app.callback(
        Output("ans-saving", "data"),
        Output("ans-note", "children"),
        Input("ans-save", "n_clicks"),
        State("url", "search"),
        State("session", "data"),
        prevent_initial_call=True,
    )
    def save(clicks: int | None, search: str, session: str | None) -> Any:
        if not clicks:
            raise PreventUpdate
        try:
            job = workspace.submit(answers.experiment_of(urls.read(search)), session=session or "")
        except WorkbenchError as error:
            raise PreventUpdate from error
        return job.id, html.Span("Saving…", className="wb-muted")

    @app.callback(
        Output("ans-note", "children", allow_duplicate=True),
        Output("ans-saving", "data", allow_duplicate=True),
        Input("job-events", "data"),
        Input("ans-saving", "data"),
        prevent_initial_call=True,
    )
    def saved(_: Any, job_id: str | None) -> Any:
        job = workspace.job(job_id) if job_id else None
        if job is None or job.active:
            raise PreventUpdate
        if job.state != "done":
            return inline_problem(job.error or {"message": "saving was cancelled.", "hint": ""}), None
        workspace.keep(job.id)
        return views.saved(job.id), None
