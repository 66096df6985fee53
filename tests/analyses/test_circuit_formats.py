"""Circuits of other tools become circuits of ours, or are refused by an error that names the entry."""

from __future__ import annotations

import json
import pickle
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyses.circuit import Edge, Graph
from analyses.circuit_formats import MOST_BYTES, import_circuit, parse_circuit
from hooks.errors import SpecError
from hooks.info import StackInfo

SIZES = {"n_layers": 3, "n_heads": 4, "n_kv_heads": 2, "d_model": 32, "d_head": 8, "d_mlp": 48, "norm_kind": "RMSNorm",
         "positions": "rotary", "gated": True, "windows": (None, None, None)}  # fmt: skip
GRAPH = Graph(StackInfo(**SIZES, norm="pre", parallel=False))
PARALLEL = Graph(StackInfo(**SIZES, norm="pre", parallel=True))
SANDWICH = Graph(StackInfo(**SIZES, norm="sandwich", parallel=False))
# One circuit in each notation: embed → L0 head 1 (v) → MLP 0 → L2 head 3 (k) → logits.
PATH = [
    ("embed", "L0.z[head=1]", "v", 0.5),
    ("L0.z[head=1]", "L0.mlp_out", "in", -0.25),
    ("L0.mlp_out", "L2.z[head=3]", "k", 1.5),
    ("L2.z[head=3]", "logits", "in", 2.0),
]
EAP = {"input->a0.h1<v>": 0.5, "a0.h1->m0": -0.25, "m0->a2.h3<k>": 1.5, "a2.h3->logits": 2.0}
HOOKS = [
    ("blocks.0.hook_v_input", [None, None, 1], "blocks.0.hook_resid_pre", [None], 0.5),
    ("blocks.0.hook_mlp_in", [None], "blocks.0.attn.hook_result", [None, None, 1], -0.25),
    ("blocks.2.hook_k_input", [None, None, 3], "blocks.0.hook_mlp_out", [None], 1.5),
    ("blocks.2.hook_resid_post", [None], "blocks.2.attn.hook_result", [None, None, 3], 2.0),
]


def text(index):
    return "[" + ", ".join(":" if item is None else str(item) for item in index) + "]"


def read(value, graph=GRAPH, **options):
    data = (
        value if isinstance(value, bytes) else value.encode() if isinstance(value, str) else json.dumps(value).encode()
    )
    return import_circuit(data, graph, **options).circuit


def found(circuit, *, scored=True):
    return {(*edge.key, edge.score) if scored else edge.key for edge in circuit.edges}


def eap_graph(present=True, cfg=None):
    edges = {name: {"score": score, "in_graph": present} for name, score in EAP.items()}
    edges["m0->m1"] = {"score": 0.125, "in_graph": False}
    sizes = {"n_layers": 3, "n_heads": 4, "parallel_attn_mlp": False, "d_model": 32}
    nodes = {"input": {"in_graph": True, "score": float("nan")}, "m0": {"in_graph": True}}
    return {"cfg": {**sizes, **(cfg or {})}, "nodes": nodes, "edges": edges}


WRAPPED = {
    "eap": eap_graph(),
    "acdc": [[[r, ri, s, si], score] for r, ri, s, si, score in HOOKS],
    "acdc with index text": [[[r, text(ri), s, text(si)], score] for r, ri, s, si, score in HOOKS],
    "hook names": [[[s + text(si), r + text(ri)], score] for r, ri, s, si, score in HOOKS],
    "a map of edges": EAP,
    "a list of edges": [{"source": s, "target": t, "channel": c, "score": x} for s, t, c, x in PATH],
    "csv": "source,target,channel,score\r\n" + "".join(f'"{s}","{t}",{c},{x}\r\n' for s, t, c, x in PATH),
    "csv of edges": "edge,score\n" + "".join(f"{name},{score}\n" for name, score in EAP.items()),
}


@pytest.mark.parametrize("wrapping", WRAPPED)
def test_one_circuit_reads_the_same_from_every_notation(wrapping):
    circuit = read(WRAPPED[wrapping])
    assert found(circuit) == set(PATH)
    assert circuit.nodes == ("embed", "L0.z[head=1]", "L0.mlp_out", "L2.z[head=3]", "logits")
    assert circuit.method.startswith("imported ")


