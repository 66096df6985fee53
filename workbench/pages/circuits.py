"""Circuits: find one, make it larger or smaller, cut and add, and see at once what is left of the model's behaviour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import ALL, Dash, Input, Output, State, no_update
from dash.exceptions import PreventUpdate

from hooks.errors import WorkbenchError
from workbench import urls
from workbench.figures.theme import ThemeName
from workbench.pages.base import Page
from workbench.parts import (
    circuit_compare,
    circuit_details,
    circuit_files,
    circuit_head,
    circuit_layout,
    circuit_lists,
    circuit_roles,
    circuit_routes,
    circuit_watch,
    run_panel,
)
from workbench.parts.ablation_watch import summary_of
from workbench.parts.circuit_request import Bases, edited_of, evaluation_of, unit_of

if TYPE_CHECKING:
    from workbench.workspace import Workspace

UNEDITED = "cir-unedited.data"
"""The address without what an edit of the circuit changes in it: most panels have nothing to do with that."""
CHANGES = (Input("url", "search"), Input("cir-come", "data"))
"""What changes what is shown of the circuit: its address, and what has come of that since."""


def layout(workspace: Workspace, state: urls.State) -> Any:
    """The page for the model, the prompts and the method of the address."""
    summary = summary_of(workspace, state)
    heading = circuit_watch.heading(workspace, Bases(workspace), state)
    return circuit_layout.page(state, heading, circuit_files.given(workspace, state), summary)


def register(app: Dash, workspace: Workspace) -> None:
    """Attach what the page does."""
    bases = Bases(workspace)

    _panels(app, workspace, bases)
    circuit_routes.register(app, workspace, bases)
    circuit_files.register(app, workspace)
    _browser(app)
    _come(app, workspace, bases)
    _follow(app, workspace, bases)
    _open(app, workspace, bases)
    _list(app, workspace, bases)
    _compare(app, workspace, bases)
    _judge(app, workspace, bases)


def _panels(app: Dash, workspace: Workspace, bases: Bases) -> None:
    """The buttons that run something, each with what it found."""

    def find(workspace: Workspace, state: urls.State, session: str, theme: ThemeName) -> run_panel.Seen:
        return circuit_watch.watch_search(bases, workspace, state, session)

    def judge(workspace: Workspace, state: urls.State, session: str, theme: ThemeName) -> run_panel.Seen:
        return circuit_watch.watch_evaluation(bases, workspace, state, session, theme)

    def roles(workspace: Workspace, state: urls.State, session: str, theme: ThemeName) -> run_panel.Seen:
        return circuit_roles.watch(bases, workspace, state)

    run_panel.register(
        app, workspace, circuit_layout.PREFIX, find, lambda _, state: bases.search(state), address=UNEDITED
    )
    run_panel.register(
        app, workspace, circuit_layout.JUDGE, judge, lambda _, state: evaluation_of(workspace, bases, state),
        forecast=False,
    )  # fmt: skip
    for prefix, watch, experiment_of in (
        (circuit_layout.ROLES, roles, lambda _, state: circuit_roles.experiment_of(bases, state)),
        (circuit_head.WRITES, circuit_head.watch_writes, circuit_head.writes_of),
        (circuit_head.LOOKS, circuit_head.watch_looks, circuit_head.score_of),
    ):
        run_panel.register(app, workspace, prefix, watch, experiment_of, forecast=False, address=UNEDITED)


def _browser(app: Dash) -> None:
    """Glue that needs no server; the functions live in assets/circuits.js."""
    app.clientside_callback(
        "function() { return window.wbCircuits.controls.apply(null, arguments); }",
        Output("cir-sink", "data"),
        Input({"type": "cir-set", "name": ALL}, "value"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        "function(search, before) { return window.wbCircuits.unedited(search, before); }",
        Output("cir-unedited", "data"),
        Input("url", "search"),
        State("cir-unedited", "data"),
    )
    app.clientside_callback(
        "function() { return window.wbCircuits.follow(); }",
        Output("cir-sink-follow", "data"),
        *CHANGES,
    )
    app.clientside_callback(
        "function(clicks, source, target) { return window.wbCircuits.add(clicks, source, target); }",
        Output("cir-sink-add", "data"),
        Input("cir-add", "n_clicks"),
        State("cir-from", "value"),
        State("cir-to", "value"),
        prevent_initial_call=True,
    )


def _come(app: Dash, workspace: Workspace, bases: Bases) -> None:
    """Which of the search, the roles and the evaluation of the address are there; told once for each."""

    @app.callback(
        Output("cir-come", "data"), Input("url", "search"), Input("job-events", "data"), State("cir-come", "data")
    )
    def come(search: str, _: Any, before: list[str] | None) -> list[str]:
        now = circuit_watch.come(workspace, bases, urls.read(search))
        if now == before:
            raise PreventUpdate
        return now


def _follow(app: Dash, workspace: Workspace, bases: Bases) -> None:
    """The sentence and the controls, as far as the address changes them."""

    @app.callback(
        Output("cir-sentence", "children"),
        Output("cir-controls", "children"),
        Output("cir-controls-shown", "data"),
        Output("cir-given", "children"),
        Input("url", "search"),
        State("cir-controls-shown", "data"),
    )
    def follow(search: str, before: str | None) -> Any:
        state = urls.read(search)
        summary = summary_of(workspace, state)
        key = circuit_layout.controls_key(state, summary)
        anew = before is not None and key != before
        return (
            circuit_watch.heading(workspace, bases, state),
            circuit_layout.controls(state, summary) if anew else no_update,
            key,
            circuit_files.given(workspace, state),
        )


def _open(app: Dash, workspace: Workspace, bases: Bases) -> None:
    @app.callback(Output("cir-details", "children"), *CHANGES)
    def show(search: str, *_: Any) -> Any:
        state = urls.read(search)
        try:
            now = edited_of(workspace, bases, state)
            if now is None:
                return None
            roles = circuit_roles.roles_of(workspace, bases, state)
            links = circuit_head.links(state) if circuit_head.head_of(state) is not None else None
            return circuit_details.details(now, state.pick, unit_of(workspace, state), roles, links)
        except WorkbenchError:  # told where the search is
            return None

    @app.callback(
        Output("url", "search", allow_duplicate=True),
        Input("cat-map", "clickData"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def choose(click: dict[str, Any] | None, search: str) -> str:
        cell = circuit_head.cell_of(click)
        if not cell:
            raise PreventUpdate
        return urls.change(search, cell=cell)


def _list(app: Dash, workspace: Workspace, bases: Bases) -> None:
    """The form that adds an edge; the lists themselves come with the picture."""

    @app.callback(Output("cir-adder", "children"), Input("cir-come", "data"), State("url", "search"))
    def offer(_: Any, search: str) -> Any:
        try:
            now = edited_of(workspace, bases, urls.read(search))
            return None if now is None else circuit_lists.adder(now)
        except WorkbenchError:  # told where the search is
            return None


def _compare(app: Dash, workspace: Workspace, bases: Bases) -> None:
    @app.callback(Output("cir-choice", "children"), Input("cir-come", "data"), State("url", "search"))
    def offer(_: Any, search: str) -> Any:
        return circuit_compare.choice(workspace, urls.read(search))

    @app.callback(Output("cir-compared", "children"), *CHANGES)
    def show(search: str, _: Any) -> Any:
        return circuit_compare.compared(workspace, bases, urls.read(search))


def _judge(app: Dash, workspace: Workspace, bases: Bases) -> None:
    """An evaluation that is asked for stays in the address: its curve is of the ranking, whatever is edited later."""

    @app.callback(
        Output("url", "search", allow_duplicate=True),
        Input("cev-run", "n_clicks"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def judge(clicks: int | None, search: str) -> str:
        if not clicks:
            raise PreventUpdate
        return urls.change(search, judged=evaluation_of(workspace, bases, urls.read(search)).id)


PAGE = Page(path="/circuits", title="Circuits", order=7, icon="circuits", layout=layout, register=register)
