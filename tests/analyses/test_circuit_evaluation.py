"""Judging circuits: areas of known curves, completeness and minimality of a case made by hand, the analysis itself."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from analyses.circuit import Graph
from analyses.circuit_ranking import laid_out, stability
from analyses.circuit_subsets import greedy_set, minimality, random_sets, removable, taken_out, without
from analyses.faithfulness import SHARES, area, cmd, cpr, jaccard, mean_jaccard
from hooks.errors import SpecError
from tests.analyses.by_hand import build
from tests.analyses.pairs import runner
from tests.analyses.test_circuit_run import opened, random_masks, runs

K = np.array(SHARES)
A, B, C = "L0.z[head=0]", "L1.z[head=1]", "L1.z[head=2]"


def test_the_areas_of_known_curves():
    assert cpr(K, SHARES) == pytest.approx((1 - 1e-6) / 2, abs=1e-9)
    assert cmd(K, SHARES) == pytest.approx((1 - 0.001) - (1 - 1e-6) / 2, abs=1e-9)
    ones = np.ones_like(K)
    assert cpr(ones, SHARES) == pytest.approx(0.999, abs=1e-9)
    assert cmd(ones, SHARES) == pytest.approx(0.0, abs=1e-9)
    assert cmd(1 + K, SHARES) == cmd(1 - K, SHARES) == pytest.approx((1 - 1e-6) / 2, abs=1e-9)


def test_an_area_is_of_the_ratio_of_means_with_an_interval_over_prompts():
    full, empty = np.array([2.0, 4.0, 3.0]), np.array([0.0, 1.0, 1.0])
    run = empty[:, None] + (full - empty)[:, None] * K
    found = area(cpr, run, full, empty, SHARES)
    assert found.value == pytest.approx((1 - 1e-6) / 2, abs=1e-9)
    assert found.low == pytest.approx(found.high, abs=1e-9)
    assert area(cmd, run[:1], full[:1], empty[:1], SHARES).low is None


def test_an_area_is_undefined_where_faithfulness_is():
    full, run = np.array([1.0, 2.0]), np.zeros((2, len(K)))
    alike = area(cpr, run, full, full, SHARES)
    assert np.isnan(alike.value)
    assert "differ by less" in alike.reason
    run[0, 3] = np.nan
    assert "not been measured" in area(cpr, run, full, np.zeros(2), SHARES).reason


def test_overlap_is_intersection_over_union():
    sets = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 0]], dtype=bool)
    assert jaccard(sets[0], sets[1]) == pytest.approx(1 / 3)
    assert mean_jaccard(sets) == pytest.approx((1 / 3 + 1 + 1 / 3) / 3)
    assert np.isnan(jaccard(sets[0] & False, sets[1] & False))


def test_a_ranking_is_stable_where_prompts_agree_and_not_where_they_do_not():
    agree = np.tile(np.arange(20.0), (5, 1))
    assert stability(agree, (3, 10), absolute=True) == pytest.approx([1.0, 1.0])
    apart = np.kron(np.eye(5), np.ones(4))
    assert stability(apart, (4,), absolute=False)[0] < 0.6
    assert np.isnan(stability(agree[:1], (3,), absolute=True)).all()


def test_scores_are_laid_out_in_the_order_of_the_edges():
    graph = Graph.of(opened("llama")[1])
    rank = laid_out(graph, np.arange(float(graph.n_edges)))
    source, *reader = list(graph.edges)[37]
    assert rank[graph.node_index[source], graph.reader_index[tuple(reader)]] == 37.0
    assert np.isinf(rank[~graph.allowed]).all()


class Made:
    """Runs by rule: F = 4 with head A, and 2 more with either of B and C, which back each other up."""

    def __init__(self) -> None:
        self.graph = Graph.of(opened("gpt2")[1])
        self.batch = (0, 1)

    def values(self, kept, *, told=None):
        there = [set(removable(self.graph, mask)) for mask in kept]
        return np.array([[4.0 * (A in nodes) + 2.0 * bool({B, C} & nodes)] * 2 for nodes in there])

    def circuit(self, *nodes):
        return self.graph.prune(self.graph.between(("embed", "logits", *nodes)))


def test_completeness_finds_the_backup_that_a_circuit_lacks():
    made = Made()
    kept = made.circuit(A, B)
    found = taken_out(made, kept, {"A": (A,), "B": (B,), "both": (A, B)})
    assert (found.circuit - found.model).mean(axis=1) == pytest.approx([0.0, -2.0, -2.0])
    assert B in greedy_set(made, kept, np.random.default_rng(0))
    assert taken_out(made, made.circuit(A, B, C), {"B": (B,)}).circuit[0] == pytest.approx([6.0, 6.0])


def test_minimality_of_a_backup_shows_only_without_what_it_backs_up():
    made = Made()
    kept = made.circuit(A, B, C)
    nodes, alone = minimality(made, kept)
    assert dict(zip(nodes, alone[:, 0], strict=True)) == {A: -4.0, B: 0.0, C: 0.0}
    nodes, classed = minimality(made, kept, [(B, C)])
    assert dict(zip(nodes, classed[:, 0], strict=True)) == {A: -4.0, B: -2.0, C: -2.0}


def test_a_node_taken_out_has_no_edge_and_sets_are_drawn_alike_from_a_seed():
    made = Made()
    kept = made.circuit(A, B, C)
    assert removable(made.graph, without(made.graph, kept, {B})) == (A, C)
    drawn = [random_sets((A, B, C), 3, np.random.default_rng(5)) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 3


@lru_cache(maxsize=1)
def evaluate():
    return runner(build("llama"), "circuit_evaluation")


def described(mask, scores=None):
    return Graph.of(opened("llama")[1]).circuit(mask, "by hand", scores).model_dump(mode="json")


def test_a_circuit_of_all_edges_is_the_model():
    graph = Graph.of(opened("llama")[1])
    result = evaluate()({"circuit": described(graph.allowed), "controls": 0})
    assert result.grid("faithfulness_circuit").values == pytest.approx(1.0)
    assert result.grid("distance").values == pytest.approx(0.0, abs=1e-6)
    assert "faithfulness" not in result.grids


def test_the_curve_keeps_the_best_edges_of_each_ranking():
    graph = Graph.of(opened("llama")[1])
    scores = np.where(graph.allowed, np.random.default_rng(3).standard_normal(graph.allowed.shape), 0.0)
    params = {"circuit": described(graph.allowed, scores), "sizes": [0.3, 0.7, 1.0], "controls": 3, "per_prompt": True}
    result, found = evaluate()(params), runs("llama")
    for name, order in (("faithfulness", "absolute"), ("faithfulness_signed", "signed")):
        tops = [graph.prune(graph.top(scores, round(k * graph.n_edges), by=order)) for k in (0.3, 0.7)]
        run = found.values(np.stack(tops)).mean(axis=1)
        expected = [*((run - found.empty.mean()) / (found.full - found.empty).mean()), 1.0]
        assert result.grid(name).values == pytest.approx(expected, abs=1e-4)
        assert result.grid(f"{name}_by_prompt").values.shape == (2, 3)
    curve = result.grid("faithfulness").values
    assert result.grid("cmd").values == pytest.approx(np.trapezoid(np.abs(1 - curve), [0.3, 0.7, 1.0]), abs=1e-4)
    assert (result.grid("random_low").values <= result.grid("random_high").values).all()
    assert result.grid("random").values[-1] == pytest.approx(1.0)


def test_sizes_beyond_the_scored_edges_are_masked_with_the_areas():
    graph = Graph.of(opened("llama")[1])
    mask = random_masks(graph, 0.4)[0]
    result = evaluate()({"circuit": described(mask, mask * 0.5), "sizes": [0.1, 0.5, 1.0], "controls": 0})
    assert result.grid("faithfulness").valid.tolist() == [True, False, True]
    assert not result.grid("cpr").valid.any()
    assert "not been measured" in result.grid("cpr").about


def test_scores_of_all_edges_can_be_found_again_with_their_stability():
    graph = Graph.of(opened("llama")[1])
    circuit = described(graph.prune(random_masks(graph, 0.5)[0]))
    params = {"circuit": circuit, "scores": "eap", "sizes": [0.2, 1.0], "controls": 0, "ablation": "mean"}
    result = evaluate()(params)
    assert result.grid("faithfulness").valid is None
    assert 0 < result.grid("stability").values[0] <= 1 == result.grid("stability").values[1]


def test_completeness_and_minimality_are_measured_on_the_model():
    graph, found = Graph.of(opened("llama")[1]), runs("llama")
    mask = graph.prune(graph.between(("embed", "logits", A, B, C, "L2.mlp_out")))
    params = {"circuit": described(mask), "controls": 0, "minimality": True, "classes": {"mates": [B, C]},
              "completeness": ["random", "classes", "greedy"], "subsets": 2}  # fmt: skip
    result = evaluate()(params)
    complete = result.grid("completeness")
    circuit, model = found.values(np.stack([without(graph, whole, {B, C}) for whole in (mask, graph.allowed)]))
    assert complete.select(subset="mates").values == pytest.approx(abs((circuit - model).mean()), abs=1e-5)
    assert set(complete.coords["subset"]) == {"random 1", "random 2", "mates", "greedy"}
    least = found.values(np.stack([mask, without(graph, mask, {A})])).mean(axis=1)
    assert result.grid("minimality").select(node=A).values == pytest.approx(abs(least[1] - least[0]), abs=1e-5)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"sizes": [0.5, 0.1]}, "larger than the one before"),
        ({"completeness": ["classes"]}, "needs"),
        ({"classes": {"x": ["L2.z[head=3]"]}}, "not among"),
    ],
)
def test_what_cannot_be_judged_is_refused(wrong, says):
    graph = Graph.of(opened("llama")[1])
    circuit = described(graph.between(("embed", "logits", A)))
    with pytest.raises(SpecError, match=says):
        evaluate()({"circuit": circuit, **wrong})
