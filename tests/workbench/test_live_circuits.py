"""Single circuits through the engine: the numbers of an evaluation, what is held ready, what a newer edit replaces."""

from __future__ import annotations

import numpy as np
import pytest

from analyses.circuit import Graph
from analyses.circuit_mask import packed, unpacked
from analyses.experiment import Experiment
from hooks.errors import SpecError
from hooks.prompts import PromptSet
from hooks.reference import ModelRef
from workbench import live_circuits
from workbench.api import open_model
from workbench.engines.circuits import OpenCircuits
from workbench.engines.execute import Desk, execute
from workbench.parts.job_pulse import latest, pulse
from workbench.requests import CircuitRequest, ExperimentRequest
from workbench.workspace import Workspace

CLEAN = PromptSet(
    prompts=("When Mary and John went to", "When John and Mary went to"), answers=(" the", " the"), foils=(" a", " a")
)
INPUTS = {"clean": CLEAN, "corrupt": PromptSet(prompts=("When John and John went to", "When Mary and Mary went to"))}


def quiet(progress: object) -> None:
    """Whoever runs a request here asks for no progress."""


@pytest.fixture(scope="module")
def graph(tiny_folder):
    return Graph.of(open_model(str(tiny_folder)))


def request_of(folder, kept, **more):
    return CircuitRequest(model=ModelRef(name=str(folder)), inputs=INPUTS, kept=packed(kept), **more)


def test_pages_do_not_hear_of_what_only_the_editor_waits_for(opened, tiny_folder, graph):
    before = pulse(latest(opened))
    request = request_of(tiny_folder, random_mask(graph, 77))
    live_circuits.run(opened, request)
    assert opened.job(request.id).state == "done"
    assert pulse(latest(opened)) == before


def random_mask(graph, seed, share=0.4):
    return graph.prune(graph.allowed & (np.random.default_rng(seed).random(graph.allowed.shape) < share))


@pytest.mark.parametrize("ablation", ["counterfactual", "zero", "mean"])
def test_a_live_circuit_has_the_numbers_of_its_evaluation(opened, tiny_folder, graph, ablation):
    kept = random_mask(graph, 0)
    found = live_circuits.run(opened, request_of(tiny_folder, kept, ablation=ablation))
    params = {"circuit": graph.circuit(kept, "by hand").model_dump(mode="json"), "ablation": ablation,
              "controls": 0, "per_prompt": True}  # fmt: skip
    model = ModelRef(name=str(tiny_folder))
    asked = Experiment(model=model, inputs=INPUTS, analysis="circuit_evaluation", params=params)
    job = opened.wait(opened.submit(ExperimentRequest(experiment=asked)).id)
    judged = opened.result(job.id)
    for name, values in (("circuit", found.circuit), ("model", found.full), ("ablated", found.empty)):
        assert values == pytest.approx(judged.grid(f"metric_{name}_by_prompt").values, rel=1e-4, abs=1e-4)
    faithfulness = found.faithfulness
    for end, value in (("", faithfulness.value), ("_low", faithfulness.low), ("_high", faithfulness.high)):
        grid = judged.grid(f"faithfulness_circuit{end}")
        assert float(value) == pytest.approx(float(grid.values), rel=1e-4, abs=1e-4)


def test_edges_that_lead_nowhere_change_nothing(opened, tiny_folder, graph):
    kept = random_mask(graph, 1)
    loose = kept.copy()
    # Nobody hears head 0 of layer 1 any more, whatever it hears itself.
    kept[graph.node_index["L1.z[head=0]"]] = loose[graph.node_index["L1.z[head=0]"]] = False
    loose[0, graph.reader_index["L1.z[head=0]", "q"]] ^= True
    one, other = (live_circuits.run(opened, request_of(tiny_folder, mask)) for mask in (kept, loose))
    assert one.circuit == pytest.approx(other.circuit, rel=1e-6)


def test_after_an_edit_only_what_hears_of_it_runs(settings, tiny_folder, graph):
    desk = Desk.of(settings)
    kept = random_mask(graph, 2, share=0.9)
    execute(request_of(tiny_folder, kept), desk, quiet)
    (held,) = desk.circuits._open.values()
    ran = []
    for layer in held.runs.bench.model.weights.module("model.layers"):
        layer.mlp.down_proj.register_forward_hook(lambda *_: ran.append("MLP"))
    after = kept.copy()
    after[0, graph.reader_index["logits", "in"]] ^= True
    execute(request_of(tiny_folder, after), desk, quiet)
    assert not ran
    assert len(desk.circuits) == 1


def test_what_is_held_ready_is_bounded_and_goes_with_its_model(settings, tiny_folder, graph):
    desk = Desk.of(settings)
    for metric in ("logit_diff", "logprob", "prob"):
        execute(request_of(tiny_folder, graph.allowed, metric=metric), desk, quiet)
    assert len(desk.circuits) == 2
    desk.circuits.forget_others(())
    assert len(desk.circuits) == 0


def test_a_newer_edit_of_a_session_takes_the_place_of_one_that_waits(settings, tiny_folder, graph):
    workspace = Workspace.open(settings, engine="inline")
    workspace._engine.wake = lambda: None  # nothing is served: all that is asked for waits
    try:
        first, second, third = (request_of(tiny_folder, random_mask(graph, seed)) for seed in range(3))
        live_circuits.ask(workspace, first, "one")
        live_circuits.ask(workspace, second, "other")
        live_circuits.ask(workspace, third, "one")
        states = [workspace.job(request.id).state for request in (first, second, third)]
        assert states == ["cancelled", "queued", "queued"]
        assert live_circuits.ask(workspace, first, "one").state == "queued"
    finally:
        workspace.close()


def test_a_circuit_that_was_run_is_not_run_again(opened, tiny_folder, graph):
    request = request_of(tiny_folder, random_mask(graph, 5))
    live_circuits.run(opened, request)
    job = live_circuits.ask(opened, request, "later")
    assert (job.state, job.from_cache) == ("done", True)


def test_a_mask_survives_its_text_and_no_other_shape_takes_it(graph):
    kept = random_mask(graph, 7)
    assert (unpacked(packed(kept), kept.shape) == kept).all()
    for text in (packed(kept[:-1]), packed(np.ones((900, 900), bool)), "no base64", ""):
        with pytest.raises(SpecError):
            unpacked(text, kept.shape)


def test_nothing_is_held_before_the_first_circuit():
    assert len(OpenCircuits()) == 0
