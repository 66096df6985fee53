"""The Prompt page's callbacks: one capture, then everything is read from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from dash import ALL, Dash, Input, Output, State, ctx, html, no_update
from dash.exceptions import PreventUpdate

from hooks.errors import WorkbenchError
from hooks.tokens import TokenBatch
from workbench import urls
from workbench.parts import generation_callbacks, next_token, prompt_views
from workbench.parts.empty import inline_problem, problem
from workbench.parts.generation_data import continuation_request, is_open

if TYPE_CHECKING:
    from workbench.workspace import Workspace


def register(app: Dash, workspace: Workspace) -> None:
    """Attach all of them."""
    _clientside(app)
    _capture(app, workspace)
    _draw(app, workspace)
    _append(app, workspace)
    _save(app, workspace)
    generation_callbacks.register(app, workspace)


def _clientside(app: Dash) -> None:
    """Which view is asked for, whether its job has ended, and the sliders: no server needed."""
    app.clientside_callback(
        "function(search, job, ended, before) { return window.wb.promptView(search, job, ended, before); }",
        Output("prompt-view", "data"),
        Input("url", "search"),
        Input("prompt-job", "data"),
        Input("prompt-ended", "data"),
        State("prompt-view", "data"),
    )
    app.clientside_callback(
        "function(events, job, before) { return window.wb.jobEnded(events, job, before); }",
        Output("prompt-ended", "data"),
        Input("job-events", "data"),
        Input("prompt-job", "data"),
        State("prompt-ended", "data"),
    )
    for field in ("temperature", "top_k", "top_p"):
        app.clientside_callback(
            f"function(value) {{ return window.wb.promptSlider({field!r}, value); }}",
            Output(f"prompt-{field}-value", "children"),
            Input(f"prompt-{field}", "value"),
        )
    app.clientside_callback(
        "function(events, saving, before) { return window.wb.jobEnded(events, saving, before); }",
        Output("prompt-saved", "data"),
        Input("job-events", "data"),
        Input("prompt-saving", "data"),
        State("prompt-saved", "data"),
    )


def _capture(app: Dash, workspace: Workspace) -> None:
    @app.callback(
        Output("prompt-job", "data"), Input("prompt-wanted", "data"), State("url", "search"), State("session", "data")
    )
    def start(wanted: bool, search: str, session: str | None) -> dict[str, Any]:
        if not wanted:
            raise PreventUpdate
        request = next_token.capture_request(urls.read(search))
        if workspace.capture(request) is not None:
            return {"id": request.id, "state": "done", "cached": True}
        job = workspace.submit(request, session=session or "")
        return {"id": job.id, "state": job.state, "cached": job.from_cache}


def _draw(app: Dash, workspace: Workspace) -> None:
    recent = next_token.RecentRows()

    @app.callback(
        Output("prompt-strip", "children"),
        Output("prompt-facts", "children"),
        Input("prompt-ended", "data"),
        State("prompt-job", "data"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def strip(ended: dict[str, str] | None, job: dict[str, Any] | None, search: str) -> tuple[Any, Any]:
        state = urls.read(search)
        if not ended or ended["state"] != "done" or not job or ended["id"] != next_token.capture_request(state).id:
            raise PreventUpdate
        return _strip(workspace, state, cached=job["cached"])

    @app.callback(
        Output("prompt-table", "children"),
        Output("prompt-heading", "children"),
        Input("prompt-view", "data"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def table(view: dict[str, Any] | None, search: str) -> tuple[Any, Any]:
        state = urls.read(search)
        # An answer that comes late belongs to a prompt that is gone; a generated token has a table of its own.
        if not view or view["id"] != next_token.capture_request(state).id or is_open(state):
            raise PreventUpdate
        batch = workspace.tokens(state.model, next_token.inputs_of(state))
        heading = prompt_views.heading(batch, state)
        if view["state"] != "done":
            return _stopped(workspace, view), heading
        try:
            position = next_token.position_of(state, batch.lengths[0])
            logits = recent.get(next_token.stored_logits(workspace, state), position)
        except WorkbenchError as error:
            return problem(error), heading
        last = position == batch.lengths[0] - 1
        return _table(workspace, state, batch, logits, None if last else position + 1), heading


def _strip(workspace: Workspace, state: urls.State, *, cached: bool) -> tuple[Any, Any]:
    """The chips with their surprisal, and the facts beside them."""
    batch = workspace.tokens(state.model, next_token.inputs_of(state))
    logits = next_token.stored_logits(workspace, state).read("logits", prompt=0)
    values = next_token.surprisals(logits, batch.id_lists()[0])
    source = "from the cache" if cached else "computed just now"
    mean = float(np.mean(values)) if values else None
    selected = None if is_open(state) else batch.lengths[0] - 1 if state.position is None else state.position
    return prompt_views.token_strip(batch, values, selected), prompt_views.facts(batch, source, mean)


def _table(
    workspace: Workspace, state: urls.State, batch: TokenBatch, logits: np.ndarray, following: int | None
) -> Any:
    """The table with its footer. following: where the token that came next stands."""
    rows = next_token.candidates(workspace, state, logits)
    if following is None:
        return [prompt_views.table(rows, actual=None, can_append=True), prompt_views.footer(rows, None, state)]
    after = batch.id_lists()[0][following]
    actual = (batch.strings[0][following], *next_token.place_of(logits, after, state.temperature))
    return [prompt_views.table(rows, actual=after, can_append=False), prompt_views.footer(rows, actual, state)]


def _stopped(workspace: Workspace, view: dict[str, Any]) -> Any:
    job = workspace.job(view["id"])
    stopped = {"message": "the run was cancelled.", "hint": "Reload the page to run it again."}
    return problem((job.error if job is not None else None) or stopped)


def _append(app: Dash, workspace: Workspace) -> None:
    @app.callback(
        Output("url", "search", allow_duplicate=True),
        Output("prompt-action-note", "children"),
        Input({"type": "prompt-append", "id": ALL}, "n_clicks"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def append(clicks: list[int | None], search: str) -> tuple[Any, Any]:
        if not any(clicks):
            raise PreventUpdate
        try:
            prompt = next_token.appended(workspace, urls.read(search), ctx.triggered_id["id"])
        except WorkbenchError as error:
            return no_update, inline_problem(error)
        return urls.change(search, prompt=prompt, position=None, token=None, steps=0, chosen=None), None


def _save(app: Dash, workspace: Workspace) -> None:
    @app.callback(
        Output("prompt-saving", "data"),
        Output("prompt-action-note", "children", allow_duplicate=True),
        Input("prompt-save", "n_clicks"),
        State("url", "search"),
        State("session", "data"),
        prevent_initial_call=True,
    )
    def save(clicks: int | None, search: str, session: str | None) -> tuple[Any, Any]:
        if not clicks:
            raise PreventUpdate
        state = urls.read(search)
        try:
            request = continuation_request(workspace, state) if is_open(state) else next_token.experiment_request(state)
            job = workspace.submit(request, session=session or "")
        except WorkbenchError as error:
            return no_update, inline_problem(error)
        return {"id": job.id, "state": job.state}, html.Span("Saving…", className="wb-muted")

    @app.callback(
        Output("prompt-action-note", "children", allow_duplicate=True),
        Input("prompt-saved", "data"),
        prevent_initial_call=True,
    )
    def saved(ended: dict[str, str] | None) -> Any:
        if not ended:
            raise PreventUpdate
        if ended["state"] != "done":
            return _stopped(workspace, ended)
        workspace.keep(ended["id"])
        link = html.A(
            "Open it",
            href=f"/results?open={ended['id']}",
            **{"data-wb-nav": "/results", "data-wb-set": f'{{"open": "{ended["id"]}"}}'},
        )
        return html.Span(["Saved to the results. ", link], className="wb-muted")
