"""Results: everything that was computed, to be found, opened, compared, exported and deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dash_mantine_components as dmc
from dash import ALL, MATCH, Dash, Input, Output, State, ctx, dcc, html
from dash.exceptions import PreventUpdate

from hooks.errors import StoreError
from hooks.spec import digest
from workbench import urls
from workbench.figures.theme import ThemeName
from workbench.pages.base import Page
from workbench.parts import export_menu, results_list
from workbench.parts.empty import problem
from workbench.parts.icons import icon
from workbench.parts.panel import page_head
from workbench.parts.results_compare import compare
from workbench.parts.results_detail import detail

if TYPE_CHECKING:
    from workbench.results import ResultCard
    from workbench.workspace import Workspace

STORES = ("res-changed", "res-count", "res-seen", "res-sink")


def layout(workspace: Workspace, state: urls.State) -> Any:
    """The page: filter, what was just deleted, and the place of the list or the open result."""
    tools = [
        dmc.TextInput(
            id="res-find", value=state.find, placeholder="Filter: words, model, note", debounce=300,
            leftSection=icon("search", size=16), **{"aria-label": "Filter the results"}
        ),
        dmc.Switch(id="res-saved", label="Only saved", checked=state.saved),
    ]  # fmt: skip
    return [
        *(dcc.Store(id=name) for name in STORES),
        page_head(
            "Results", "Everything that was computed in this workspace.", html.Div(tools, className="res-filter")
        ),
        html.Div(id="res-deleted"),
        html.Div(id="res-body", className="res-body-place"),
    ]


def body(workspace: Workspace, state: urls.State, theme: ThemeName, count: int) -> Any:
    """The list, the open result, or the two that are compared."""
    if not state.open:
        chosen = _card(workspace, state.beside) if state.beside else None
        head = [_choosing(chosen)] if chosen is not None else []
        return [*head, *results_list.results_list(workspace, state, count)]
    try:
        result, card = workspace.result(state.open), _card(workspace, state.open)
        other = workspace.result(state.beside) if state.beside else None
    except StoreError as error:
        return [_back(), problem(error)]
    if result is None or card is None or (state.beside and other is None):
        missing = {
            "message": "this result is not in the workspace.",
            "hint": "It was deleted, or the link is from elsewhere.",
        }
        return [_back(), problem(missing, id="res-missing")]
    return [_back(), *(compare(result, other, theme) if other is not None else detail(result, card, theme))]


def finger(workspace: Workspace, state: urls.State, theme: ThemeName, count: int) -> str:
    """Changes whenever `body` would show other things. Notes are left out: they change under the reader's own hands."""
    cards = [(card.id, card.created, card.saved) for card in workspace.results()]
    view = (state.open, state.beside, theme) if state.open else (state.beside, state.find, state.saved, count)
    return digest([list(view), [list(card) for card in cards]])


def _card(workspace: Workspace, result_id: str) -> ResultCard | None:
    return next((card for card in workspace.results() if card.id == result_id), None)


def _back() -> Any:
    return html.Nav(
        html.A(
            "All results", href="/results", **{"data-wb-nav": "/results", "data-wb-set": '{"open": "", "beside": ""}'}
        ),
        **{"aria-label": "Back"},
    )


def _choosing(card: ResultCard) -> Any:
    stop = html.A(
        "Stop comparing",
        href="/results",
        className="wb-button",
        **{"data-wb-nav": "/results", "data-wb-set": '{"beside": ""}'},
    )
    words = html.Span(["Choose the result to compare with: ", html.Strong(card.sentence)], className="wb-ellipsis")
    return html.Div([words, stop], className="res-deleted", role="status")


def register(app: Dash, workspace: Workspace) -> None:
    """Attach what the page does, and the address that exports come from."""
    export_menu.register(app, workspace)
    _show(app, workspace)
    _find(app)
    _delete(app, workspace)
    _note(app, workspace)


def _show(app: Dash, workspace: Workspace) -> None:
    @app.callback(
        Output("res-body", "children"),
        Output("res-seen", "data"),
        Input("url", "search"),
        Input("res-changed", "data"),
        Input("res-count", "data"),
        Input("job-events", "data"),
        Input("theme", "data"),
        State("res-seen", "data"),
    )
    def show(search: str, _: Any, count: int | None, __: Any, theme: str, seen: str | None) -> Any:
        state, shown = urls.read(search), count or results_list.SHOWN
        shade: ThemeName = "dark" if theme == "dark" else "light"
        key = finger(workspace, state, shade, shown)
        if key == seen:
            raise PreventUpdate
        return body(workspace, state, shade, shown), key

    @app.callback(
        Output("res-count", "data"),
        Input({"type": "res-more", "of": ALL}, "n_clicks"),
        State("res-count", "data"),
        prevent_initial_call=True,
    )
    def more(clicks: list[int | None], count: int | None) -> int:
        if not any(clicks):
            raise PreventUpdate
        return (count or results_list.SHOWN) + results_list.SHOWN


def _find(app: Dash) -> None:
    """From the filter into the address; no server needed."""
    app.clientside_callback(
        "function(find, saved) { window.wb.setState({find: find || '', saved: Boolean(saved)});"
        " return window.dash_clientside.no_update; }",
        Output("res-sink", "data"),
        Input("res-find", "value"),
        Input("res-saved", "checked"),
        prevent_initial_call=True,
    )


def _delete(app: Dash, workspace: Workspace) -> None:
    @app.callback(
        Output("res-changed", "data", allow_duplicate=True),
        Output("res-deleted", "children", allow_duplicate=True),
        Output("url", "search", allow_duplicate=True),
        Input({"type": "res-delete", "id": ALL}, "n_clicks"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def delete(clicks: list[int | None], search: str) -> Any:
        if not any(clicks) or not isinstance(ctx.triggered_id, dict):
            raise PreventUpdate
        result_id = ctx.triggered_id["id"]
        card = _card(workspace, result_id)
        workspace.delete(result_id)
        line = results_list.deleted_line(card) if card is not None else None
        return f"deleted {result_id}", line, urls.change(search, open="", beside="")

    @app.callback(
        Output("res-changed", "data", allow_duplicate=True),
        Output("res-deleted", "children", allow_duplicate=True),
        Input({"type": "res-restore", "id": ALL}, "n_clicks"),
        prevent_initial_call=True,
    )
    def restore(clicks: list[int | None]) -> Any:
        if not any(clicks) or not isinstance(ctx.triggered_id, dict):
            raise PreventUpdate
        workspace.restore(ctx.triggered_id["id"])
        return f"restored {ctx.triggered_id['id']}", None


def _note(app: Dash, workspace: Workspace) -> None:
    @app.callback(
        Output({"type": "res-note-said", "id": MATCH}, "children"),
        Input({"type": "res-note", "id": MATCH}, "value"),
        State({"type": "res-note", "id": MATCH}, "id"),
        prevent_initial_call=True,
    )
    def keep(note: str | None, id: dict[str, str]) -> str:
        workspace.keep(id["id"], note or "")
        return "saved"


PAGE = Page(
    path="/results",
    title="Results",
    order=9,
    icon="results",
    layout=layout,
    register=register,
    needs_model=False,
    needs_prompt=False,
)
