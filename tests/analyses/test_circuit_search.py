"""Circuit search against plain autograd and plain cuts on plain models, and on circuits that are known."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch

from analyses.bench import Bench
from analyses.circuit import Circuit, Graph
from analyses.execute import run_experiment
from analyses.experiment import Experiment
from hooks.errors import InputError, SpecError
from hooks.model import instrument, open_model
from tests.analyses.by_hand import ByHand, build
from tests.analyses.edges_by_hand import PlainEdges
from tests.analyses.pairs import CLEAN, CORRUPT, runner
from tests.analyses.planted import HEADS_OF, planted

ADDING = ("gpt2", "llama", "gpt_neox")
COMPILED = Path(__file__).parents[3] / "shared" / "models" / "tracr-frac-prevs"


@lru_cache
def search_on(variant):
    """`search(params, …)` on the tiny model of a variant; what was searched before is not searched again."""
    run, known = runner(build(variant), "circuit_search"), {}

    def search(params, **given):
        key = json.dumps([params, given])
        if key not in known:
            known[key] = run(params, **given)
        return known[key]

    return search


@lru_cache
def edges_on(variant):
    return PlainEdges(variant)


def graph_of(variant, keys="query_head"):
    return Graph.of(instrument(build(variant), name="tiny"), keys=keys)


def table(result, graph, name="score"):
    """The scores [writer reader], or with a prompt axis before them, of a result that lists its edges."""
    grid = result.grid(name)
    found = np.zeros((*grid.values.shape[:-1], *graph.allowed.shape))
    labels = zip(grid.coords["source"], grid.coords["target"], grid.coords["channel"], strict=True)
    for number, (source, target, channel) in enumerate(labels):
        found[..., graph.node_index[source], graph.reader_index[target, channel]] = grid.values[..., number]
    return found


@pytest.mark.parametrize(
    ("variant", "norms"),
    [("gpt2", "live"), ("gpt2", "frozen"), ("llama", "live"), ("llama", "frozen"), ("gpt_neox", "live")],
)
def test_eap_equals_plain_autograd_at_every_edge_and_prompt(variant, norms):
    graph, plain = graph_of(variant), edges_on(variant)
    params = {"method": "eap", "norms": norms, "per_prompt": True}
    found = table(search_on(variant)(params), graph, "score_by_prompt")
    for prompt, (clean, corrupt) in enumerate(zip(CLEAN, CORRUPT, strict=True)):
        expected = plain.estimated(clean, corrupt, prompt, frozen=norms == "frozen")
        assert np.abs(expected).max() > 0.01
        np.testing.assert_allclose(found[prompt], expected, atol=1e-4 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("includes", ["clean", "corrupt"])
def test_eap_ig_takes_the_mean_slope_between_the_two_inputs(includes):
    graph, plain = graph_of("llama"), edges_on("llama")
    params = {"method": "eap_ig", "steps": 3, "includes": includes, "per_prompt": True}
    found = table(search_on("llama")(params), graph, "score_by_prompt")
    ends = [plain.run(rows[0], 0)[2][:1] for rows in (CORRUPT, CLEAN)]
    shares = [(k + (includes == "clean")) / 3 for k in range(3)]
    expected = plain.estimated(CLEAN[0], CORRUPT[0], 0, [ends[0] + s * (ends[1] - ends[0]) for s in shares])
    np.testing.assert_allclose(found[0], expected, atol=1e-4 * max(1, np.abs(expected).max()))


def test_integrating_activations_moves_each_layers_writes_and_agrees_with_the_inputs_for_the_embedding():
    graph = graph_of("gpt2")
    moved = table(search_on("gpt2")({"method": "eap_ig_activations", "steps": 4}), graph)
    inputs = table(search_on("gpt2")({"method": "eap_ig", "steps": 4}), graph)
    np.testing.assert_allclose(moved[0], inputs[0], atol=1e-5)
    assert np.abs(moved[1:] - inputs[1:]).max() > 1e-3


def test_what_the_embedding_adds_by_integrated_gradients_is_the_whole_difference():
    """Completeness: Σ over the edges out of the embedding is M_clean − M_corrupt, up to the trapezoid rule's error."""
    graph, plain = graph_of("llama"), edges_on("llama")
    ends = [
        table(search_on("llama")({"method": "eap_ig", "steps": 48, "includes": end, "per_prompt": True}), graph,
              "score_by_prompt")[0, 0].sum()
        for end in ("clean", "corrupt")
    ]  # fmt: skip
    gap = float((plain.run(CLEAN[0], 0)[0] - plain.run(CORRUPT[0], 0)[0]).detach())
    assert abs(sum(ends) / 2 - gap) < 0.01 * max(1, abs(gap))


