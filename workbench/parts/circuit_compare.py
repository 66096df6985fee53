"""Two circuits compared: what both hold, what one of them holds alone; in words and as marks in the graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dash_mantine_components as dmc
import numpy as np
from dash import dcc, html

from analyses.circuit_mask import Mask
from analyses.faithfulness import jaccard
from hooks.errors import InputError, WorkbenchError
from workbench.circuit_base import Base
from workbench.figures.graph import MOST_EDGES
from workbench.figures.numbers import number, percent, whole
from workbench.parts.circuit_graph import EdgeKey, Mark
from workbench.parts.circuit_request import Bases, Edited, edited_of
from workbench.parts.circuit_words import edge_words
from workbench.parts.empty import inline_problem
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.workspace import Workspace

GIVEN = "file:"
OF_CIRCUITS = ("circuit_search", "circuit_evaluation")
LISTED = 12


def other_of(workspace: Workspace, bases: Bases, state: State, now: Edited) -> Base | None:
    """What a state compares its circuit with. Raises InputError for a circuit of another shape."""
    if not state.against:
        return None
    if state.against.startswith(GIVEN):
        other: Base | None = bases.of_given(state.against.removeprefix(GIVEN), state)
    else:
        other = bases.of_result(state.against, state)
    if other is None:
        raise InputError("this result is not in the workspace any more.", "Choose another circuit to compare with.")
    ours, theirs = now.base.graph, other.graph
    if (ours.nodes, ours.readers) != (theirs.nodes, theirs.readers) or ours.allowed.shape != theirs.allowed.shape:
        raise InputError(
            f"the other circuit is of a graph of {whole(theirs.n_edges)} edges, this one of {whole(ours.n_edges)}.",
            "Compare circuits of models of equal shape, with keys counted alike.",
        )
    return other


def marks_of(workspace: Workspace, bases: Bases, state: State) -> dict[EdgeKey, Mark]:
    """A mark for every drawn edge of two circuits; none without a second one, or where they cannot be compared."""
    try:
        now = edited_of(workspace, bases, state) if state.against else None
        other = None if now is None else other_of(workspace, bases, state, now)
    except WorkbenchError:  # the panel says why
        return {}
    if now is None or other is None:
        return {}
    ours, theirs = now.kept, other.kept(None)
    found: dict[EdgeKey, Mark] = {}
    marked: tuple[tuple[Mask, Base, Mark], ...] = (
        (ours & theirs, now.base, "both"),
        (ours & ~theirs, now.base, "only_a"),
        (theirs & ~ours, other, "only_b"),
    )
    for mask, base, mark in marked:
        found |= dict.fromkeys(_strongest(base, mask, MOST_EDGES // len(marked)), mark)
    return found


def _strongest(base: Base, mask: Mask, most: int) -> Iterator[EdgeKey]:
    places = np.argwhere(mask)
    order = np.argsort(-np.abs(base.scores[tuple(places.T)]), kind="stable")[:most]
    for writer, reader in places[order]:
        yield base.graph.writers[writer], *base.graph.readers[reader]


def choice(workspace: Workspace, state: State) -> list[Any]:
    """The list of circuits to compare with, and the place for a file."""
    cards = [card for card in workspace.results() if card.analysis in OF_CIRCUITS]
    items = [{"value": card.id, "label": f"{card.model}: {card.sentence}"} for card in cards]
    if state.against.startswith(GIVEN):
        items.insert(0, {"value": state.against, "label": "The given file"})
    drop = ["Drop a circuit’s file here, or ", html.Span("choose one", className="wb-link")]
    return [
        dmc.Select(
            id={"type": "cir-set", "name": "against"}, label="Compare with", data=items, value=state.against or None,
            clearable=True, searchable=True, placeholder="another circuit of a model of equal shape",
            nothingFoundMessage="No circuit was found in this workspace yet",
        ),
        dcc.Upload(drop, id="cir-other-upload", className="prompt-upload", accept=".json,.csv"),
        html.Div(id="cir-other-note", className="wb-error-slot", **{"aria-live": "polite"}),
    ]  # fmt: skip


def compared(workspace: Workspace, bases: Bases, state: State) -> Any:
    """How many edges both circuits hold, what one holds alone, their overlap, and the strongest differences."""
    if not state.against:
        return html.P("Edges of both, of this one alone and of the other alone are then marked in the graph.",
                      className="wb-muted")  # fmt: skip
    try:
        now = edited_of(workspace, bases, state)
        other = None if now is None else other_of(workspace, bases, state, now)
    except WorkbenchError as error:
        return inline_problem(error)
    if now is None or other is None:
        return html.P("There is no circuit to compare yet.", className="wb-muted")
    ours, theirs = now.kept, other.kept(None)
    sets = (
        ("In both", ours & theirs, now.base),
        ("In this one alone", ours & ~theirs, now.base),
        ("In the other alone", theirs & ~ours, other),
    )
    overlap = jaccard(ours, theirs)
    counts = {title: int(mask.sum()) for title, mask, _ in sets}
    tiles = [_tile(title, whole(count), "edge" if count == 1 else "edges") for title, count in counts.items()]
    tiles.append(_tile("Jaccard overlap", number(overlap), f"{percent(overlap)} of all edges of the two"))
    lists = [_list(title, base, mask) for title, mask, base in sets[1:]]
    return [html.Div(tiles, className="abl-tiles"), html.Div(lists, className="cir-columns")]


def _tile(title: str, value: str, unit: str) -> Any:
    shown = html.P([value, html.Span(f" {unit}", className="abl-unit")], className="pat-value wb-mono")
    return html.Div([html.H4(title), shown], className="abl-tile pat-tile")


def _list(title: str, base: Base, mask: Mask) -> Any:
    edges = list(_strongest(base, mask, LISTED))
    count = int(mask.sum())
    more = f", the {LISTED} strongest" if count > LISTED else ""
    items = [html.Li(edge_words(*edge)) for edge in edges] or [html.Li("none", className="wb-muted")]
    return html.Div([html.H3(f"{title}{more}"), html.Ul(items, className="cir-edges")])
