"""Every kind of edit as a user asks for it: through an experiment, in a sentence, with named vectors."""

from __future__ import annotations

import pytest
import torch

from analyses.analysis import normalised, sentence
from analyses.bench import Bench
from analyses.execute import run_experiment
from analyses.experiment import Experiment
from analyses.vectors import vector_at
from hooks.errors import InputError
from hooks.interventions import KINDS, parse_intervention
from hooks.plan import CapturePlan
from hooks.sites import Site
from tests.analyses.conftest import PROMPTS
from tests.hooks.test_tokens import BARE

VECTORS = {
    "mary": {"of": "clean", "minus": "corrupt"},
    "name": {"token": " Mary", "minus": " John"},
    "ones": [1.0] * 32,
}
CASES = [
    ({"kind": "zero", "at": "L1.z[head=2]"}, "Zero head 1.2"),
    ({"kind": "mean", "at": "L1.z", "over": "positions"}, "Mean-ablate all heads of layer 1"),
    (
        {"kind": "mean", "at": "L1.mlp_out", "over": "positions", "reference": "corrupt"},
        "Mean-ablate MLP 1 over ‘corrupt’",
    ),
    ({"kind": "patch", "at": "L1.z[head=0,pos=last]"}, "Patch head 1.0 at the last position from ‘corrupt’"),
    ({"kind": "freeze", "at": "L2.attn_out"}, "Freeze attention 2"),
    (
        {"kind": "resample", "at": "L1.z[head=1]", "reference": "corrupt"},
        "Resample head 1.1 from other prompts of ‘corrupt’",
    ),
    (
        {"kind": "noise", "at": "embed[pos=subject]"},
        "Add Gaussian noise of standard deviation 3 × that of the embeddings to the token embeddings at ‘subject’",
    ),
    (
        {"kind": "noise", "at": "L1.resid_post[pos=0:2]", "sd": 0.5},
        "Add Gaussian noise of standard deviation 0.5 to the residual stream leaving layer 1 at positions 0–1",
    ),
    (
        {"kind": "add", "at": "L1.resid_pre[pos=last]", "vector": "mary", "coefficient": 4},
        "Add 4 × vector ‘mary’ to the residual stream entering layer 1 at the last position",
    ),
    (
        {"kind": "project_out", "at": "L2.resid_post", "vector": "name"},
        "Project vector ‘name’ out of the residual stream leaving layer 2",
    ),
    ({"kind": "scale", "at": "L1.mlp_out", "factor": 0.5}, "Multiply MLP 1 by 0.5"),
    (
        {"kind": "via", "at": "L2.q[head=1]", "writers": ["L1.z[head=0]", "embed"]},
        "Hand queries of head 2.1 what L1.z[head=0], embed wrote on ‘corrupt’",
    ),
    ({"kind": "set", "at": "L1.mlp_post[unit=7]", "value": 6}, "Set neuron 1.7 to 6"),
    (
        {"kind": "set", "at": "L1.attn_out", "vector": [0.5] * 32},
        "Set attention 1 to a vector of 32 numbers",
    ),
    (
        {"kind": "mask_edge", "at": "L1.pattern[head=2,q_pos=last,k_pos=1]"},
        "Cut the attention of head 1.2 from the last position to position 1",
    ),
    ({"kind": "mask_edge", "at": "L1.pattern[k_pos=1]"}, "Cut the attention of all heads of layer 1 to position 1"),
]


def spec(at, *, vectors=VECTORS):
    answers = {"answers": [" Mary"] * 2, "foils": [" John"] * 2}
    same = ["Mary went to the store", "John went to the store"]
    inputs = {
        "clean": {"prompts": same, **answers, "positions": {"subject": [0, 0]}},
        "corrupt": {"prompts": same[::-1]},
    }
    given = {
        "model": "tiny",
        "inputs": inputs,
        "analysis": "ablation",
        "params": {"at": at, "controls": 0},
        "vectors": vectors,
    }
    return Experiment.model_validate(given)


@pytest.fixture
def effect(model):
    """`effect(edits)`: the grids of an ablation of the tiny model under edits, by name."""

    def go(at, **options):
        experiment = spec(at, **options)
        return run_experiment(experiment, Bench(model, experiment)).grids

    return go


@pytest.mark.parametrize(("edit", "words"), CASES, ids=lambda case: case["kind"] if isinstance(case, dict) else "")
def test_every_kind_runs_through_an_experiment_and_reads_well(effect, edit, words):
    assert sentence(spec([edit])) == f"{words} on 2 prompts; measure logit(‘ Mary’) − logit(‘ John’)."
    grids = effect([edit])
    assert grids["effect"].values.shape == () and (float(grids["effect"].values) != 0 or edit["kind"] == "freeze")
    again = normalised(spec([edit]))
    assert normalised(Experiment.model_validate(again.to_json())).id == again.id