@pytest.mark.parametrize("arrow", ["->", " -> ", " → "])
def test_names_of_hook_points_say_who_sends_in_whichever_order_they_stand(arrow):
    edges = [
        arrow.join(random.Random(n).sample([r + text(ri), s + text(si)], 2))
        for n, (r, ri, s, si, _) in enumerate(HOOKS)
    ]
    circuit = read(edges)
    assert found(circuit, scored=False) == {(s, t, c) for s, t, c, _ in PATH}
    assert {edge.score for edge in circuit.edges} == {None}


def test_steps_inside_a_node_are_left_out_and_both_embeddings_are_one_node():
    inner = [
        "blocks.0.hook_q_input[:, :, 1] -> blocks.0.attn.hook_q[:, :, 1]",
        "blocks.0.attn.hook_q[:, :, 1] -> blocks.0.attn.hook_result[:, :, 1]",
        "blocks.0.hook_mlp_in[:] -> blocks.0.hook_mlp_out[:]",
    ]
    both = {"hook_embed[:] -> blocks.1.hook_resid_mid[:]": 1.0, "hook_pos_embed[:] -> blocks.1.hook_resid_mid[:]": 0.5}
    made = import_circuit(json.dumps({**both, **dict.fromkeys(inner, 9.0)}).encode(), GRAPH)
    assert found(made.circuit) == {("embed", "L1.mlp_out", "in", 1.5)}
    assert made.notes[0] == "left out as steps inside a node: 3"
    assert made.notes[1].endswith("position embeddings are one node: 1")


def test_absent_edges_stay_out_and_scores_alone_need_a_size():
    made = import_circuit(json.dumps(eap_graph()).encode(), GRAPH)
    assert made.notes == ("left out as the file marks them absent: 1",)
    with pytest.raises(SpecError, match="scores alone"):
        read(eap_graph(present=False))
    # Of five scored edges the four highest are the path; the fifth, m0 → m1, leads nowhere and is pruned.
    for size in (4, 5):
        assert found(read(eap_graph(present=False), size=size)) == set(PATH)


def test_parallel_blocks_and_blocks_whose_heads_are_normed_together_have_other_edges():
    with pytest.raises(SpecError, match=r"edge 'a0.h1->m0': .* is no edge of this model"):
        read(EAP, PARALLEL)
    with pytest.raises(SpecError, match=r"edge 'input->a0.h1<v>': a0.h1<v>, which is L0.z\[head=1\]") as error:
        read(EAP, SANDWICH)
    assert "L0.attn_out" in error.value.hint
    assert read(["input->m0", "L0.attn_out->logits"], SANDWICH).size == 2


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"\x80\x02}q", "no UTF-8 text"),
        ("[" * 100_000, "nested too deeply"),
        ("{", "line 1"),
        ("[]", "no edges"),
        ("colour,depth\n1,2\n", "neither JSON nor a CSV"),
        ("source,target,channel,score\nm0,m1,in,0.1\nm0,m9,in,0.1\n", "line 3: m9"),
        ("source,target,channel,score\nm0,m1,in,1_x\n", "line 2: the score '1_x'"),
        ("source,target,channel\nm0,m1\n", "line 2 has fewer fields"),
        (["m0->m1", "m1->m0"], r"edges\[1\]: .* is no edge"),
        (["m0->m1", "m0 -> m1"], r"edges\[1\] is the same edge as entry edges\[0\]"),
        (["m0->m1->m2"], r"edges\[0\] is not written as source->target"),
        (["m0-><script>"], r"edges\[0\]: '<script>' names no node"),
        ([7], r"edges\[0\] is no edge"),
        (["m0->a1.h9<q>"], "a1.h9<q>, which is"),
        (["m0->a1.h2"], "needs its channel"),
        ([{"source": "m0", "target": "a1.h2<q>", "channel": "k"}], "the channel is 'k'"),
        ({"m0->m1": {"score": "high"}}, "edge 'm0->m1': the score 'high' is no finite number"),
        ('{"m0->m1": NaN}', "the score nan is no finite number"),
        ('{"m0->m1": 1' + "0" * 400 + "}", "is no finite number"),
        ({"m0->m1": {"score": 1, "in_graph": "yes"}}, "'yes' is neither true nor false"),
        (["blocks.0.hook_mlp_out[:] -> blocks.1.attn.hook_result[:, :, 0]"], "both ends send"),
        (["blocks.0.hook_mlp_out[:] -> blocks.1.hook_q_input[:, 3, 0]"], "at one position"),
        (["blocks.0.hook_mlp_out[:] -> blocks.1.hook_q_input"], "does not say which head"),
        (["blocks.0.hook_mlp_out[:] -> blocks.1.hook_resid_post[:]"], "names no node"),
        (eap_graph(cfg={"n_heads": 12}), "cfg.n_heads is 12, this model's is 4"),
        ({**eap_graph(), "nodes": {"m0": {"in_graph": True, "neurons": [1, 0]}}}, "node m0 has some of its neurons"),
        ({"nodes": ["m0"], "edges": [], "size": 0, "method": "eap"}, "the circuit: 'm0' is not a site"),
        ({"nodes": [], "edges": [{"source": "embed"}], "size": 1, "method": "x"}, r"circuit.edges.0.target"),
    ],
)  # fmt: skip
def test_what_is_no_circuit_of_this_model_is_refused_with_the_entry(value, words):
    with pytest.raises(SpecError, match=words):
        read(value)


