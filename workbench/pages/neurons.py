"""Neurons: the strongest of every layer, and one opened with its tokens, its weights and what it changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dash import ALL, Dash, Input, Output, State, ctx
from dash.exceptions import PreventUpdate

from hooks.errors import WorkbenchError
from workbench import urls
from workbench.pages.base import Page
from workbench.parts import ablation_saving, neuron_layout, neuron_watch
from workbench.parts.ablation_watch import summary_of
from workbench.parts.empty import empty, problem
from workbench.parts.given import is_many
from workbench.parts.neuron_request import clean_inputs, neuron_of, open_part, ranking_of, stack_of, zeroed_of

if TYPE_CHECKING:
    from workbench.figures.theme import ThemeName
    from workbench.workspace import Workspace

SITES = ("mlp_post", "expert_post")
Watch = Callable[..., neuron_watch.Seen]
WATCHED: dict[str, Watch] = {
    "rank-": neuron_watch.ranking,
    "": neuron_watch.neuron,
    "edited-": neuron_watch.edited,
    "zeroed-": neuron_watch.zeroed,
}


def layout(workspace: Workspace, state: urls.State) -> Any:
    """The page for the model and the prompts of the address."""
    summary = summary_of(workspace, state)
    rows = [row for row in summary["sites"] if row["site"] in SITES and row["stack"] == stack_of(state)]
    if not any(row["readable"] for row in rows):
        reason = next((row["reason"] for row in rows if row["reason"]), "no layer has an MLP whose neurons can be read")
        return empty(
            "No neurons can be read here", f"{reason}. The Model page lists what can be read.", symbol="neurons"
        )
    try:
        inputs = clean_inputs(workspace, state)
        batch = workspace.tokens(state.model, inputs).side(stack_of(state))
    except WorkbenchError as error:
        return problem(error, id="nrn-refused")
    tokens = () if is_many(state) or not batch.strings else batch.strings[0]
    return neuron_layout.page(state, summary, tokens, answers=bool(inputs.answers))


def register(app: Dash, workspace: Workspace) -> None:
    """Attach what the page does."""
    app.clientside_callback(
        "function() { return window.wbNeurons.controls.apply(null, arguments); }",
        Output("nrn-sink", "data"),
        Input({"type": "nrn-set", "name": ALL}, "value"),
        Input({"type": "nrn-set", "name": ALL}, "checked"),
        prevent_initial_call=True,
    )
    for name, watch in WATCHED.items():
        _show(app, workspace, name, watch)
    _measure(app, workspace)
    ablation_saving.register(app, workspace, "nrn-rank", lambda state: ranking_of(workspace, state).id)
    ablation_saving.register(app, workspace, "nrn", lambda state: _neuron(workspace, state, edited=False))
    ablation_saving.register(app, workspace, "nrn-edited", lambda state: _neuron(workspace, state, edited=True))
    ablation_saving.register(
        app, workspace, "nrn-zeroed", lambda state: zeroed_of(workspace, state, open_part(workspace, state)).id
    )


def _neuron(workspace: Workspace, state: urls.State, *, edited: bool) -> str:
    return neuron_of(workspace, state, open_part(workspace, state), edited=edited).id


def _show(app: Dash, workspace: Workspace, name: str, watch: Watch) -> None:
    @app.callback(
        Output(f"nrn-{name}place", "children"),
        Output(f"nrn-{name}shown", "data"),
        Input("url", "search"),
        Input("job-events", "data"),
        Input("theme", "data"),
        Input({"type": "attn-again", "of": ALL}, "n_clicks"),
        State(f"nrn-{name}shown", "data"),
        State("session", "data"),
    )
    def show(
        search: str, _: Any, theme: str | None, again: list[int | None], shown: str | None, session: str | None
    ) -> Any:
        theme_name: ThemeName = "dark" if theme == "dark" else "light"
        retry = ctx.triggered_id["of"] if isinstance(ctx.triggered_id, dict) and any(again) else ""
        key, content = watch(workspace, urls.read(search), session or "", theme_name, retry)
        if key == shown:
            raise PreventUpdate
        return content, key


def _measure(app: Dash, workspace: Workspace) -> None:
    """Zero the open neuron for real, when it is asked for."""

    @app.callback(
        Output("nrn-zeroed-place", "children", allow_duplicate=True),
        Output("nrn-zeroed-shown", "data", allow_duplicate=True),
        Input("nrn-measure", "n_clicks"),
        State("url", "search"),
        State("session", "data"),
        prevent_initial_call=True,
    )
    def measure(clicks: int | None, search: str, session: str | None) -> Any:
        if not clicks:
            raise PreventUpdate
        key, content = neuron_watch.zeroed(workspace, urls.read(search), session or "", "light", "neuron-zeroed")
        return content, key


PAGE = Page(path="/neurons", title="Neurons", order=3, icon="neurons", layout=layout, register=register)
