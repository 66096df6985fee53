"""Circuits from files on the page of circuits: read, kept, named in the address; one clear error where they do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import Dash, Input, Output, State, html, no_update
from dash.exceptions import PreventUpdate

from analyses.circuit_formats import import_circuit
from hooks.errors import WorkbenchError
from workbench import urls
from workbench.circuit_base import graph_of
from workbench.kept_circuits import GivenCircuit
from workbench.parts.ablation_watch import summary_of
from workbench.parts.circuit_compare import GIVEN
from workbench.parts.circuit_request import sites_in
from workbench.parts.empty import inline_problem
from workbench.parts.prompt_image import decoded

if TYPE_CHECKING:
    from workbench.workspace import Workspace


def read(workspace: Workspace, state: urls.State, contents: str, name: str) -> str:
    """Keep the circuit of an uploaded file, as one of the state's model; gives its hash. Raises WorkbenchError."""
    summary = summary_of(workspace, state)
    graph = graph_of(summary["info"], sites_in(summary), "query_head")
    made = import_circuit(decoded(contents), graph)
    return workspace.circuits.put(GivenCircuit(name=name or "a file", circuit=made.circuit, notes=made.notes))


def given(workspace: Workspace, state: urls.State) -> Any:
    """The file that a state starts from, what was said of it, and the way back to a search; None without one."""
    if not state.given:
        return None
    back = html.Button("Search instead", className="wb-button", type="button", **{"data-cir-act": "search"})
    try:
        kept = workspace.circuits.get(state.given)
    except WorkbenchError as error:
        return html.Div([inline_problem(error), back], className="cir-row")
    notes = [html.P(note, className="wb-muted") for note in kept.notes]
    return [html.Div([html.Span(["Starts from ", html.Bdi(kept.name), "."]), back], className="cir-row"), *notes]


def register(app: Dash, workspace: Workspace) -> None:
    """Take a file as where the circuit starts, or as what it is compared with."""

    def taken(contents: str | None, name: str | None, search: str, prefix: str) -> str:
        if not contents:
            raise PreventUpdate
        return prefix + read(workspace, urls.read(search), contents, name or "")

    @app.callback(
        Output("url", "search", allow_duplicate=True),
        Output("cir-note", "children"),
        Input("cir-upload", "contents"),
        State("cir-upload", "filename"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def start(contents: str | None, name: str | None, search: str) -> Any:
        try:
            return urls.change(search, given=taken(contents, name, search, ""), draft="", pick="", judged=""), None
        except WorkbenchError as error:
            return no_update, inline_problem(error)

    @app.callback(
        Output("url", "search", allow_duplicate=True),
        Output("cir-other-note", "children"),
        Input("cir-other-upload", "contents"),
        State("cir-other-upload", "filename"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def compare(contents: str | None, name: str | None, search: str) -> Any:
        try:
            return urls.change(search, against=taken(contents, name, search, GIVEN)), None
        except WorkbenchError as error:
            return no_update, inline_problem(error)
