"""The Tokenizer page's callbacks: another token, a look-up. Another text and copies need no server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import Dash, Input, Output, State
from dash.exceptions import PreventUpdate

from hooks.errors import WorkbenchError
from workbench import urls
from workbench.parts import tokenizer_about, tokenizer_build, tokenizer_data
from workbench.parts.empty import inline_problem, problem

if TYPE_CHECKING:
    from workbench.workspace import Workspace


def register(app: Dash, workspace: Workspace) -> None:
    """Attach all of them."""
    _clientside(app)

    @app.callback(
        Output("tokenizer-build", "children"),
        Input("tokenizer-view", "data"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def token(view: dict[str, Any] | None, search: str) -> Any:
        if not view:
            raise PreventUpdate
        return build_content(workspace, urls.read(search))

    @app.callback(
        Output("tokenizer-found", "children"),
        Output("url", "search", allow_duplicate=True),
        Input("tokenizer-asked", "value"),
        Input("tokenizer-reading", "value"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def look_up(asked: str | None, reading: str, search: str) -> tuple[Any, Any]:
        question = f"{reading}:{asked}" if asked else ""
        if question == urls.read(search).lookup:
            raise PreventUpdate
        changed = urls.change(search, lookup=question)
        return lookup_content(workspace, urls.read(changed)), changed


def _clientside(app: Dash) -> None:
    app.clientside_callback(
        "function(search, before) { return window.wb.tokenizerView(search, before); }",
        Output("tokenizer-view", "data"),
        Input("url", "search"),
        State("tokenizer-view", "data"),
    )
    app.clientside_callback(
        "function(copy, csv, texts) { return window.wb.tokenizerTable(copy, csv, texts); }",
        Output("tokenizer-said", "data"),
        Input("tokenizer-copy", "n_clicks"),
        Input("tokenizer-csv", "n_clicks"),
        State("tokenizer-texts", "data"),
        prevent_initial_call=True,
    )


def build_content(workspace: Workspace, state: urls.State, seen: tokenizer_data.Seen | None = None) -> Any:
    """How the selected token of a state comes about; `seen`, where the text was split already."""
    seen = seen or tokenizer_data.see(workspace, state)
    if seen.report is None:
        return tokenizer_build.no_build()
    pos = tokenizer_data.selected(state, len(seen.report.tokens))
    try:
        made = tokenizer_data.build_of(workspace, state, seen.report.tokens[pos].id)
    except WorkbenchError as error:
        return problem(error)
    return tokenizer_build.build_view(made, seen.report.tokens, pos)


def lookup_content(workspace: Workspace, state: urls.State) -> Any:
    """The answer to a state's look-up, or what is wrong with the question."""
    try:
        return tokenizer_about.found_view(tokenizer_data.look_up(workspace, state.model, state.lookup))
    except WorkbenchError as error:
        return inline_problem(error)
