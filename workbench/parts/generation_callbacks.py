"""The callbacks of the Prompt page's continuation: it is watched, its open token is drawn, it becomes the prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import ALL, Dash, Input, Output, State, ctx, no_update
from dash.exceptions import PreventUpdate

from hooks.errors import WorkbenchError
from workbench import urls
from workbench.parts import generation_watch
from workbench.parts.empty import inline_problem, problem

if TYPE_CHECKING:
    from workbench.workspace import Workspace

CONTROLS = (("gen-mode", "value"), ("gen-seed", "value"), ("gen-layer", "value"), ("gen-head", "value"),
            ("gen-hide", "checked"))  # fmt: skip
NEEDS_STEPS = ("gen-seed", "gen-undo", "gen-reset", "gen-keep")


def register(app: Dash, workspace: Workspace) -> None:
    """Attach all of them."""
    _browser(app)
    _watch(app, workspace)
    _open(app, workspace)
    _keep(app, workspace)


def _browser(app: Dash) -> None:
    """Controls and address follow each other; the functions live in assets/prompt.js."""
    app.clientside_callback(
        "function() { return window.wb.generationControls.apply(null, arguments); }",
        Output("gen-sink", "data"),
        *(Input(*control) for control in CONTROLS),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        "function() { return window.wb.generationFollow.apply(null, arguments); }",
        [
            *(Output(*control, allow_duplicate=True) for control in CONTROLS),
            *(Output(name, "disabled") for name in NEEDS_STEPS),
        ],
        Input("url", "search"),
        *(State(*control) for control in CONTROLS),
        prevent_initial_call="initial_duplicate",
    )


def _watch(app: Dash, workspace: Workspace) -> None:
    @app.callback(
        Output("gen-strip", "children"),
        Output("gen-strip", "className"),
        Output("gen-status", "children"),
        Output("gen-shown", "data"),
        Input("url", "search"),
        Input("job-events", "data"),
        Input({"type": "gen-again", "of": ALL}, "n_clicks"),
        State("gen-shown", "data"),
        State("session", "data"),
    )
    def show(search: str, _: Any, again: list[int | None], shown: dict[str, str] | None, session: str | None) -> Any:
        before, asked = shown or {}, isinstance(ctx.triggered_id, dict) and any(again)
        seen = generation_watch.watch(workspace, urls.read(search), session or "", again=bool(asked))
        if before.get("job") and before["job"] != seen.job:
            generation_watch.leave(workspace, before["job"], session or "")
        if seen.key == before.get("key"):
            raise PreventUpdate
        strip, look = (no_update, "gen-strip gen-busy") if seen.strip is None else (seen.strip, "gen-strip")
        return strip, look, seen.status, {"key": seen.key, "job": seen.job}


def _open(app: Dash, workspace: Workspace) -> None:
    @app.callback(
        Output("prompt-table", "children", allow_duplicate=True),
        Output("prompt-heading", "children", allow_duplicate=True),
        Output("gen-attention-row", "children"),
        Output("gen-attention", "hidden"),
        Input("url", "search"),
        Input("gen-shown", "data"),
        prevent_initial_call=True,
    )
    def draw(search: str, _: Any) -> tuple[Any, Any, Any, bool]:
        state = urls.read(search)
        try:
            seen = generation_watch.opened(workspace, state)
        except WorkbenchError as error:
            return problem(error), no_update, None, True
        if seen is None:
            return no_update, no_update, no_update, state.chosen is None
        return seen.table, seen.heading, seen.attention, False


def _keep(app: Dash, workspace: Workspace) -> None:
    @app.callback(
        Output("url", "search", allow_duplicate=True),
        Output("gen-status", "children", allow_duplicate=True),
        Input("gen-keep", "n_clicks"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def keep(clicks: int | None, search: str) -> tuple[Any, Any]:
        if not clicks:
            raise PreventUpdate
        try:
            prompt = generation_watch.kept_prompt(workspace, urls.read(search))
        except WorkbenchError as error:
            return no_update, inline_problem(error)
        return urls.change(search, prompt=prompt, position=None, token=None, steps=0, chosen=None), None
