"""An open head of a circuit: where it looks and who makes it look there, what it writes; measured when asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dash_mantine_components as dmc
import numpy as np
import plotly.graph_objects as go
from dash import html

from analyses.analysis import normalised
from analyses.experiment import Experiment
from analyses.grid import Grid
from analyses.result import Result
from hooks.errors import SpecError, WorkbenchError
from hooks.prompts import PromptSet
from hooks.reference import ModelRef
from hooks.sites import Part
from workbench.figures.attention import head_figure
from workbench.figures.intervals import bounds_of
from workbench.figures.numbers import UNIT_WORDS, number, percent
from workbench.figures.theme import ThemeName
from workbench.parts import run_panel
from workbench.parts.attention_progress import pending
from workbench.parts.circuit_words import node_words
from workbench.parts.empty import inline_problem
from workbench.parts.given import clean_of
from workbench.parts.graph import graph
from workbench.parts.run_panel import Seen, button_of, facts_of
from workbench.requests import CaptureRequest
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.jobs import Job
    from workbench.workspace import Workspace

WRITES, LOOKS = "chd", "cat"
SHOWN = 6
MAP_PIXELS = 420
MOST_TOKENS = 64
"""Longer prompts are looked at on the Attention page."""


def layout() -> Any:
    """The places under the details, seen while a head is open."""
    return html.Div(
        [
            *(store for prefix in (WRITES, LOOKS) for store in run_panel.stores(prefix)),
            _box("Attention", LOOKS, "Why it attends"),
            _box("Writes", WRITES, "Measure what it writes"),
        ],
        id="cir-head",
        hidden=True,
    )


def _box(title: str, prefix: str, words: str) -> Any:
    button = dmc.Button(words, id=f"{prefix}-run", variant="default", disabled=True)
    return html.Section(
        [html.Div([html.H4(title), button], className="cir-box-head"), html.Div(id=f"{prefix}-place")],
        className="cir-box",
    )


def head_of(state: State) -> Part | None:
    """The head that is open, or None."""
    if not state.pick or ">" in state.pick:
        return None
    try:
        part = Part.parse(state.pick)
    except WorkbenchError:
        return None
    return part if part.site.name == "z" and part.head is not None and part.site.layer is not None else None


def writes_of(workspace: Workspace, state: State) -> Experiment:
    """What the open head writes, on the clean prompts. Raises SpecError without a head; InputError, ModelError."""
    clean = clean_of(workspace, state)
    return _experiment(state, "head_writes", clean, {"head": str(_open(state))})


def score_of(workspace: Workspace, state: State) -> Experiment:
    """Who makes the open head look from one position of the first prompt at another. Raises as above."""
    looked = look(workspace, state)
    if looked is None:
        raise SpecError("where this head looks is not read yet.", "Wait for the map.")
    params = {"head": str(_open(state)), "q_pos": looked.query, "k_pos": looked.key, "side": "both"}
    return _experiment(state, "attention_score", first(clean_of(workspace, state)), params)


def _open(state: State) -> Part:
    part = head_of(state)
    if part is None:
        raise SpecError("no head is open.", "Click one in the graph.")
    return part


def _experiment(state: State, analysis: str, clean: PromptSet, params: dict[str, Any]) -> Experiment:
    model = ModelRef.model_validate(state.model)
    return normalised(Experiment(model=model, inputs={"clean": clean}, analysis=analysis, params=params))


def first(prompts: PromptSet) -> PromptSet:
    """The first prompt of a set, with its answer and its positions."""
    one = {name: values[:1] for name in ("prompts", "answers", "foils", "labels", "targets", "templates")
           if (values := getattr(prompts, name))}  # fmt: skip
    positions = {name: places[:1] for name, places in prompts.positions.items()}
    return prompts.model_copy(update={**one, "positions": positions})


@dataclass(frozen=True, eq=False)
class Look:
    """The pattern of the open head on the first prompt, and the cell of it that is looked at."""

    pattern: np.ndarray
    strings: tuple[str, ...]
    query: int
    key: int


def map_of(workspace: Workspace, state: State) -> CaptureRequest:
    """The patterns of the open head's layer on the first prompt. Raises SpecError without a head."""
    inputs = first(clean_of(workspace, state)).model_copy(update={"answers": (), "foils": (), "positions": {}})
    model = ModelRef.model_validate(state.model)
    return CaptureRequest(model=model, inputs=inputs, sites=(f"L{_open(state).site.layer}.pattern",))