@pytest.mark.parametrize(
    ("variant", "keys", "norms"),
    [("gpt2", "query_head", "live"), ("gpt2", "query_head", "frozen"), ("gpt_neox", "query_head", "live"),
     ("llama", "kv_head", "live"), ("llama", "query_head", "live"), ("llama", "query_head", "frozen")],
)  # fmt: skip
def test_exact_scores_are_those_of_plain_cuts(variant, keys, norms):
    graph, plain = graph_of(variant, keys), edges_on(variant)
    params = {"method": "exact", "keys": keys, "norms": norms, "per_prompt": True}
    found = table(search_on(variant)(params), graph, "score_by_prompt")[0]
    names = [("embed", "L1.z[head=2]", "q"), ("L0.z[head=1]", "L2.z[head=3]", "q"), ("L0.mlp_out", "L1.mlp_out", "in"),
             ("L1.z[head=0]", "logits", "in"), ("L2.mlp_out", "logits", "in")]  # fmt: skip
    if keys == "query_head":
        names += [("L0.z[head=3]", "L1.z[head=1]", "k"), ("embed", "L0.z[head=0]", "v"),
                  ("L0.mlp_out", "L2.z[head=3]", "v")]  # fmt: skip
    for source, target, channel in names:
        writer, reader = graph.node_index[source], graph.reader_index[target, channel]
        reads = plain.readers.index((target, channel))
        expected = plain.cut(CLEAN[0], CORRUPT[0], 0, writer, reads, frozen=norms == "frozen")
        assert found[writer, reader] == pytest.approx(expected, abs=2e-4)


def test_merged_keys_sum_over_the_query_heads_of_a_group():
    apart, merged = graph_of("llama"), graph_of("llama", "kv_head")
    by_head = table(search_on("llama")({"method": "eap"}), apart)
    by_group = table(search_on("llama")({"method": "eap", "keys": "kv_head"}), merged)
    pair = [apart.reader_index[f"L1.z[head={head}]", "v"] for head in (2, 3)]
    both = merged.reader_index["L1.z[head=2]", "v"]
    np.testing.assert_allclose(by_group[:, both], by_head[:, pair].sum(axis=1), atol=1e-5)


def test_heads_that_do_not_add_are_scored_together():
    """Gemma 2: the edges into the logits sum to the first-order change of the metric by the last stream."""
    hand, run = ByHand("gemma2"), search_on("gemma2")
    graph = graph_of("gemma2")
    scores = table(run({"method": "eap", "per_prompt": True}), graph, "score_by_prompt")
    assert graph.writers[1] == "L0.attn_out"
    streams = [hand.run(rows[0], reads=[("resid_post", 2)])[1]["resid_post", 2] for rows in (CLEAN, CORRUPT)]
    point = streams[0].clone().requires_grad_()
    raw = hand.model.lm_head(hand.model.model.norm(point))[0, -1]
    capped = 30.0 * torch.tanh(raw / 30.0)
    (slope,) = torch.autograd.grad(capped[11] - capped[42], point)
    assert scores[0, :, -1].sum() == pytest.approx(float(((streams[0] - streams[1]) * slope).sum()), rel=1e-3, abs=1e-4)


# -- cases of circuit discovery


@pytest.mark.parametrize("method", ["eap", "eap_ig", "exact"])
def test_c41_identical_prompts_score_nothing_even_in_training_mode(method):
    plain = build("gpt2").train()
    result = runner(plain, "circuit_search")({"method": method}, corrupt=CLEAN)
    assert np.abs(result.grid("score").values).max() <= 1e-7
    assert plain.training


def test_c41_the_writes_into_the_last_stream_sum_to_the_first_order_change_and_signs_agree_with_cuts():
    graph, plain = graph_of("gpt2"), edges_on("gpt2")
    estimated = table(search_on("gpt2")({"method": "eap", "per_prompt": True}), graph, "score_by_prompt")[0]
    exact = table(search_on("gpt2")({"method": "exact", "per_prompt": True}), graph, "score_by_prompt")[0]
    value, eps, _ = plain.run(CLEAN[0], 0)
    (slope,) = torch.autograd.grad(value, [eps["logits", "in"]])
    last = sum(plain.change(CLEAN[0], CORRUPT[0], 0))
    assert estimated[:, -1].sum() == pytest.approx(float((last * slope[0]).sum()), rel=1e-4)
    top = np.argwhere(graph.top(exact, 5))
    assert [np.sign(estimated[tuple(at)]) for at in top] == [np.sign(exact[tuple(at)]) for at in top]


