"""A circuit on other draws of its task: each draw is judged as by itself, wordings are taken out of all draws."""

from __future__ import annotations

import numpy as np
import pytest

from analyses.bench import Bench
from analyses.datasets import task_named
from analyses.execute import run_experiment
from analyses.experiment import Experiment
from hooks.errors import SpecError
from hooks.model import open_model

SEEDS, N = (3, 4), 4


@pytest.fixture(scope="module")
def model(toy):
    return open_model(toy, device="cpu")


@pytest.fixture(scope="module")
def run(model):
    def go(analysis, params, seed=None):
        made = {} if seed is None else task_named("ioi").make(model.tokenizer, N, seed).inputs
        inputs = {name: one.model_dump(mode="json") for name, one in made.items()}
        spec = {"model": "toy", "inputs": inputs, "analysis": analysis, "params": params}
        experiment = Experiment.model_validate(spec)
        return run_experiment(experiment, Bench(model, experiment))

    return go


def test_draws_wordings_and_searches_are_those_of_single_analyses(run):
    found = {seed: run("circuit_search", {"method": "eap", "size": 30}, seed).circuit for seed in SEEDS}
    circuit = found[SEEDS[0]]
    params = {"circuit": circuit, "task": "ioi", "n": N, "seeds": SEEDS, "search": "eap"}
    result = run("circuit_stability", params)
    asked = {"circuit": circuit, "controls": 0, "sizes": [1.0], "per_prompt": True}
    judged = {seed: run("circuit_evaluation", asked, seed) for seed in SEEDS}
    expected = [float(one.grid("faithfulness_circuit").values) for one in judged.values()]
    assert result.grid("faithfulness_by_draw").values == pytest.approx(expected, rel=1e-4, abs=1e-4)
    spread = abs(np.subtract(*expected)) / 2**0.5
    assert float(result.grid("faithfulness_spread").values) == pytest.approx(spread, rel=1e-4, abs=1e-4)
    names = ("metric_circuit", "metric_model", "metric_ablated")
    c, m, a = (np.concatenate([one.grid(f"{name}_by_prompt").values for one in judged.values()]) for name in names)
    assert float(result.grid("faithfulness").values) == pytest.approx(
        (c - a).mean() / (m - a).mean(), rel=1e-4, abs=1e-4
    )
    templates = [name for one in judged.values() for name in one.experiment.inputs["clean"].templates]
    grid = result.grid("faithfulness_by_template")
    for n, name in enumerate(grid.coords["template"]):
        at = np.array([label == name for label in templates])
        assert grid.coords["prompts"][n] == at.sum()
        assert grid.values[n] == pytest.approx((c - a)[at].mean() / (m - a)[at].mean(), rel=1e-4, abs=1e-4)
    again = {seed: run("circuit_search", {"method": "eap", "size": circuit["size"]}, seed).circuit for seed in SEEDS}
    sets = [{(e["source"], e["target"], e["channel"]) for e in one["edges"]} for one in (circuit, *again.values())]
    overlap = [len(sets[0] & one) / len(sets[0] | one) for one in sets[1:]]
    assert result.grid("jaccard_circuit").values == pytest.approx(overlap)
    between = len(sets[1] & sets[2]) / len(sets[1] | sets[2])
    assert float(result.grid("jaccard_mean").values) == pytest.approx(between)
    assert result.grid("jaccard").values == pytest.approx(np.array([[1, between], [between, 1]]))


def test_a_seed_named_twice_is_refused(run):
    circuit = {"nodes": ["embed", "logits"], "size": 1, "method": "by hand",
               "edges": [{"source": "embed", "target": "logits", "channel": "in"}]}  # fmt: skip
    with pytest.raises(SpecError, match="named twice"):
        run("circuit_stability", {"circuit": circuit, "task": "ioi", "seeds": [1, 1]})
