"""The circuit graph on a page: its place, and a circuit in the form that assets/circuit_graph.js draws."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from dash import html

from hooks.sites import Part
from workbench.figures.graph import MOST_EDGES, layers, layout, strongest

Mark = Literal["", "added", "cut", "only_a", "only_b", "both"]
EdgeKey = tuple[str, str, str]
"""Source, target, channel."""
KINDS = {"embed": "embed", "z": "head", "attn_out": "attn", "mlp_out": "mlp", "logits": "logits"}
ZOOMS = (("in", "+", "Zoom in"), ("out", "−", "Zoom out"), ("fit", "fit", "Fit the graph to the window"))


def graph(host_id: str, **props: Any) -> Any:
    """The place of a graph, drawn by `wbCircuitGraph.show(host_id, data)`; props are those of the host.

    The element `{host_id}-text` is where a page writes the same circuit as text.
    """
    buttons = [
        html.Button(
            word, type="button", className="wb-button", title=title,
            **{"aria-label": title, "data-cg-zoom": name, "data-cg-host": host_id},
        )
        for name, word, title in ZOOMS
    ]  # fmt: skip
    classes = " ".join(filter(None, ("cg-host", props.pop("className", ""))))
    return html.Div(
        [
            html.Div(buttons, className="cg-zoom", role="group", **{"aria-label": "Zoom"}),
            html.Div(id=host_id, className=classes, **props),
            html.Div(id=f"{host_id}-text"),
        ],
        className="cg",
    )


def drawn(
    circuit: Mapping[str, Any],
    *,
    roles: Mapping[str, str] | None = None,
    groups: Mapping[str, str] | None = None,
    pinned: Collection[str] = (),
    marks: Mapping[EdgeKey, Mark] | None = None,
    scores: Mapping[str, float] | None = None,
    key: str | None = None,
) -> dict[str, Any]:
    """A circuit in its JSON form as what the browser draws. roles, groups, scores: by node; marks: by edge.

    Marked edges that the circuit lacks, such as those that were cut, are drawn too, without a score. Of more than
    2,000 edges those of highest absolute score are drawn, and all marked ones; `total` is how many there are. key: what
    the graph is of, so that zoom and selection outlive a change; task, method and counting where it is not given.
    """
    marks, roles, groups, scores = marks or {}, roles or {}, groups or {}, scores or {}
    edges, total = _edges(circuit["edges"], marks)
    ends = [edge[end] for edge in edges for end in ("source", "target")]
    places = list(layout(list(dict.fromkeys([*circuit["nodes"], *ends]))).values())
    index = {at.node: number for number, at in enumerate(places)}
    named = " ".join(str(circuit.get(part, "")) for part in ("task", "method", "keys"))
    return {
        "key": named if key is None else key,
        "total": total,
        "nodes": {
            "id": [at.node for at in places],
            "label": [at.short for at in places],
            "kind": [KINDS[Part.parse(at.node).site.name] for at in places],
            "x": [round(at.x, 5) for at in places],
            "row": [at.y for at in places],
            "role": [roles.get(at.node) for at in places],
            "group": [groups.get(at.node) for at in places],
            "pinned": [at.node in pinned for at in places],
            "score": [scores.get(at.node) for at in places],
        },
        "edges": {
            "source": [index[edge["source"]] for edge in edges],
            "target": [index[edge["target"]] for edge in edges],
            "channel": [edge["channel"] for edge in edges],
            "score": [edge.get("score") for edge in edges],
            "mark": [marks.get(_key(edge), "") for edge in edges],
        },
        "rows": ["embedding", *(f"layer {layer}" for layer in layers(index)), "logits"],
    }


def _key(edge: Mapping[str, Any]) -> EdgeKey:
    return edge["source"], edge["target"], edge["channel"]


def _edges(edges: list[Mapping[str, Any]], marks: Mapping[EdgeKey, Mark]) -> tuple[list[Mapping[str, Any]], int]:
    """The edges to draw, and how many there are in all."""
    there = {_key(edge) for edge in edges}
    lost = [{"source": key[0], "target": key[1], "channel": key[2]} for key, mark in marks.items()
            if mark and key not in there]  # fmt: skip
    kept = {_key(edge) for edge in strongest(edges, MOST_EDGES)} | {key for key, mark in marks.items() if mark}
    return [*(edge for edge in edges if _key(edge) in kept), *lost], len(edges) + len(lost)
