"""Patch: a pair of prompts, and which parts carry the difference between them; also paths, cut edges, direct effects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import ALL, Dash, Input, Output, State, no_update
from dash.exceptions import PreventUpdate

from hooks.errors import WorkbenchError
from workbench import urls
from workbench.pages.base import Page
from workbench.parts import ablation_saving, patch_layout, patch_pair, patch_watch
from workbench.parts.ablation_watch import leave, summary_of
from workbench.parts.empty import inline_problem
from workbench.parts.task_picker import button_words

if TYPE_CHECKING:
    from workbench.workspace import Workspace


def layout(workspace: Workspace, state: urls.State) -> Any:
    """The page for the model, the pair and the method of the address."""
    summary = summary_of(workspace, state)
    return patch_layout.page(state, _heading(workspace, state), patch_pair.pair(workspace, state), summary)


def _heading(workspace: Workspace, state: urls.State) -> Any:
    try:
        return patch_watch.heading(workspace, state)
    except WorkbenchError as error:
        return inline_problem(error)


def register(app: Dash, workspace: Workspace) -> None:
    """Attach what the page does."""
    _browser(app)
    _follow(app, workspace)
    _use(app, workspace)
    _map(app, workspace)
    _forecast(app, workspace)
    ablation_saving.register(
        app, workspace, "patch", lambda state: patch_watch.asked_of(workspace, state).experiment.id
    )


def _browser(app: Dash) -> None:
    """From the controls into the address; the function lives in assets/patching.js."""
    app.clientside_callback(
        "function() { return window.wbPatching.controls.apply(null, arguments); }",
        Output("pat-sink", "data"),
        Input({"type": "pat-set", "name": ALL}, "value"),
        Input({"type": "pat-set", "name": ALL}, "checked"),
        prevent_initial_call=True,
    )


def _follow(app: Dash, workspace: Workspace) -> None:
    """The sentence, the pair and the controls, as far as the address changes them."""

    @app.callback(
        Output("pat-sentence", "children"),
        Output("header-task", "children", allow_duplicate=True),
        Output("pat-pair", "children"),
        Output("pat-pair-shown", "data"),
        Output("pat-controls", "children"),
        Output("pat-controls-shown", "data"),
        Input("url", "search"),
        State("pat-pair-shown", "data"),
        State("pat-controls-shown", "data"),
        prevent_initial_call="initial_duplicate",
    )
    def follow(search: str, pair_before: str | None, controls_before: str | None) -> Any:
        state = urls.read(search)
        summary = summary_of(workspace, state)
        pair_key, controls_key = patch_pair.pair_key(state), patch_layout.controls_key(state, summary)
        new_pair = pair_before is not None and pair_key != pair_before
        new_controls = controls_before is not None and controls_key != controls_before
        return (
            _heading(workspace, state),
            button_words(state),
            patch_pair.pair(workspace, state) if new_pair else no_update,
            pair_key,
            patch_layout.controls(state, summary) if new_controls else no_update,
            controls_key,
        )


def _use(app: Dash, workspace: Workspace) -> None:
    @app.callback(
        Output("url", "search", allow_duplicate=True),
        Input("pat-use", "n_clicks"),
        State("pat-clean", "value"),
        State("pat-corrupt", "value"),
        State("pat-answer", "value"),
        State("pat-foil", "value"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def use(
        clicks: int | None, clean: str | None, corrupt: str | None, answer: str | None, foil: str | None, search: str
    ) -> str:
        if not clicks:
            raise PreventUpdate
        fields = {"prompt": clean or "", "corrupt": corrupt or "", "answer": answer or "", "foil": foil or ""}
        return urls.change(search, **fields)


def _map(app: Dash, workspace: Workspace) -> None:
    @app.callback(
        Output("pat-map-place", "children"),
        Output("pat-run", "children"),
        Output("pat-run", "disabled"),
        Output("pat-shown", "data"),
        Input("url", "search"),
        Input("job-events", "data"),
        Input("theme", "data"),
        State("pat-shown", "data"),
        State("session", "data"),
    )
    def show(search: str, _: Any, theme: str | None, shown: str | None, session: str | None) -> Any:
        seen = patch_watch.watch(workspace, urls.read(search), session or "", "dark" if theme == "dark" else "light")
        if seen.key == shown:
            raise PreventUpdate
        return seen.content, seen.run, seen.busy, seen.key

    @app.callback(
        Output("pat-run", "disabled", allow_duplicate=True),
        Input("pat-run", "n_clicks"),
        State("url", "search"),
        State("session", "data"),
        prevent_initial_call=True,
    )
    def run(clicks: int | None, search: str, session: str | None) -> bool:
        if not clicks:
            raise PreventUpdate
        patch_watch.start(workspace, urls.read(search), session or "")
        return True

    @app.callback(
        Output("cancelled", "data", allow_duplicate=True),
        Input(patch_watch.CANCEL, "n_clicks"),
        State("url", "search"),
        State("session", "data"),
        prevent_initial_call=True,
    )
    def cancel(clicks: int | None, search: str, session: str | None) -> str:
        if not clicks:
            raise PreventUpdate
        job_id = patch_watch.asked_of(workspace, urls.read(search)).experiment.id
        workspace.cancel(job_id, session=session or "")
        return job_id


def _forecast(app: Dash, workspace: Workspace) -> None:
    @app.callback(
        Output("pat-forecast", "children"),
        Output("pat-forecast-shown", "data"),
        Input("url", "search"),
        Input("job-events", "data"),
        State("pat-forecast-shown", "data"),
        State("session", "data"),
    )
    def foresee(search: str, _: Any, before: dict[str, str] | None, session: str | None) -> Any:
        said = before or {}
        seen = patch_watch.foresee(workspace, urls.read(search), session or "")
        if said.get("job") and said["job"] != seen.job:
            leave(workspace, said["job"], session or "")
        now = {"words": seen.words, "job": seen.job}
        if now == said:
            raise PreventUpdate
        return seen.words, now


PAGE = Page(path="/patching", title="Patch", order=4, icon="patch", layout=layout, register=register)
