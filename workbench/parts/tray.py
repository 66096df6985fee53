"""The edit tray: the edits of the address, in order; remove, undo, redo, run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import Dash, Input, Output, State, html
from pydantic import ValidationError

from analyses.phrases import HEAD_SITES, query_heads_in_words
from hooks.errors import WorkbenchError
from hooks.interventions import Intervention
from hooks.sites import MAIN, Part
from workbench import urls
from workbench.parts.icons import icon

if TYPE_CHECKING:
    from workbench.workspace import Workspace

VERBS = {"zero": "zero", "mean": "mean", "patch": "patch"}


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
            html.Div([run, undo, redo, clear], className="wb-tray-foot"),
        ],
        className="wb-tray",
        id="tray",
        **{"aria-label": "Edit tray"},
    )


def _button(action: str, shown: Any, title: str, look: str = "wb-icon-button") -> Any:
    return html.Button(
        shown,
        className=look,
        id=f"tray-{action.partition('-')[0]}",
        type="button",
        title=title,
        **{"data-wb-action": action, "aria-label": title},
    )


def describe(edit: Intervention, group: int | None = None) -> tuple[str, str]:
    """Where an edit is, in words (`L23 h3`, `L5 MLP`), and what it does (`zero`). group: see `place`."""
    return place(edit.at, group), VERBS.get(edit.kind, edit.kind)


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


def rows(edits: str, group: int | None = None) -> list[Any]:
    """One row per edit in the text of the address; an unreadable one says so and can be removed. group: see `place`."""
    return [_row(text, group) for text in edits.split(";") if text]


def _row(text: str, group: int | None) -> Any:
    try:
        (edit,) = urls.State(edits=text).interventions()
        where, what = describe(edit, group)
        words = [html.Span(where, className="wb-mono"), html.Span(what, className="wb-muted")]
    except WorkbenchError as error:
        where = text
        words = [html.Span(text, className="wb-mono wb-bad"), html.Span(error.message, className="wb-muted")]
    remove = html.Button(
        icon("close", size=14),
        className="wb-icon-button",
        type="button",
        title="Remove",
        **{"aria-label": f"Remove {where}", "data-wb-remove": text},
    )
    return html.Div([html.Div(words, className="wb-edit-words"), remove], className="wb-edit")


def group_of(workspace: Workspace, search: str | None) -> int | None:
    """Query heads per key/value head of the model of an address; None while it is not known."""
    try:
        summary = workspace.summary(urls.read(search).model)
    except ValidationError:  # the address names no model, which the page says
        return None
    return summary["info"]["n_heads"] // (summary["info"]["n_kv_heads"] or 1) if summary else None


def register(app: Dash, workspace: Workspace) -> None:
    """Draw the edits whenever they change, or the model that they are edits of."""

    @app.callback(
        Output("tray-list", "children"),
        Input("edits", "data"),
        Input("model-state", "data"),
        State("url", "search"),
    )
    def draw(edits: str | None, _: Any, search: str | None) -> list[Any]:
        return rows(edits or "", group_of(workspace, search))
