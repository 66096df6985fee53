"""The edit tray: the edits of the address, in order; add, change in place, remove, undo, redo, run.

What other parts of the app use:

- `urls.State.tray()` gives the edits of a page with the vectors that they name, `edit_text.write` the text of some;
  `given.inputs_for` the prompt sets that they need.
- In the browser (assets/tray.js), `wb.addEdit(text)` adds one, `wb.toggleEdits(texts)` adds or takes out several,
  `wb.toggleParts(parts, kind)` likewise with parts; `wb.readEdit(text)` and `wb.writeEdit(edit)` turn an item of the
  address into an object with `kind`, `at` and further fields, and back. Any element with
  `data-wb-add="zero:L3.z[head=5]"` adds that edit when it is clicked.
- `html.documentElement` carries `data-wb-edits="1"` while there are edits: `.wb-only-edits` shows only then.
- `edited_word()` is the word that stands beside everything that ran under the edits.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, html, no_update
from dash.exceptions import PreventUpdate
from pydantic import ValidationError

from analyses.edit_words import edits_in_words
from analyses.phrases import HEAD_SITES, query_heads_in_words
from hooks.errors import SpecError, WorkbenchError
from hooks.info import ModelInfo
from hooks.interventions import KINDS
from hooks.sites import MAIN, Part
from workbench import edit_text, urls
from workbench.parts.empty import sentence
from workbench.parts.icons import icon
from workbench.parts.tray_form import form

if TYPE_CHECKING:
    from workbench.workspace import Workspace

HEAD = re.compile(r"[Ll]?(\d+)[.:]h?(\d+)")
EXAMPLES = "Write a head as 23.3, any part as L3.mlp_post[unit=17] or L5.resid_pre[pos=last]."


def tray() -> Any:
    """The drawer at the right. It is shown while there are edits, and can be folded away."""
    fold = _button("tray", icon("close", size=16), "Fold the edit tray away")
    run = _button("run", [icon("run", size=16), "Run"], "Run: compare clean and edited", "wb-button wb-primary")
    undo = _button("undo", icon("undo", size=16), "Undo (u)")
    redo = _button("redo", icon("redo", size=16), "Redo (Shift u)")
    clear = _button("clear-edits", "Clear", "Clear all edits", "wb-button wb-quiet")
    return html.Aside(
        [
            html.Div([html.H2("Edits"), fold], className="wb-tray-head"),
            html.Div(id="tray-list", className="wb-tray-list"),
            _adder(),
            html.Div([run, undo, redo, clear], className="wb-tray-foot"),
        ],
        className="wb-tray",
        id="tray",
        **{"aria-label": "Edit tray"},
    )


def _adder() -> Any:
    """A part by its address, for what no picture shows."""
    label = {"aria-label": "Part to add, by its address"}
    field = dmc.TextInput(id="tray-address", size="xs", placeholder="L3.mlp_post[unit=17]", **label)
    add = html.Button("Add", id="tray-add", className="wb-button", type="button", title=EXAMPLES)
    return html.Div([field, add], className="wb-tray-add")


def edited_word() -> Any:
    """The word that stands beside everything that ran under the edits."""
    return html.Span("edited", className="wb-edited-word")


def _button(action: str, shown: Any, title: str, look: str = "wb-icon-button") -> Any:
    return html.Button(
        shown,
        className=look,
        id=f"tray-{action.partition('-')[0]}",
        type="button",
        title=title,
        **{"data-wb-action": action, "aria-label": title},
    )


def place(part: Part, group: int | None = None) -> str:
    """A part in few words: `L23 h3`, `L5 MLP`, `L5 neuron 7`, `L3 keys, key/value head 1 (query heads 3–5)`.

    group: query heads per key/value head, None where the model is not known.
    """
    site = part.site
    words = [] if site.stack == MAIN else [site.stack]
    words += [] if site.layer is None else [f"L{site.layer}"]
    names = {"z": "", "mlp_out": "MLP", "attn_out": "attention", "mlp_post": "neurons", "resid_post": "layer",
             "mixer_out": "mixer", "cross_z": "cross-attention", "cross_attn_out": "cross-attention"}  # fmt: skip
    name = {**HEAD_SITES, **names}.get(site.name, site.name)
    if part.expert is not None:
        name = f"expert {part.expert}" if site.name == "router" else f"{site.name} of expert {part.expert}"
    if part.unit is not None:
        name = f"neuron {part.unit}" if site.name == "mlp_post" else f"{site.name} {part.unit}"
    if part.head is not None and site.kind.head_axis == "kv_head":
        shared = f" ({query_heads_in_words(part.head, group)})" if group is not None else ""
        words.append(f"{name}, key/value head {part.head}{shared}")
    else:
        words += [name] if name else []
        words += [f"h{part.head}"] if part.head is not None else ["all heads"] if site.name == "z" else []
    for field in ("pos", "q_pos", "k_pos"):
        value = getattr(part, field)
        if value is not None:
            where = f"{value[0]}–{value[1] - 1}" if isinstance(value, tuple) else value
            words.append(f"{'at' if field == 'pos' else field[0]} {where}")
    return " ".join(words)


def rows(state: urls.State, group: int | None = None) -> list[Any]:
    """One row per edit of the address; an unreadable one says so and can be mended or removed. group: see `place`."""
    return [_row(text, state, group) for text in state.edits.split(";") if text]


def _row(text: str, state: urls.State, group: int | None) -> Any:
    try:
        read = edit_text.read(text, state.mean_over)
        (edit,) = read.edits
        where = place(edit.at, group)
        shown = html.Span(where, className="wb-mono")
        about = html.P(edits_in_words([edit]), className="wb-edit-about wb-muted")
        spec = form(edit, read.vectors, state)
    except WorkbenchError as error:
        where, spec = text, {"raw": text}
        shown = html.Span(text, className="wb-mono wb-bad")
        about = html.P(f"{sentence(error.message)} {error.hint}", className="wb-edit-about", role="alert")
    change = html.Button(
        icon("edit", size=14), className="wb-icon-button", type="button", title="Change",
        **{"aria-label": f"Change {where}", "data-wb-change": text, "aria-expanded": "false"},
    )  # fmt: skip
    remove = html.Button(
        icon("close", size=14), className="wb-icon-button", type="button", title="Remove",
        **{"aria-label": f"Remove {where}", "data-wb-remove": text},
    )  # fmt: skip
    host = html.Div(className="wb-edit-form", hidden=True, **{"data-tray-form": json.dumps(spec, allow_nan=False)})
    head = html.Div([html.Div(shown, className="wb-edit-words"), change, remove], className="wb-edit-head")
    return html.Div([head, about, host], className="wb-edit", **{"data-tray-edit": text})


def group_of(workspace: Workspace, search: str | None) -> int | None:
    """Query heads per key/value head of the model of an address; None while it is not known."""
    try:
        summary = workspace.summary(urls.read(search).model)
    except ValidationError:  # the address names no model, which the page says
        return None
    return summary["info"]["n_heads"] // (summary["info"]["n_kv_heads"] or 1) if summary else None


def added(workspace: Workspace, state: urls.State, typed: str) -> str:
    """The text of the edits with what somebody typed: an address, a head such as 23.3, or a whole edit.

    A bare part is replaced as the Ablate page replaces parts. Raises SpecError, SiteMissing.
    """
    typed = typed.strip()
    head = HEAD.fullmatch(typed)
    part = f"L{int(head[1])}.z[head={int(head[2])}]" if head else typed
    whole = typed.startswith("{") or typed.partition(":")[0] in KINDS
    text = typed if whole else f"{state.kind if state.kind in edit_text.SHORT else 'zero'}:{part}"
    read = edit_text.read(text.replace(";", "\\u003b") if typed.startswith("{") else text, state.mean_over)
    summary = workspace.summary(state.model)
    if summary is not None:
        info = ModelInfo.model_validate(summary["info"])
        for edit in read.edits:
            info.check_part(edit.at)
    held = [item for item in state.edits.split(";") if item]
    new = [item for item in edit_text.write(read.edits, read.vectors, state.mean_over).split(";") if item not in held]
    if not new:
        raise SpecError(f"{typed} is in the tray already." if typed else "no part was given.", EXAMPLES)
    return ";".join([*held, *new])


def register(app: Dash, workspace: Workspace) -> None:
    """Draw the edits whenever they change, or the model that they are edits of; add what is typed."""

    @app.callback(
        Output("tray-list", "children"),
        Input("edits", "data"),
        Input("model-state", "data"),
        State("url", "search"),
    )
    def draw(edits: str | None, _: Any, search: str | None) -> list[Any]:
        state = urls.read(search).model_copy(update={"edits": edits or ""})
        return rows(state, group_of(workspace, search))

    @app.callback(
        Output("url", "search", allow_duplicate=True),
        Output("tray-address", "value"),
        Output("tray-address", "error"),
        Input("tray-add", "n_clicks"),
        Input("tray-address", "n_submit"),
        State("tray-address", "value"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def add(clicks: int | None, entered: int | None, typed: str | None, search: str) -> tuple[Any, Any, Any]:
        if not clicks and not entered:
            raise PreventUpdate
        try:
            return urls.change(search, edits=added(workspace, urls.read(search), typed or "")), "", None
        except WorkbenchError as error:
            return no_update, no_update, f"{sentence(error.message)} {error.hint}"
