"""The prompt box: what the model of the address reads, its answers, special tokens; checked before it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, html, no_update
from dash.exceptions import PreventUpdate

from hooks.errors import ModelError, WorkbenchError
from workbench import urls
from workbench.parts import prompt_image
from workbench.parts.empty import inline_problem
from workbench.parts.kinds import Kind, kind_of

if TYPE_CHECKING:
    from workbench.workspace import Workspace

SPECIAL = [
    {"value": "model", "label": "as the model’s tokenizer"},
    {"value": "bos", "label": "exactly one BOS"},
    {"value": "none", "label": "none"},
]
TYPED: dict[str, Any] = {"classNames": {"input": "wb-mono"}, "data-wb-enter": "prompt-apply"}
PARTS = ("text", "image", "target", "tokens", "classes", "reading")
"""The parts of the box, of which a kind of model has some."""
USUAL = frozenset({"text", "tokens", "reading"})
"""Those of a decoder, for a model that is not known yet."""
NONE = {"value": "", "label": "none"}


def content(workspace: Workspace, state: urls.State) -> list[Any]:
    """The flyout under the header's prompt, with what the address says. Enter uses it, Shift-Enter makes a new line."""
    keys = [html.Kbd("Enter"), " uses it, ", html.Kbd("Shift Enter"), " new line"]
    use = [dmc.Button("Use prompt", id="prompt-apply"), html.Span(keys, className="wb-muted wb-only-wide")]
    kind = kind_of(workspace, state)
    there = fields_of(kind) if kind is not None else USUAL
    classes = _classes(kind)
    parts = {
        "image": prompt_image.field(prompt_image.shown(state, kind)),
        "text": _text("prompt-text", "Text", 3, state.prompt, hint(workspace, state, kind)),
        "target": _text("prompt-target", "Target so far", 1, state.target),
        "tokens": _pair(_token("answer", "Answer", state.answer), _token("foil", "Foil", state.foil)),
        "classes": _pair(
            _class("answer", "Answer", state.answer, classes), _class("foil", "Foil", state.foil, classes)
        ),
        "reading": _pair(*_reading(state)),
    }
    return [
        html.H2(kind.given if kind is not None else "Prompt", id="prompt-title"),
        *(html.Div(part, id=f"prompt-part-{name}", hidden=name not in there) for name, part in parts.items()),
        html.Div(id="prompt-error", className="wb-error-slot", **{"aria-live": "polite"}),
        html.Div(use, className="wb-field-row"),
    ]


def _pair(*fields: Any) -> Any:
    return html.Div(list(fields), className="wb-field-pair")


def _text(id: str, label: str, rows: int, value: str, about: str = "") -> Any:
    return dmc.Textarea(
        id=id, label=label, value=value, description=about, autosize=True, minRows=rows, maxRows=10, spellCheck=False,
        **TYPED,
    )  # fmt: skip


def _token(name: str, label: str, value: str) -> Any:
    about = {"answer": "One token; a leading space counts", "foil": "The wrong token to compare with"}[name]
    return dmc.TextInput(id=f"prompt-{name}", label=label, value=value, description=about, **TYPED)


def _classes(kind: Kind | None) -> list[dict[str, str]]:
    return [*({"value": name, "label": name} for name in (kind.classes if kind is not None else ())), NONE]


def _class(name: str, label: str, value: str, data: list[dict[str, str]]) -> Any:
    about = {"answer": "The class that would be right", "foil": "The class to compare it with"}[name]
    return dmc.Select(
        id=f"prompt-{name}-class", label=label, description=about, data=data, value=value, allowDeselect=False,
        searchable=True, comboboxProps={"withinPortal": False},
    )  # fmt: skip


def _reading(state: urls.State) -> list[Any]:
    """How the text becomes tokens."""
    added = dmc.Select(
        id="prompt-special",
        label="Special tokens added",
        data=SPECIAL,
        value=state.special,
        allowDeselect=False,
        comboboxProps={"withinPortal": False},
    )
    return [added, dmc.Switch(id="prompt-plain", label="Read special-token text as plain text", checked=state.plain)]


def register(app: Dash, workspace: Workspace) -> None:
    """Check what was typed; use it, or say what is wrong beside it and keep the text."""
    prompt_image.register(app, workspace)
    _use(app, workspace)
    _follow(app, workspace)


def _use(app: Dash, workspace: Workspace) -> None:
    typed = [("prompt-text", "value"), ("prompt-target", "value"), ("prompt-answer", "value"), ("prompt-foil", "value")]
    chosen = [("prompt-answer-class", "value"), ("prompt-foil-class", "value"), ("prompt-special", "value")]

    @app.callback(
        Output("url", "search", allow_duplicate=True),
        Output("prompt-error", "children"),
        Input("prompt-apply", "n_clicks"),
        *(State(*field) for field in (*typed, *chosen)),
        State("prompt-plain", "checked"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def use(clicks: int | None, *given: Any) -> Any:
        if not clicks:
            raise PreventUpdate
        text, target, answer, foil, right, wrong, special, plain, search = given
        kind = kind_of(workspace, urls.read(search))
        if kind is not None and kind.classes:
            answer, foil = right, wrong
        fields = {"prompt": text or "", "answer": answer or "", "foil": foil or "", "special": special or "model"}
        if kind is None or kind.target:
            fields["target"] = target or ""
        anew = {"token": None, "position": None, "steps": 0, "chosen": None}
        changed = urls.change(search, plain=bool(plain), **anew, **fields)
        refused = refusal(workspace, changed)
        return (no_update, inline_problem(refused)) if refused is not None else (changed, None)


def _follow(app: Dash, workspace: Workspace) -> None:
    """The box shows the fields of the model's kind, with what the address says in them."""

    @app.callback(
        *(Output(f"prompt-part-{name}", "hidden") for name in PARTS),
        Output("prompt-answer-class", "data"),
        Output("prompt-foil-class", "data"),
        Output("prompt-text", "description"),
        Output("prompt-title", "children"),
        Input("model-state", "data"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def shape(_: Any, search: str | None) -> Any:
        state = urls.read(search)
        kind = kind_of(workspace, state)
        if kind is None:
            raise PreventUpdate
        data, there = _classes(kind), fields_of(kind)
        return (*(name not in there for name in PARTS), data, data, hint(workspace, state, kind), kind.given)

    fields = ("text", "answer", "foil", "special", "target", "answer-class", "foil-class")
    app.clientside_callback(
        "function(route) { return window.wb.promptFields(route); }",
        *(Output(f"prompt-{name}", "value") for name in fields),
        Output("prompt-plain", "checked"),
        Input("route", "data"),
        prevent_initial_call=True,
    )


def fields_of(kind: Kind) -> frozenset[str]:
    """The parts of the box that a kind of model has."""
    there = {
        "text": kind.text,
        "image": kind.image,
        "target": kind.target,
        "tokens": kind.answered and not kind.classes,
        "classes": bool(kind.classes),
        "reading": kind.text,
    }
    return frozenset(name for name, has in there.items() if has)


def hint(workspace: Workspace, state: urls.State, kind: Kind | None) -> str:
    """What the text is for, where that needs saying."""
    if kind is None:
        return ""
    if kind.task == "masked":
        mask = workspace.ask_tokenizer(state.model, lambda tokenizer, _: tokenizer.mask_token)
        return f"Write {mask} where the model is to fill in a token." if mask else "This tokenizer has no mask token."
    return {
        "seq2seq": "What the encoder reads",
        "pairs": "The text that the image is compared with",
        "features": "The text that becomes an embedding",
        "classify": "The text to classify",
    }.get(kind.task, "")


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
