"""Choose the model: the aliases, or any folder, `.gguf` file or hub name. Opening is a job that the frame starts."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, html, no_update
from dash.exceptions import PreventUpdate
from pydantic import ValidationError

from hooks.errors import ModelError
from hooks.reference import ModelRef
from workbench import urls
from workbench.models.aliases import ALIASES
from workbench.parts.empty import inline_problem


def content() -> list[Any]:
    """The flyout under the header's model name."""
    choices = [
        html.Button(
            [html.Span(name, className="wb-mono"), html.Span(ALIASES[name].about, className="wb-muted")],
            className="wb-choice",
            type="button",
            **{"data-wb-model": name},
        )
        for name in ALIASES
    ]
    field = dmc.TextInput(
        id="model-name",
        label="Folder, .gguf file or hub name",
        placeholder="./my-model or org/name@revision",
        **{"data-wb-enter": "model-apply"},
    )
    return [
        html.H2("Open a model"),
        html.Div(choices, className="wb-choices"),
        html.Div([field, dmc.Button("Open model", id="model-apply")], className="wb-field-row"),
        html.Div(id="model-error", className="wb-error-slot", **{"aria-live": "polite"}),
    ]


def register(app: Dash) -> None:
    """Typing a name changes the model of the address; the frame then opens it."""

    @app.callback(
        Output("url", "search", allow_duplicate=True),
        Output("model-error", "children"),
        Input("model-apply", "n_clicks"),
        State("model-name", "value"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def choose(clicks: int | None, name: str | None, search: str) -> tuple[Any, Any]:
        if not clicks:
            raise PreventUpdate
        try:
            ref = ModelRef.model_validate(name or "")
        except ValidationError:
            error = ModelError("the field is empty.", "Type a folder, a .gguf file or a hub name, or choose one above.")
            return no_update, inline_problem(error)
        return urls.change(search, model=str(ref)), None
