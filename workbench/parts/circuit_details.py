"""What is open on the page of circuits: a node or an edge, with what is known of it and what can be done to it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import dash_mantine_components as dmc
import numpy as np
from dash import html

from analyses.circuit import LOGITS
from analyses.circuit_notes import LONGEST_TEXT
from hooks.errors import WorkbenchError
from workbench.circuit_draft import edge_text, parts_of, place
from workbench.figures.numbers import UNIT_WORDS, number, whole
from workbench.parts.circuit_request import Edited
from workbench.parts.circuit_words import CHANNELS, edge_words, node_words
from workbench.parts.empty import sentence
from workbench.parts.icons import icon

SHOWN, MISSING = 12, 5
Place = tuple[int, int]


def details(now: Edited, pick: str, unit: str, roles: Mapping[str, str], links: Any) -> Any:
    """The open node or edge; how to open one where there is none. unit: of scores. links: to a head's other pages."""
    if not pick:
        text = "Click a node or an edge of the graph, or take one from the list below: what is known of it stands here."
        return html.P(text, className="wb-muted")
    try:
        if ">" in pick:
            return _edge(now, pick, unit)
        if pick not in now.base.graph.node_index:
            return html.P("This model has no such node.", className="wb-muted")
        return _node(now, pick, unit, roles, links)
    except WorkbenchError as error:
        return html.P(f"{sentence(error.message)} {error.hint}", className="wb-muted")


def _edge(now: Edited, pick: str, unit: str) -> Any:
    at, (source, target, channel) = place(now.base.graph, pick), parts_of(pick)
    there = bool(now.kept[at])
    heard = f"The {CHANNELS[channel]} of {node_words(target)} reads what {node_words(source)} writes."
    counted = "" if not there or now.pruned[at] else " It lies on no path from the embedding to the logits."
    facts = [("Channel", CHANNELS[channel]), ("Score", _score(now, at, unit)),
             ("In the circuit", "yes" if there else "no")]  # fmt: skip
    change = {"op": "cut" if there else "add", "edge": pick}
    exact = html.Button("Measure cutting it alone", className="wb-button", type="button", **{"data-cir-exact": pick})
    return [
        html.H3(sentence(edge_words(source, target, channel))),
        html.P(heard + counted, className="wb-muted"),
        _facts(facts),
        html.Div(
            [
                _button("Cut edge" if there else "Add edge", change, symbol="delete" if there else "plus"),
                _pick(source, f"Open {node_words(source)}"),
                _pick(target, f"Open {node_words(target)}"),
            ],
            className="wb-field-row cir-row",
        ),
        html.H4("Exact effect of cutting this edge in the whole model"),
        html.Div([exact, html.Span(className="cir-exact wb-number", role="status")], className="cir-row"),
    ]


def _node(now: Edited, node: str, unit: str, roles: Mapping[str, str], links: Any) -> Any:
    into, out, missing = _around(now, node)
    notes = now.notes
    label, group, pinned = notes.labels.get(node, ""), notes.groups.get(node, ""), node in notes.pinned
    told = [("Address", html.Span(node, className="wb-mono"))]
    told += [("Role", roles[node])] if node in roles else []
    strongest = [_text(now, at) for at in missing[:MISSING]]
    return [
        html.H3([sentence(node_words(node)), *([" ", html.Bdi(label)] if label else [])]),
        _facts(told),
        html.Div(
            [
                _button("Cut node", {"op": "cut_node", "node": node}, symbol="delete", off=not into + out),
                _button("Unpin" if pinned else "Pin", {"op": "unpin" if pinned else "pin", "node": node}, symbol="dot"),
                _button(
                    f"Add {len(strongest)} strongest missing edges",
                    {"op": "add_all", "edges": strongest},
                    symbol="plus",
                    off=not strongest,
                ),
            ],
            className="wb-field-row cir-row",
        ),
        html.Div([_field("label", node, label), _field("group", node, group)], className="cir-fields"),
        links,
        _list("Edges in", now, into, unit, cut=True),
        _list("Edges out", now, out, unit, cut=True),
        _list("Strongest missing edges", now, missing[:MISSING], unit, cut=False),
    ]


