"""The residual graph and circuits: counts against closed forms, pruning by hand, the JSON form."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from analyses.analysis import normalised
from analyses.circuit import Circuit, Edge, Graph, node
from analyses.circuit_formats import annotations_in, import_circuit, parse_circuit
from analyses.circuit_notes import Annotations
from analyses.experiment import Experiment
from hooks.errors import SpecError
from hooks.info import StackInfo


def sizes(layers, heads, kv_heads=None, *, parallel=False, norm="pre"):
    return StackInfo(
        n_layers=layers, n_heads=heads, n_kv_heads=kv_heads or heads, d_model=8, d_head=2, d_mlp=8, norm=norm,
        norm_kind="layer", positions="learned", parallel=parallel, gated=False, windows=(None,) * layers,
    )  # fmt: skip


def test_gpt2_small_has_32491_edges_and_with_those_inside_heads_the_32923_of_acdc():
    graph = Graph(sizes(12, 12))
    assert (graph.n_edges, int(graph.allowed.sum()), len(list(graph.edges))) == (32_491, 32_491, 32_491)
    assert graph.n_edges + graph.n_inner == 32_923


@pytest.mark.parametrize(("layers", "heads", "group"), [(1, 1, 1), (3, 4, 2), (30, 9, 3)])
@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("keys", ["query_head", "kv_head"])
def test_counts_follow_from_the_sizes(layers, heads, group, parallel, keys):
    graph = Graph(sizes(layers, heads, heads // group, parallel=parallel), keys=keys)
    before = [1 + layer * (heads + 1) for layer in range(layers)]
    inputs = heads + 2 * (heads if keys == "query_head" else heads // group)
    mlps = sum(before) + (0 if parallel else layers * heads)
    assert graph.n_edges == inputs * sum(before) + mlps + layers * (heads + 1) + 1
    assert len(graph.readers) == layers * (inputs + 1) + 1


def test_smollm2_has_301_writers_841_readers_and_123211_edges():
    graph = Graph(sizes(30, 9, 3))
    assert (len(graph.writers), len(graph.readers), graph.n_edges) == (301, 841, 123_211)


def test_merged_keys_are_those_of_the_first_query_head_of_a_group():
    graph = Graph(sizes(1, 4, 2), keys="kv_head")
    assert graph.attending(0, "k") == ("L0.z[head=0]", "L0.z[head=2]")
    assert len(graph.attending(0, "q")) == 4


def test_heads_that_do_not_add_are_one_node():
    graph = Graph(sizes(2, 4, norm="sandwich"))
    assert graph.writers == ("embed", "L0.attn_out", "L0.mlp_out", "L1.attn_out", "L1.mlp_out")
    assert graph.n_edges == (3 * 1 + 2) + (3 * 3 + 4) + 5


def test_heads_of_a_layer_do_not_hear_each_other_and_its_mlp_hears_them_where_blocks_are_sequential():
    edges = set(Graph(sizes(1, 2)).edges)
    assert ("L0.z[head=0]", "L0.z[head=1]", "q") not in edges
    assert ("L0.z[head=0]", "L0.mlp_out", "in") in edges
    assert ("L0.z[head=0]", "L0.mlp_out", "in") not in set(Graph(sizes(1, 2, parallel=True)).edges)


def kept_of(graph, *edges):
    kept = np.zeros(graph.allowed.shape, dtype=bool)
    for source, target, channel in edges:
        kept[graph.node_index[source], graph.reader_index[target, channel]] = True
    return kept


def test_edges_that_start_nowhere_or_lead_nowhere_are_pruned():
    graph = Graph(sizes(2, 2))
    path = [("embed", "L0.mlp_out", "in"), ("L0.mlp_out", "L1.z[head=0]", "k"), ("L1.z[head=0]", "logits", "in")]
    unfed = [("L0.z[head=0]", "L1.z[head=0]", "q"), ("L1.mlp_out", "logits", "in")]
    unheard = [("embed", "L1.z[head=1]", "v"), ("L0.mlp_out", "L1.z[head=1]", "v")]
    pruned = graph.prune(kept_of(graph, *path, *unfed, *unheard))
    assert (pruned == kept_of(graph, *path)).all()
    assert not graph.prune(kept_of(graph, *path[:2])).any()
    assert (graph.prune(graph.allowed) == graph.allowed).all()
    assert (graph.complement(pruned) ^ pruned == graph.allowed).all()


def test_the_circuit_of_nodes_has_every_edge_between_them():
    graph = Graph(sizes(1, 2))
    kept = graph.between(["embed", "L0.z[head=1]", "logits"])
    assert {edge.key for edge in graph.circuit(kept, "by hand").edges} == {
        *(("embed", "L0.z[head=1]", channel) for channel in "qkv"),
        ("embed", "logits", "in"),
        ("L0.z[head=1]", "logits", "in"),
    }


def test_the_top_edges_are_the_first_of_equal_ones():
    graph = Graph(sizes(1, 1))
    scores = np.zeros(graph.allowed.shape)
    scores[0, 3], scores[1, 4] = -2.0, 1.0
    assert np.argwhere(graph.top(scores, 1)).tolist() == [[0, 3]]
    assert np.argwhere(graph.top(scores, 1, by="signed")).tolist() == [[1, 4]]
    assert np.argwhere(graph.top(scores, 3)).tolist() == [[0, 0], [0, 3], [1, 4]]


def test_a_circuit_survives_json_and_the_order_of_its_edges_does_not_matter():
    graph = Graph(sizes(2, 2))
    scores = np.random.default_rng(0).normal(size=graph.allowed.shape)
    kept = graph.prune(graph.top(scores, 20))
    circuit = graph.circuit(kept, "eap", scores)
    printed = circuit.model_dump(mode="json")
    assert set(printed) == {"nodes", "edges", "size", "method"}
    assert set(printed["edges"][0]) == {"source", "target", "channel", "score"}
    shuffled = {**printed, "edges": printed["edges"][::-1]}
    for form in (printed, shuffled):
        again = Circuit.model_validate(form)
        assert (graph.kept(again) == kept).all()
        np.testing.assert_allclose(graph.scores(again), np.where(kept, scores, 0), rtol=1e-12)


def named(**notes):
    """The smallest circuit, with what is written beside its nodes."""
    edge = {"source": "embed", "target": "logits", "channel": "in"}
    return {"nodes": ["embed", "logits"], "edges": [edge], "size": 1, "method": "by hand", **notes}


NOTES = {"labels": {"embed": "<b>start"}, "groups": {"embed": "ends", "logits": "ends"}, "pinned": ["logits"]}


def test_annotations_survive_json_and_are_written_only_where_there_are_some():
    plain = Circuit.model_validate(named())
    assert set(plain.model_dump()) == {"nodes", "edges", "size", "method"}
    noted = Circuit.model_validate(named(**NOTES))
    assert noted == Circuit.model_validate_json(noted.model_dump_json()) != plain
    assert {name: noted.model_dump(mode="json")[name] for name in NOTES} == NOTES
    assert noted.bare == plain
    assert noted.classes == {"ends": ("embed", "logits")}


@pytest.mark.parametrize(("notes", "why"), [
    ({"labels": {"L0.mlp_out": "x"}}, "L0.mlp_out is labelled, grouped or pinned, and is not among nodes"),
    ({"groups": {"L0.mlp_out": "x"}}, "L0.mlp_out is labelled"), ({"pinned": ["L0.mlp_out"]}, "L0.mlp_out is labelled"),
    ({"labels": {"embed": "x" * 61}}, "at most 60 characters"), ({"groups": {"embed": "x" * 61}}, "at most 60"),
    ({"labels": {"embed": ""}}, "at least 1 character"), ({"labels": ["embed"]}, "dictionary"),
])  # fmt: skip
def test_annotations_are_short_texts_of_nodes_of_the_circuit(notes, why):
    with pytest.raises(SpecError, match=why):
        parse_circuit(named(**notes))


@pytest.mark.parametrize("analysis", ["circuit_evaluation", "circuit_stability"])
def test_annotations_change_no_id(analysis):
    prompts = {"clean": {"prompts": [{"ids": [1]}]}, "corrupt": {"prompts": [{"ids": [2]}]}}
    more = {"task": "ioi"} if analysis == "circuit_stability" else {}

    def asked(**notes):
        params = {"circuit": named(**notes), **more}
        return normalised(Experiment(model="tiny", inputs=prompts, analysis=analysis, params=params))

    assert asked(**NOTES).id == asked().id
    assert asked(**NOTES).params["circuit"] == Circuit.model_validate(named()).model_dump(mode="json")


def test_our_json_keeps_annotations_of_the_nodes_that_a_size_keeps():
    graph = Graph(sizes(1, 2))
    scores = np.zeros(graph.allowed.shape)
    scores[0, -1], scores[0, -2], scores[3, -1] = 3.0, 2.0, 1.0
    circuit = graph.circuit(scores != 0, "by hand", scores)
    notes = Annotations(labels={"embed": "start", "L0.mlp_out": "middle"}, pinned=("L0.mlp_out",))
    data = circuit.saying(notes).model_dump_json().encode()
    assert import_circuit(data, graph).circuit.on(circuit.nodes) == notes == annotations_in(data)
    smaller = import_circuit(data, graph, size=1).circuit
    assert (smaller.labels, smaller.pinned) == ({"embed": "start"}, ())


@pytest.mark.parametrize(
    ("source", "target", "channel", "why"),
    [
        ("L1.mlp_out", "L0.mlp_out", "in", "does not run downstream"),
        ("embed", "L0.z[head=0]", "in", "has no input in"),
        ("embed", "L0.mlp_out", "q", "has no input q"),
        ("L0.z", "L0.mlp_out", "in", "not a node"),
        ("L0.resid_pre", "logits", "in", "not a node"),
    ],
)
def test_what_is_no_edge_is_refused(source, target, channel, why):
    with pytest.raises(ValidationError, match=why):
        Edge(source=source, target=target, channel=channel)


def test_a_circuit_says_what_is_wrong_with_it():
    edge = {"source": "embed", "target": "logits", "channel": "in", "score": 1.0}
    whole = {"nodes": ["embed", "logits"], "edges": [edge], "size": 1, "method": "eap"}
    for change, why in (
        ({"size": 2}, "there are 1 edges"),
        ({"edges": [edge, edge], "size": 2}, "edge is listed twice"),
        ({"nodes": ["embed"]}, "not among nodes"),
        ({"edges": [{**edge, "score": float("nan")}]}, "finite"),
    ):
        with pytest.raises(ValidationError, match=why):
            Circuit.model_validate({**whole, **change})
    with pytest.raises(SpecError, match="no edge of this model"):
        other = {**edge, "source": "L7.mlp_out"}
        Graph(sizes(2, 2)).kept(Circuit(nodes=("L7.mlp_out", "logits"), edges=(other,), size=1, method="x"))
    with pytest.raises(SpecError, match="counts keys by"):
        Graph(sizes(2, 2), keys="kv_head").kept(Circuit.model_validate(whole))


def test_nodes_print_in_one_way():
    assert node(" L3.z[head=5] ") == "L3.z[head=5]"