def test_c45_a_pickled_circuit_is_refused_and_never_run(tmp_path):
    marker = tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    for protocol in (0, 4):
        with pytest.raises(SpecError):
            read(pickle.dumps(Trap(), protocol))
    assert not marker.exists()


def test_a_file_too_large_is_refused_before_it_is_parsed():
    with pytest.raises(SpecError, match="128 MB"):
        read(b" " * (MOST_BYTES + 1))


@st.composite
def circuits(draw):
    """Any 20 edges over heads, MLPs, the embedding and the logits, with scores of both signs."""
    every = list(GRAPH.edges)
    chosen = draw(st.lists(st.sampled_from(every), min_size=1, max_size=20, unique=True))
    numbers = st.floats(-1e6, 1e6, allow_nan=False).filter(lambda x: x == 0 or abs(x) > 1e-30)
    edges = tuple(Edge(source=s, target=t, channel=c, score=draw(numbers)) for s, t, c in chosen)
    ends = {end for edge in edges for end in (edge.source, edge.target)}
    nodes = [text for text in GRAPH.nodes if text in ends]
    return parse_circuit({"nodes": nodes, "edges": edges, "size": len(edges), "method": "eap", "task": "<b>ioi</b>"})


@settings(max_examples=25, deadline=None)
@given(circuits(), st.randoms(use_true_random=False))
def test_c40_a_circuit_reads_back_as_it_was_in_whatever_order_its_edges_stand(circuit, chance):
    spec = circuit.model_dump(mode="json")
    chance.shuffle(spec["edges"])
    for wrapped in (spec, {"experiment": {}, "circuit": spec}):
        again = read(wrapped)
        assert found(again) == found(circuit)
        assert (set(again.nodes), again.method, again.task) == (set(circuit.nodes), circuit.method, circuit.task)


def test_our_own_circuits_must_fit_the_model_and_may_be_cut():
    edges = [{"source": s, "target": t, "channel": c, "score": x} for s, t, c, x in PATH]
    extra = {"source": "embed", "target": "L1.mlp_out", "channel": "in", "score": 0.01}
    nodes = ["embed", "L0.z[head=1]", "L0.mlp_out", "L2.z[head=3]", "logits", "L1.mlp_out"]
    spec = {"nodes": nodes, "edges": [*edges, extra], "size": 5, "method": "eap"}
    assert found(read(spec, size=4)) == set(PATH)
    loose = {**spec, "nodes": [*nodes, "L7.mlp_out"]}
    with pytest.raises(SpecError, match=r"circuit.nodes.6: L7.mlp_out is no node of this model"):
        read(loose)
    edge = {"source": "embed", "target": "L0.z[head=2]", "channel": "k", "score": 1.0}
    merged = {"nodes": ["embed", "L0.z[head=2]"], "edges": [edge], "size": 1, "method": "eap", "keys": "kv_head"}
    assert read(merged).keys == "kv_head"
