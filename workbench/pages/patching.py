"""Patch: which parts carry the difference between a pair of prompts; paths, cut edges, direct effects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import ALL, Dash, Input, Output, State, no_update
from dash.exceptions import PreventUpdate

from hooks.errors import WorkbenchError
from workbench import urls
from workbench.pages.base import Page
from workbench.parts import patch_layout, patch_pair, patch_watch, run_panel
from workbench.parts.ablation_watch import summary_of
from workbench.parts.empty import inline_problem

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
    run_panel.register(app, workspace, patch_watch.PREFIX, patch_watch.watch, patch_watch.experiment_of)


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
        Output("pat-pair", "children"),
        Output("pat-pair-shown", "data"),
        Output("pat-controls", "children"),
        Output("pat-controls-shown", "data"),
        Input("url", "search"),
        State("pat-pair-shown", "data"),
        State("pat-controls-shown", "data"),
    )
    def follow(search: str, pair_before: str | None, controls_before: str | None) -> Any:
        state = urls.read(search)
        summary = summary_of(workspace, state)
        pair_key, controls_key = patch_pair.pair_key(state), patch_layout.controls_key(state, summary)
        new_pair = pair_before is not None and pair_key != pair_before
        new_controls = controls_before is not None and controls_key != controls_before
        return (
            _heading(workspace, state),
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


PAGE = Page(path="/patching", title="Patch", order=6, icon="patch", layout=layout, register=register)
