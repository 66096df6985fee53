"""The circuit as text, for keyboard and screen reader, as the browser lists it; and the form that adds an edge."""

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


def lists(now: Edited, unit: str) -> dict[str, Any]:
    """Nodes and the strongest edges as plain text, each with what opens it.

    Drawn by assets/circuit_lists.js: a thousand components of a page would take a browser seconds at every change.
    """
    spec = spec_of(now, MOST_ROWS)
    edges = sorted(spec["edges"], key=lambda edge: -abs(edge["score"] or 0.0))
    there = [node for node, kept in zip(now.base.graph.nodes, nodes_of(now), strict=True) if kept]
    more = f", the {MOST_ROWS} strongest" if spec["size"] > MOST_ROWS else ""
    return {
        "nodes_title": f"Nodes ({whole(len(there))})",
        "nodes": [[node, sentence(node_words(node))] for node in there],
        "edges_title": f"Edges ({whole(spec['size'])}{more})",
        "head": ["From", "To", "Channel", f"Score ({UNIT_WORDS.get(unit, unit)})"],
        "edges": [
            [
                edge_text(edge["source"], edge["target"], edge["channel"]),
                sentence(node_words(edge["source"])),
                sentence(node_words(edge["target"])),
                CHANNELS[edge["channel"]],
                number(edge["score"], signed=True),
            ]
            for edge in edges
        ],
    }


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