def test_all_kinds_have_a_case():
    assert {edit["kind"] for edit, _ in CASES} == set(KINDS)


def test_parts_that_are_treated_alike_are_told_together():
    at = [
        "L1.z[head=2]",
        {"kind": "scale", "at": "L0.mlp_out", "factor": 2},
        "L2.mlp_out",
        {"kind": "scale", "at": "L1.mlp_out", "factor": 2},
        {"kind": "scale", "at": "L2.mlp_out", "factor": 3},
    ]
    assert sentence(spec(at)).startswith(
        "Zero head 1.2 and MLP 2, multiply MLP 0 and MLP 1 by 2, multiply MLP 2 by 3 on"
    )


def test_experiments_without_vectors_keep_their_id():
    bare, named = spec(["L1.z"], vectors={}), spec(["L1.z"])
    assert "vectors" not in bare.to_json() and named.to_json()["vectors"]["mary"]["of"] == "clean"
    assert bare.id != named.id


def test_a_contrast_is_the_difference_of_means_at_the_edits_own_site(model):
    """Over prompts and real positions, of which prompts may have unequal numbers; or over prompts at one position."""
    vectors = {
        "all": {"of": "clean", "minus": "corrupt"},
        "last": {"of": "clean", "minus": "corrupt", "pos": "last"},
        "first": {"of": "clean", "pos": 0},
    }
    inputs = {"clean": {"prompts": PROMPTS}, "corrupt": {"prompts": ["Mary", "John went"]}}
    experiment = Experiment.model_validate(
        {"model": "tiny", "inputs": inputs, "analysis": "ablation", "vectors": vectors}
    )
    bench = Bench(model, experiment)
    for site in (Site("resid_post", 1), Site("z", 2)):
        x = {name: bench.capture(name, CapturePlan.of(site))[site] for name in inputs}
        lengths = {name: bench.batch(name).lengths for name in inputs}
        real = {name: torch.cat([x[name][i, :n] for i, n in enumerate(lengths[name])]) for name in inputs}
        last = {name: torch.stack([x[name][i, n - 1] for i, n in enumerate(lengths[name])]) for name in inputs}
        expected = {
            "all": real["clean"].mean(0) - real["corrupt"].mean(0),
            "last": last["clean"].mean(0) - last["corrupt"].mean(0),
            "first": x["clean"][:, 0].mean(0),
        }
        for name, value in expected.items():
            found = vector_at(name, experiment.vectors[name], site, bench)
            torch.testing.assert_close(found, value, rtol=1e-5, atol=1e-6)
            edit = parse_intervention({"kind": "set", "at": f"{site}[pos=0]", "vector": name})
            written = bench.capture("clean", CapturePlan.of(site), [edit])[site][:, 0]
            torch.testing.assert_close(written, value.expand_as(written), rtol=1e-5, atol=1e-6)


def test_a_direction_is_a_difference_of_columns_of_the_unembedding(plain, model):
    mary, john = (BARE(text, add_special_tokens=False)["input_ids"] for text in (" Mary", " John"))
    experiment = spec(["L1.z"])
    found = vector_at("name", experiment.vectors["name"], Site("resid_post", 2), Bench(model, experiment))
    assert torch.equal(found, (plain.lm_head.weight[mary[0]] - plain.lm_head.weight[john[0]]).detach())


def test_steering_along_the_answers_direction_raises_the_logit_difference(effect):
    edit = {"kind": "add", "at": "L2.resid_post[pos=last]", "vector": "name", "coefficient": 3}
    assert float(effect([edit])["effect"].values) > 0
    assert float(effect([{**edit, "coefficient": -3}])["effect"].values) < 0


@pytest.mark.parametrize(
    ("vectors", "edit", "problem"),
    [
        ({}, {"vector": "mary"}, "no vector is called 'mary'"),
        ({"mary": [1.0, 2.0]}, {"vector": "mary"}, r"vector 'mary' has 2 numbers, and L1\.resid_pre has 32"),
        ({"mary": {"of": "clean", "minus": "clean"}}, {"vector": "mary"}, r"vector 'mary' is zero at L1\.resid_pre"),
        ({"mary": {"of": "abc"}}, {"vector": "mary"}, "no inputs.abc"),
        ({"mary": {"of": "clean", "pos": 9}}, {"vector": "mary"}, "prompt 0 has positions"),
        ({"mary": {"token": " Mary went"}}, {"vector": "mary"}, "the token ' Mary went' is"),
        ({"mary": {"token": " Mary"}}, {"vector": "mary", "at": "L1.z"}, r"has 32 numbers, and L1\.z has 8"),
    ],
)
def test_a_vector_that_cannot_be_made_says_why(effect, vectors, edit, problem):
    with pytest.raises(InputError, match=problem):
        effect([{"kind": "add", "at": "L1.resid_pre", **edit}], vectors=vectors)
