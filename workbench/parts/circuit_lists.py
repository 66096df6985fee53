"""The circuit as text: its nodes and edges in lists, for keyboard and screen reader, and the form that adds an edge."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import html

from workbench.circuit_draft import edge_text
from workbench.figures.numbers import UNIT_WORDS, number, whole
from workbench.parts.circuit_request import Edited
from workbench.parts.circuit_view import nodes_of, spec_of
from workbench.parts.circuit_words import CHANNELS, node_words
from workbench.parts.empty import sentence

MOST_ROWS = 100
MOST_OFFERED = 60
"""Options that a list shows at a time; what is typed finds the others."""


def lists(now: Edited, unit: str) -> list[Any]:
    """Nodes as buttons, the strongest edges as a table."""
    spec = spec_of(now, MOST_ROWS)
    edges = sorted(spec["edges"], key=lambda edge: -abs(edge["score"] or 0.0))
    there = nodes_of(now)
    nodes = [
        html.Li(html.Button(sentence(node_words(node)), className="cir-pick", type="button", **{"data-cir-pick": node}))
        for node, kept in zip(now.base.graph.nodes, there, strict=True)
        if kept
    ]
    more = f", the {MOST_ROWS} strongest" if spec["size"] > MOST_ROWS else ""
    return [
        html.Div([html.H3(f"Nodes ({whole(len(nodes))})"), html.Ul(nodes, className="cir-nodes")]),
        html.Div([html.H3(f"Edges ({whole(spec['size'])}{more})"), _table(edges, unit)]),
    ]


def _table(edges: list[dict[str, Any]], unit: str) -> Any:
    head = ("From", "To", "Channel", f"Score ({UNIT_WORDS.get(unit, unit)})")
    rows = [
        html.Tr(
            [
                html.Td(html.Button(sentence(node_words(edge["source"])), className="cir-pick", type="button",
                                    **{"data-cir-pick": edge_text(edge["source"], edge["target"], edge["channel"])})),
                html.Td(sentence(node_words(edge["target"]))),
                html.Td(CHANNELS[edge["channel"]]),
                html.Td(number(edge["score"], signed=True), className="wb-mono cir-score"),
            ]
        )
        for edge in edges
    ]  # fmt: skip
    header = html.Thead(html.Tr([html.Th(words, scope="col") for words in head]))
    return html.Div(html.Table([header, html.Tbody(rows)], className="cir-table"), className="cir-scroll")


def adder(now: Edited) -> Any:
    """Two nodes and a channel, and the button that joins them."""
    graph = now.base.graph
    sources = [{"value": node, "label": sentence(node_words(node))} for node in graph.writers]
    targets = [
        {"value": f"{target}>{channel}", "label": f"{sentence(node_words(target))}, {CHANNELS[channel]}"}
        for target, channel in graph.readers
    ]
    look = {"searchable": True, "limit": MOST_OFFERED, "w": 200}
    return html.Div(
        [
            dmc.Select(id="cir-from", label="From", data=sources, **look),
            dmc.Select(id="cir-to", label="To", data=targets, **look),
            dmc.Button("Add edge", id="cir-add", variant="default"),
        ],
        className="pat-fields",
    )
