"""What an evaluation tells of a circuit's heads: the numbers of the analyses that are made for each of them."""

from __future__ import annotations

import numpy as np
import pytest

from analyses.analysis import normalised
from analyses.circuit import Graph
from analyses.circuit_heads import strongest_heads
from hooks.model import instrument
from tests.analyses.by_hand import ByHand
from tests.analyses.pairs import CORRUPT, runner
from tests.analyses.test_head_roles import PROMPTS

HEADS = 4


@pytest.fixture(scope="module")
def plain():
    return ByHand("llama").model


@pytest.fixture(scope="module")
def circuit(plain):
    graph = Graph.of(instrument(plain, name="tiny"))
    scores = np.random.default_rng(1).standard_normal(graph.allowed.shape)
    return graph.circuit(graph.prune(graph.top(scores, 60)), "drawn", scores)


@pytest.fixture(scope="module")
def told(plain, circuit):
    params = {"circuit": circuit.model_dump(mode="json"), "controls": 0, "sizes": [1.0], "heads": HEADS}
    return runner(plain, "circuit_evaluation")(params, clean=PROMPTS, corrupt=CORRUPT)


def test_the_strongest_heads_are_those_whose_edges_have_the_largest_scores_together(circuit):
    weight = {}
    for edge in circuit.edges:
        for end in {edge.source, edge.target}:
            weight[end] = weight.get(end, 0.0) + abs(edge.score)
    heads = sorted((node for node in weight if ".z[" in node), key=lambda node: -weight[node])[:HEADS]
    found = strongest_heads(circuit, HEADS)
    assert list(found) == heads
    assert list(found.values()) == pytest.approx([weight[node] for node in heads])


def test_each_head_has_the_numbers_of_the_analyses_made_for_it(plain, told):
    nodes = told.grid("head_strength").coords["node"]
    places = [(int(node[1]), int(node[-2])) for node in nodes]
    roles = runner(plain, "head_roles")({}, clean=PROMPTS, corrupt=CORRUPT)
    direct = runner(plain, "direct_logit_attribution")({"by": "head"}, clean=PROMPTS)
    patterns = runner(plain, "attention_patterns")({}, clean=PROMPTS[:1])
    scores = told.grid("head_role_score")
    for n, (layer, head) in enumerate(places):
        for m, role in enumerate(scores.coords["role"]):
            grid = roles.grid(role.lower().replace(" ", "_").replace("-", "_"))
            if grid.valid is None or grid.valid[layer, head]:
                assert scores.values[n, m] == pytest.approx(grid.values[layer, head], rel=1e-4, abs=1e-4)
        at = {"layer": layer, "head": head}
        effect = direct.grid("effect").select(**at).values
        assert told.grid("head_direct_effect").values[n] == pytest.approx(float(effect), rel=1e-4, abs=1e-4)
        weights = patterns.grid("pattern").select(**at).values
        assert told.grid("head_attention").values[n] == pytest.approx(weights, rel=1e-4, abs=1e-4)
    writes = runner(plain, "head_writes")({"head": nodes[0], "top_k": 8}, clean=PROMPTS)
    assert told.grid("head_promotes").values[0] == pytest.approx(writes.grid("promoted").values[0], rel=1e-4, abs=1e-4)


def test_an_evaluation_that_asks_for_no_heads_keeps_its_id(told):
    asked = {name: value for name, value in told.experiment.params.items() if name != "heads"}
    plainly, none = (normalised(told.experiment.model_copy(update={"params": params}))
                     for params in (asked, {**asked, "heads": 0}))  # fmt: skip
    assert plainly.id == none.id != told.id
    assert "heads" not in plainly.params