def _around(now: Edited, node: str) -> tuple[list[Place], list[Place], list[Place]]:
    """Edges into a node, out of it, and those that it lacks, each by absolute score."""
    graph, base = now.base.graph, now.base
    touching = np.zeros(graph.allowed.shape, dtype=bool)
    touching[:, graph.targets == graph.node_index[node]] = True
    into = now.kept & touching
    out = np.zeros_like(touching)
    if node != LOGITS:
        out[graph.node_index[node]] = True
    lacking = graph.allowed & (touching | out) & ~now.kept & base.scored
    return _by_score(now, into), _by_score(now, now.kept & out), _by_score(now, lacking)


def _by_score(now: Edited, mask: np.ndarray) -> list[Place]:
    places = np.argwhere(mask)
    order = np.argsort(-np.abs(now.base.scores[tuple(places.T)]), kind="stable")
    return [(int(writer), int(reader)) for writer, reader in places[order]]


def _text(now: Edited, at: Place) -> str:
    target, channel = now.base.graph.readers[at[1]]
    return edge_text(now.base.graph.writers[at[0]], target, channel)


def _score(now: Edited, at: Place, unit: str) -> str:
    if not now.base.scored[at]:
        return "–"
    return f"{number(float(now.base.scores[at]), signed=True)} {UNIT_WORDS.get(unit, unit)}"


def _list(title: str, now: Edited, places: list[Place], unit: str, *, cut: bool) -> Any:
    """Edges with their scores, each with its button."""
    items = [_item(now, at, cut=cut) for at in places[:SHOWN]] or [html.Li("none", className="wb-muted")]
    more = f" ({whole(len(places))}" + (f", the {SHOWN} strongest" if len(places) > SHOWN else "") + ")"
    unit = UNIT_WORDS.get(unit, unit)
    head = [title, more if places else "", html.Span(f", score in {unit}" if places else "", className="wb-muted")]
    return html.Div([html.H4(head), html.Ul(items, className="cir-edges")])


def _item(now: Edited, at: Place, *, cut: bool) -> Any:
    text = _text(now, at)
    words = edge_words(*parts_of(text))
    score = number(float(now.base.scores[at]), signed=True) if now.base.scored[at] else "–"
    change = {"op": "cut" if cut else "add", "edge": text}
    spoken = f"{'Cut' if cut else 'Add'} the edge {words}"
    return html.Li(
        [
            html.Button(words, className="cir-pick", type="button", **{"data-cir-pick": text}),
            html.Span(score, className="wb-mono cir-score"),
            _button("", change, symbol="close" if cut else "plus", label=spoken),
        ]
    )


def _field(name: str, node: str, value: str) -> Any:
    """A text of the user's about a node; it is taken when the field is left or Enter is pressed."""
    box = dmc.TextInput(label=name.capitalize(), value=value, inputProps={"maxLength": LONGEST_TEXT}, size="xs")
    return html.Div(box, **{"data-cir-field": name, "data-node": node})


def _button(words: str, change: Mapping[str, Any], *, symbol: str, label: str = "", off: bool = False) -> Any:
    spoken = {"aria-label": label, "title": label} if label else {}
    inside = [icon(symbol, size=16), *([words] if words else [])]
    name = "wb-button" if words else "wb-button cir-small"
    return html.Button(
        inside, className=name, type="button", disabled=off, **{"data-cir-op": json.dumps(change), **spoken}
    )


def _pick(pick: str, words: str) -> Any:
    return html.Button(words, className="wb-button", type="button", **{"data-cir-pick": pick})


def _facts(rows: Iterable[tuple[str, Any]]) -> Any:
    return html.Dl([part for name, value in rows for part in (html.Dt(name), html.Dd(value))], className="cir-facts")
