"""The prompt box: text, answer and foil, special tokens. It is checked before it replaces the prompt in the address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, html, no_update
from dash.exceptions import PreventUpdate

from hooks.errors import ModelError, WorkbenchError
from workbench import urls
from workbench.parts.empty import inline_problem

if TYPE_CHECKING:
    from workbench.workspace import Workspace

SPECIAL = [
    {"value": "model", "label": "as the model’s tokenizer"},
    {"value": "bos", "label": "exactly one BOS"},
    {"value": "none", "label": "none"},
]
TYPED: dict[str, Any] = {"classNames": {"input": "wb-mono"}, "data-wb-enter": "prompt-apply"}


def prompt_box() -> Any:
    """The flyout under the header's prompt. Enter uses it, Shift-Enter makes a new line."""
    keys = [html.Kbd("Enter"), " uses it, ", html.Kbd("Shift Enter"), " new line"]
    use = [dmc.Button("Use prompt", id="prompt-apply"), html.Span(keys, className="wb-muted wb-only-wide")]
    return html.Div(
        [
            html.H2("Prompt"),
            dmc.Textarea(
                id="prompt-text", label="Text", autosize=True, minRows=3, maxRows=10, spellCheck=False, **TYPED
            ),
            html.Div(
                [
                    _token("answer", "Answer", "One token; a leading space counts"),
                    _token("foil", "Foil", "The wrong token to compare with"),
                ],
                className="wb-field-pair",
            ),
            html.Div(_reading(), className="wb-field-pair"),
            html.Div(id="prompt-error", className="wb-error-slot", **{"aria-live": "polite"}),
            html.Div(use, className="wb-field-row"),
        ],
        className="wb-flyout",
        id="flyout-prompt",
        role="dialog",
        **{"aria-label": "Prompt", "data-wb-flyout": "prompt"},
    )


def _token(name: str, label: str, description: str) -> Any:
    return dmc.TextInput(id=f"prompt-{name}", label=label, description=description, **TYPED)


def _reading() -> list[Any]:
    """How the text becomes tokens."""
    added = dmc.Select(
        id="prompt-special",
        label="Special tokens added",
        data=SPECIAL,
        allowDeselect=False,
        comboboxProps={"withinPortal": False},
    )
    return [added, dmc.Switch(id="prompt-plain", label="Read special-token text as plain text")]


def register(app: Dash, workspace: Workspace) -> None:
    """Check what was typed; use it, or say what is wrong beside it and keep the text."""

    @app.callback(
        Output("url", "search", allow_duplicate=True),
        Output("prompt-error", "children"),
        Input("prompt-apply", "n_clicks"),
        State("prompt-text", "value"),
        State("prompt-answer", "value"),
        State("prompt-foil", "value"),
        State("prompt-special", "value"),
        State("prompt-plain", "checked"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def use(clicks: int | None, text: Any, answer: Any, foil: Any, special: Any, plain: Any, search: str) -> Any:
        if not clicks:
            raise PreventUpdate
        fields = {"prompt": text or "", "answer": answer or "", "foil": foil or "", "special": special or "model"}
        anew = {"token": None, "position": None, "steps": 0, "chosen": None}
        changed = urls.change(search, plain=bool(plain), **anew, **fields)
        wrong = refusal(workspace, changed)
        return (no_update, inline_problem(wrong)) if wrong is not None else (changed, None)

    app.clientside_callback(
        "function(route) { return window.wb.promptFields(route); }",
        Output("prompt-text", "value"),
        Output("prompt-answer", "value"),
        Output("prompt-foil", "value"),
        Output("prompt-special", "value"),
        Output("prompt-plain", "checked"),
        Input("route", "data"),
    )


def refusal(workspace: Workspace, search: str) -> WorkbenchError | None:
    """Why the model cannot take the prompt of an address; None where it can, or is not open yet."""
    state = urls.read(search)
    try:
        workspace.tokens(state.model, state.inputs())
    except ModelError:
        return None
    except WorkbenchError as error:
        return error
    return None