def look(workspace: Workspace, state: State) -> Look | None:
    """The map and its cell: that of the address, else the answer position and what it attends to most; None before the
    pattern is read. Raises WorkbenchError.
    """
    stored = workspace.capture(map_of(workspace, state))
    if stored is None:
        return None
    part = _open(state)
    pattern = stored.read(f"L{part.site.layer}.pattern", head=part.head, prompt=0).astype(np.float32)
    strings = workspace.tokens(state.model, first(clean_of(workspace, state))).strings[0]
    query, key = _cell(state.cell, pattern)
    return Look(pattern, strings, query, key)


def _cell(text: str, pattern: np.ndarray) -> tuple[int, int]:
    query, _, key = text.partition(",")
    if query.isdecimal() and key.isdecimal() and int(query) < len(pattern) and int(key) <= int(query):
        return int(query), int(key)
    last = len(pattern) - 1
    return last, int(pattern[last].argmax())


def watch_looks(workspace: Workspace, state: State, session: str, theme: ThemeName = "light") -> Seen:
    """Where the open head looks on the first prompt; who makes it, once that is asked for."""
    if head_of(state) is None:
        return Seen("none", None, "Why it attends", busy=True)
    try:
        job = pending(workspace, map_of(workspace, state), session)
        looked = look(workspace, state) if job is None else None
        if looked is None:
            return Seen(f"map {state.pick} {facts_of(job)}", _reading(job), "Why it attends", busy=True)
        asked = score_of(workspace, state)
        result, running = workspace.result(asked.id), workspace.job(asked.id)
    except WorkbenchError as error:
        return Seen(f"refused {error}", inline_problem(error), "Why it attends", busy=True)
    told = _split(result) if result is not None else [_state(running)]
    run, busy = _ask(running, "Why it attends") if result is None else ("Split below", True)
    return Seen(
        f"{asked.id} {theme} {result is not None} {facts_of(running)}", [*_map(looked, theme), *told], run, busy
    )


def _reading(job: Job | None) -> Any:
    if job is not None and job.state == "failed":
        return inline_problem(job.error)
    return html.P("reading the pattern…", className="wb-muted", role="status")


def _map(looked: Look, theme: ThemeName) -> list[Any]:
    side = len(looked.strings)
    weight = number(float(looked.pattern[looked.query, looked.key]))
    words = [
        "Prompt 1: ", html.Bdi(looked.strings[looked.query], className="wb-mono"), f" ({looked.query}) attends to ",
        html.Bdi(looked.strings[looked.key], className="wb-mono"), f" ({looked.key}) with weight {weight}. ",
    ]  # fmt: skip
    if side > MOST_TOKENS:
        return [html.P([*words, f"Its {side} tokens are mapped on the Attention page."], className="wb-small")]
    places = tuple(range(side))
    grid = Grid(
        "pattern", looked.pattern, ("q_pos", "k_pos"), {"q_pos": places, "k_pos": places}, "attention", None, ""
    )
    figure = _narrow(head_figure(grid, looked.strings, theme, "attention"))
    return [
        graph("cat-map", figure, height=MAP_PIXELS, config={"displayModeBar": False}),
        html.P([*words, "Click a cell to look at another."], className="wb-small"),
    ]


def _narrow(figure: go.Figure) -> go.Figure:
    """The map of a head for a column: its colour bar lies above it, so that tokens have room beside it."""
    above = {"orientation": "h", "y": 1.0, "yanchor": "bottom", "len": 1.0, "thickness": 8, "title": {"side": "top"}}
    figure.update_traces(colorbar=above)
    figure.update_layout(margin={"t": 56, "r": 8})
    return figure.update_xaxes(tickfont={"size": 11}).update_yaxes(tickfont={"size": 11})


def _split(result: Result) -> list[Any]:
    """The writers that add most to the score of the cell, through the key and through the query."""
    score = result.grids.get("score", result.grids["product"])
    about = f"Its score is {number(float(score.values), signed=True)} before the softmax, the norms’ scales held:"
    sides = (("by_key", "through the key", "key_writer"), ("by_query", "through the query", "query_writer"))
    return [html.P(about, className="wb-small"), *(_writers(result.grid(n), words, dim) for n, words, dim in sides)]


