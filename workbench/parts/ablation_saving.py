"""Keep a result: a note, a button, and its exports."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, html
from dash.exceptions import PreventUpdate

from workbench import urls
from workbench.parts.export_menu import export_menu
from workbench.parts.icons import icon

if TYPE_CHECKING:
    from workbench.workspace import Workspace


def save_row(of: str, result_id: str, grid: str, *, circuit: bool = False) -> Any:
    """Note, Save and Export for the result shown in the panel `of`. grid: which one a figure shows.

    circuit: it is of one, edited in the address.
    """
    note = dmc.TextInput(
        id={"type": "abl-note", "of": of}, placeholder="What you saw, for the results list", **{"aria-label": "Note"}
    )
    button = dmc.Button("Save result", id={"type": "abl-save", "of": of})
    said = html.Span(id={"type": "abl-saved", "of": of}, className="abl-saved", role="status")
    items = [note, button, export_menu(result_id, grid, circuit=circuit, drafted=circuit), said]
    return html.Div(items, className="abl-save", **{"data-result": result_id})


def saved_words(result_id: str) -> Any:
    """What stands beside the button afterwards."""
    link = html.A(
        "Open it",
        href=f"/results?open={result_id}",
        **{"data-wb-nav": "/results", "data-wb-set": f'{{"open": "{result_id}"}}'},
    )
    return [icon("check", size=16), " Saved to the results. ", link]


def register(app: Dash, workspace: Workspace, of: str, result_of: Callable[[urls.State], str]) -> None:
    """Keep the result that the panel `of` shows when its button is pressed. result_of: its id for a state."""

    @app.callback(
        Output({"type": "abl-saved", "of": of}, "children"),
        Input({"type": "abl-save", "of": of}, "n_clicks"),
        State({"type": "abl-note", "of": of}, "value"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def save(clicks: int | None, note: str | None, search: str) -> Any:
        if not clicks:
            raise PreventUpdate
        result_id = result_of(urls.read(search))
        workspace.keep(result_id, note or None)
        return saved_words(result_id)