def test_c42_pairs_of_different_length_are_refused_with_both_counts():
    with pytest.raises(InputError, match=r"6 tokens.*5"):
        search_on("gpt2")({"method": "eap"}, corrupt=[CORRUPT[0][:5], CORRUPT[1]])


@pytest.mark.parametrize("method", ["eap", "eap_ig", "exact"])
def test_c43_a_batch_of_unequal_prompts_scores_each_as_if_alone(method):
    rows = [[*CLEAN[0], 7, 19], CLEAN[1]], [[*CORRUPT[0], 7, 19], CORRUPT[1]]
    both = search_on("gpt_neox")({"method": method, "per_prompt": True}, clean=rows[0], corrupt=rows[1])
    alone = search_on("gpt_neox")({"method": method, "per_prompt": True}, clean=rows[0][:1], corrupt=rows[1][:1])
    found = both.grid("score_by_prompt").values
    np.testing.assert_allclose(found[0], alone.grid("score_by_prompt").values[0], atol=1e-5)
    if method == "exact":
        return
    tight = search_on("gpt_neox")({"method": method, "per_prompt": True}, clean=rows[0], corrupt=rows[1],
                                  budget_bytes=1)  # fmt: skip
    np.testing.assert_allclose(tight.grid("score_by_prompt").values, found, atol=1e-5)


# -- other forms


def test_node_scores_are_attribution_patching_and_exact_ones_patch_the_node():
    nodes = {method: search_on("gpt2")({"method": method, "level": "node"}) for method in ("eap", "exact")}
    edges = table(search_on("gpt2")({"method": "eap"}), graph_of("gpt2"))
    labels = nodes["eap"].grid("score").coords["node"]
    last = labels.index("L2.mlp_out")
    assert nodes["eap"].grid("score").values[last] == pytest.approx(edges[last].sum(), abs=1e-4)
    circuit = Circuit.model_validate(nodes["exact"].circuit)
    assert {"embed", "logits"} <= set(circuit.nodes) and len(circuit.nodes) <= 7
    hand = ByHand("gpt2")
    there = hand.run(CORRUPT[0], reads=[("z", 1)])[1]["z", 1]

    def head_two(z):
        z[..., 2, :] = there[..., 2, :]
        return z

    before, after = hand.run(CLEAN[0])[0], hand.run(CLEAN[0], [("z", 1, head_two)])[0]
    one = search_on("gpt2")({"method": "exact", "level": "node", "per_prompt": True})
    lost = float((before[11] - before[42]) - (after[11] - after[42]))
    assert one.grid("score_by_prompt").values[0, labels.index("L1.z[head=2]")] == pytest.approx(lost, abs=1e-4)


def test_a_divergence_is_integrated_or_refused_and_counts_as_less_is_better():
    with pytest.raises(SpecError, match="no slope in the clean run"):
        search_on("gpt2")({"method": "eap", "metric": "kl"})
    exact = search_on("gpt2")({"method": "exact", "metric": "kl"}).grid("score").values
    assert exact.min() > -1e-6 and exact.max() > 1e-3
    assert np.abs(search_on("gpt2")({"method": "eap_ig", "metric": "kl"}).grid("score").values).max() > 1e-3


def test_scores_of_a_large_graph_are_a_table_of_writers_and_readers(monkeypatch):
    graph, listed = graph_of("gpt2"), search_on("gpt2")({"method": "eap"})
    monkeypatch.setattr("analyses.catalogue.circuit_search.LISTED", 10)
    result = runner(build("gpt2"), "circuit_search")({"method": "eap"}, budget_bytes=1)
    grid = result.grid("score")
    assert grid.coords["reader"][-1] == "logits in" and (grid.valid == graph.allowed).all()
    np.testing.assert_allclose(grid.values, table(listed, graph), atol=1e-5)
    assert [edge["source"] for edge in result.circuit["edges"]] == [edge["source"] for edge in listed.circuit["edges"]]


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"method": "eap_ig", "ablation": "zero"}, "counterfactual"),
        ({"method": "acdc", "level": "node"}, "cuts edges"),
    ],
)
def test_what_cannot_be_searched_says_why(params, why):
    with pytest.raises(SpecError, match=why):
        search_on("llama")(params)


# -- known circuits