def _writers(grid: Grid, words: str, dim: str) -> Any:
    order = np.argsort(-np.abs(grid.values), kind="stable")[:SHOWN]
    rows = [(_named(str(grid.coords[dim][at])), float(grid.values[at])) for at in order]
    return html.Div([html.H4(f"What writers add {words}"), _rows(rows)])


def _named(writer: str) -> str:
    """A writer in words where it is a node, its own name where it is another term."""
    try:
        return node_words(writer)
    except (WorkbenchError, KeyError):
        return writer


def watch_writes(workspace: Workspace, state: State, session: str, theme: ThemeName = "light") -> Seen:
    """What the open head writes, once that is asked for."""
    words = "Measure what it writes"
    if head_of(state) is None:
        return Seen("none", None, words, busy=True)
    try:
        asked = writes_of(workspace, state)
        result, job = workspace.result(asked.id), workspace.job(asked.id)
    except WorkbenchError as error:
        return Seen(f"refused {error}", inline_problem(error), words, busy=True)
    if result is not None:
        return Seen(result.id, _written(result), "Measured", busy=True)
    run, busy = _ask(job, words)
    return Seen(f"{asked.id} {facts_of(job)}", _state(job), run, busy)


def _written(result: Result) -> list[Any]:
    grids, shown = result.grids, list[Any]()
    if "direct_effect" in grids:
        grid = grids["direct_effect"]
        bounds = bounds_of(grid, grids)
        interval = f" ({bounds.text(())})" if bounds is not None else ""
        value = f"{number(float(grid.values), signed=True)} {UNIT_WORDS[grid.unit]}{interval}"
        shown.append(html.P(["Direct effect ", html.Span(value, className="wb-mono")], title=grid.about))
    for name, words in (("promoted", "Promotes"), ("suppressed", "Suppresses")):
        grid = grids[name]
        values, tokens = grid.values.reshape(-1), grid.coords["token"]
        rows = [(html.Bdi(str(token), className="wb-mono cir-token"), float(value))
                for token, value in list(zip(tokens, values, strict=True))[:SHOWN]]  # fmt: skip
        shown.append(html.Div([html.H4(f"{words}, logits", title=grid.about), _rows(rows)]))
    shares = [f"{name} {percent(float(grids[name].values))}" for name in ("copying", "suppression")
              if name in grids and grids[name].valid is None]  # fmt: skip
    if shares:
        shown.append(html.P(f"Its OV circuit alone: {', '.join(shares)}.", title=grids["copying"].about))
    return shown


def _rows(rows: list[tuple[Any, float]]) -> Any:
    items = [html.Li([html.Span(what), html.Span(number(value, signed=True), className="wb-mono cir-score")])
             for what, value in rows]  # fmt: skip
    return html.Ul(items, className="cir-edges cir-pairs")


def _ask(job: Job | None, words: str) -> tuple[str, bool]:
    run, busy = button_of(job)
    return (f"{words} again" if run == "Run again" else words), busy


def _state(job: Job | None) -> Any:
    if job is None or job.state == "cancelled":
        return None
    if job.state == "failed":
        return inline_problem(job.error)
    return html.P(job.message or "measuring…", className="wb-muted", role="status")


def cell_of(click: dict[str, Any] | None) -> str:
    """The cell of the map that was clicked, as the address holds it; "" for none, or for a key behind its query."""
    points = (click or {}).get("points") or [{}]
    query, key = points[0].get("y"), points[0].get("x")
    if not isinstance(query, int) or not isinstance(key, int) or key > query:
        return ""
    return f"{query},{key}"


def links(state: State) -> Any:
    """The way to the head on other pages."""
    part = _open(state)
    at = f'{{"layer": {part.site.layer}, "head": {part.head}}}'
    look_at = html.A("Attention page", href="/attention", **{"data-wb-nav": "/attention", "data-wb-set": at})
    edit = html.Button("Ablate head", className="wb-button", type="button", **{"data-wb-add": f"zero:{part}"})
    return html.Div([look_at, edit], className="cir-row")
