"""A circuit as the browser draws it: nodes in their places, edges by the places of their ends, marks, groups, pins."""

from __future__ import annotations

import pytest

from hooks.sites import Part
from tests.workbench.components import all_of
from workbench.figures.graph import MOST_EDGES
from workbench.parts.circuit_graph import drawn, graph

EDGES = (
    ("embed", "L0.z[head=1]", "q", 0.5),
    ("L0.z[head=1]", "L0.mlp_out", "in", -0.25),
    ("L0.mlp_out", "L5.z[head=3]", "v", 0.125),
    ("L5.z[head=3]", "logits", "in", None),
)
NODES = ("embed", "L0.z[head=1]", "L0.mlp_out", "L5.z[head=3]", "logits")


def circuit(edges=EDGES, nodes=NODES, **more):
    listed = [{"source": s, "target": t, "channel": c, "score": x} for s, t, c, x in edges]
    return {"nodes": list(nodes), "edges": listed, "size": len(listed), "method": "eap", **more}


def edges_of(data):
    """(source, target, channel, score, mark) of what is drawn, by the names of the nodes."""
    ids, edges = data["nodes"]["id"], data["edges"]
    ends = ([ids[place] for place in edges[end]] for end in ("source", "target"))
    return list(zip(*ends, edges["channel"], edges["score"], edges["mark"], strict=True))


def test_every_node_and_edge_is_there_and_every_list_as_long_as_the_others():
    data = drawn(circuit())
    assert data["nodes"]["id"] == list(NODES)
    assert edges_of(data) == [(*edge, "") for edge in EDGES]
    assert {len(values) for values in data["nodes"].values()} == {5}
    assert {len(values) for values in data["edges"].values()} == {4}
    assert data["nodes"]["kind"] == ["embed", "head", "mlp", "head", "logits"]
    assert data["total"] == 4


def test_what_is_heard_stands_below_what_hears_it_and_rows_are_named_from_the_bottom():
    data = drawn(circuit())
    row, edges = data["nodes"]["row"], data["edges"]
    for source, target in zip(edges["source"], edges["target"], strict=True):
        assert row[source] < row[target]
    assert data["rows"] == ["embedding", "layer 0", "layer 5", "logits"]
    for node, height in zip(data["nodes"]["id"], row, strict=True):
        layer = Part.parse(node).site.layer
        assert layer is None or data["rows"][int(height)] == f"layer {layer}"
    assert row[data["nodes"]["id"].index("L0.mlp_out")] == row[data["nodes"]["id"].index("L0.z[head=1]")] + 0.5


def test_marked_edges_are_drawn_even_where_the_circuit_has_lost_them():
    marks = {EDGES[0][:3]: "added", ("embed", "L2.z[head=0]", "k"): "cut"}
    data = drawn(circuit(), marks=marks)
    found = {edge[:3]: edge[3:] for edge in edges_of(data)}
    assert found[EDGES[0][:3]] == (0.5, "added")
    assert found["embed", "L2.z[head=0]", "k"] == (None, "cut")
    assert data["rows"] == ["embedding", "layer 0", "layer 2", "layer 5", "logits"]
    assert data["total"] == 5


def test_of_too_many_edges_the_strongest_and_the_marked_are_drawn():
    heads = [(layer, head) for layer in range(1, 50) for head in range(50)]
    many = [("embed", f"L{layer}.z[head={head}]", "q", 1.0 + place) for place, (layer, head) in enumerate(heads)]
    nodes = ["embed", *(edge[1] for edge in many)]
    weakest = many[0][:3]
    data = drawn(circuit(many, nodes), marks={weakest: "added"})
    kept = {edge[:3] for edge in edges_of(data)}
    assert kept == {edge[:3] for edge in many[-MOST_EDGES:]} | {weakest}
    assert data["total"] == len(many)


def test_what_is_said_of_a_node_stands_beside_it():
    data = drawn(
        circuit(), roles={NODES[1]: "<b>copies</b>"}, groups={NODES[3]: "movers"}, pinned=[NODES[2]],
        scores={NODES[1]: 0.75},
    )  # fmt: skip
    assert data["nodes"]["role"] == [None, "<b>copies</b>", None, None, None]
    assert data["nodes"]["group"] == [None, None, None, "movers", None]
    assert data["nodes"]["pinned"] == [False, False, True, False, False]
    assert data["nodes"]["score"] == [None, 0.75, None, None, None]


def test_a_graph_keeps_its_key_while_its_size_changes_and_not_from_task_to_task():
    assert drawn(circuit(task="a"))["key"] == drawn(circuit(EDGES[:2], NODES[:3], task="a"))["key"]
    assert drawn(circuit(task="a"))["key"] != drawn(circuit(task="b"))["key"]
    assert drawn(circuit(), key="mine")["key"] == "mine"


@pytest.mark.parametrize("name", ["in", "out", "fit"])
def test_the_buttons_name_the_graph_that_they_zoom(name):
    button = next(iter(all_of(graph("here"), lambda one: getattr(one, "data-cg-zoom", None) == name)))
    assert getattr(button, "data-cg-host") == "here" and getattr(button, "aria-label")