@pytest.mark.parametrize("variant", ADDING)
@pytest.mark.parametrize("method", ["exact", "acdc", "eap", "eap_ig"])
def test_planted_circuits_are_found(variant, method):
    """Three edges carry the answer: embedding → a head's values → a later head's values → the logits."""
    plain = planted(variant)
    first, second = HEADS_OF[variant]
    true = {("embed", first, "v"), (first, second, "v"), (second, "logits", "in")}
    cutting = {"tau": 0.05, "metric": "kl"} if method == "acdc" else {}
    result = runner(plain, "circuit_search")({"method": method, "size": 3, **cutting})
    assert {edge.key for edge in Circuit.model_validate(result.circuit).edges} == true
    assert auroc(result, true) == 1.0


@pytest.mark.parametrize(
    ("variant", "keys", "norms", "level", "near"),
    [
        ("gpt2", "query_head", "live", "edge", 2e-3),
        ("llama", "query_head", "frozen", "node", 1e-4),
        ("llama", "kv_head", "live", "edge", 2e-3),
        ("llama", "query_head", "frozen", "edge", 1e-4),
    ],
)
def test_eap_is_exact_where_the_model_is_linear_between_the_edges(variant, keys, norms, level, near):
    """Heads that attend evenly; norms whose scale is held, or nearly so, by a large constant."""
    run = runner(planted(variant, constant=400.0 if norms == "live" else 40.0), "circuit_search")
    params = {"keys": keys, "level": level, "norms": norms}
    estimated, exact = (run({"method": method, **params}).grid("score").values for method in ("eap", "exact"))
    assert np.abs(exact).max() > 0.5
    np.testing.assert_allclose(estimated, exact, atol=near * np.abs(exact).max())


def test_acdc_tries_several_cuts_at_a_time_and_decides_as_one_at_a_time(monkeypatch):
    run = runner(planted("gpt_neox"), "circuit_search")
    several = run({"method": "acdc", "tau": 0.05, "metric": "kl"}, clean=CLEAN[:1], corrupt=CORRUPT[:1])
    monkeypatch.setattr("analyses.circuit_exact.TOGETHER", 1)
    alone = run({"method": "acdc", "tau": 0.05, "metric": "kl"}, clean=CLEAN[:1], corrupt=CORRUPT[:1])
    assert alone.circuit["size"] == 3
    np.testing.assert_allclose(several.grid("score").values, alone.grid("score").values, atol=1e-6)
    assert [(e["source"], e["target"]) for e in several.circuit["edges"]] == [
        (e["source"], e["target"]) for e in alone.circuit["edges"]
    ]


@pytest.mark.skipif(not COMPILED.exists(), reason="the compiled model is not here")
@pytest.mark.parametrize("norms", ["frozen", "live"])
@pytest.mark.parametrize(
    ("method", "metric"), [("exact", "squared_error"), ("acdc", "squared_error"), ("eap", "value")]
)
def test_the_edges_of_a_compiled_model_rank_above_all_that_carry_nothing(method, metric, norms):
    """Zero ablation. With live norms the embedding's edge to the logits counts: it holds the scale of their norm."""
    true = {("embed", "L0.mlp_out", "in"), ("embed", "L1.z[head=0]", "q"), ("embed", "L1.z[head=0]", "k"),
            ("L0.mlp_out", "L1.z[head=0]", "v"), ("L1.z[head=0]", "logits", "in")}  # fmt: skip
    rows = ["x y x z", "w x x y", "z z x w", "x x y y"]
    shares = [[None, *np.cumsum([t == "x" for t in row.split()]) / np.arange(1, 5)] for row in rows]
    inputs = {"clean": {"prompts": rows, "labels": shares}, "corrupt": {"prompts": rows[::-1]}}
    params = {"method": method, "metric": metric, "ablation": "zero", "norms": norms, "tau": 1e-4}
    spec = {"model": "compiled", "inputs": inputs, "analysis": "circuit_search", "params": params}
    experiment = Experiment.model_validate(spec)
    result = run_experiment(experiment, Bench(compiled(), experiment))
    true |= {("embed", "logits", "in")} if norms == "live" else set()
    assert auroc(result, true) == 1.0
    if method == "acdc":
        assert {edge.key for edge in Circuit.model_validate(result.circuit).edges} == true


@lru_cache
def compiled():
    return open_model(COMPILED)


def auroc(result, true):
    """The share of pairs of a true and another edge in which the true one has the larger absolute score."""
    grid = result.grid("score")
    labels = zip(grid.coords["source"], grid.coords["target"], grid.coords["channel"], strict=True)
    is_true = np.array([edge in true for edge in labels])
    size = np.abs(grid.values)
    pairs = size[is_true][:, None] - size[~is_true]
    return float(((pairs > 0) + 0.5 * (pairs == 0)).mean())
