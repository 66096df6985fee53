"""Every family on a CUDA device: the sites and the numbers that it has on the CPU, exact against itself unhooked."""

from __future__ import annotations

import gc
from functools import lru_cache

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from analyses.bench import Bench
from analyses.execute import run_experiment
from analyses.experiment import Experiment
from hooks.generate import generate
from hooks.interventions.patch import Patch
from hooks.interventions.zero import Zero
from hooks.model import instrument
from hooks.plan import CapturePlan
from hooks.prompts import IdsPrompt, PromptSet
from hooks.sites import Part, Site
from hooks.tiny import build
from tests.laws.conftest import opened, random_batch, sites_named

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
"""Sums in another order; the weights are large, so wrong wiring shows as errors of 1 and more."""
DECODERS = ("gpt2", "llama", "gemma2", "gpt-neox-parallel")
HALF = ("gpt2", "llama", "bloom", "bert", "t5", "vit", "mixtral")


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    """Convolutions round to ten bits unless told otherwise."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@lru_cache(maxsize=1)
def on_gpu(variant):
    return instrument(build(variant).to("cuda"), name=variant)


def close(value, expected, scale=1.0):
    assert_close(value.cpu() / scale, expected.cpu() / scale, **CLOSE, equal_nan=True)


def test_a_family_opens_with_exact_parity_and_the_sites_that_it_has_on_the_cpu(variant, model):
    here = on_gpu(variant)
    assert here.proof.exact and here.proof.identity == 0.0
    assert here.info.device == "cuda:0"
    assert here.sites == model.sites and here.writable == model.writable


def test_what_is_captured_is_what_the_cpu_captures(variant, model, batch_of):
    batch = batch_of(7, 5)
    there, here = (one.run(batch, CapturePlan(sites=one.sites)) for one in (model, on_gpu(variant)))
    close(here.logits, there.logits, max(1.0, float(there.logits.abs().max())))
    for site, expected in there.activations.items():
        seen = torch.isfinite(expected)
        assert torch.equal(torch.isfinite(here[site]).cpu(), seen), site
        size = float(expected[seen].abs().max()) if seen.any() else 1.0
        close(here[site][seen.to(here[site].device)], expected[seen], max(1.0, size))


def test_a_patch_of_every_site_with_its_own_value_changes_no_bit(variant, batch_of):
    model, batch = on_gpu(variant), batch_of(6, 6)
    clean = model.run(batch, CapturePlan(sites=model.writable))
    for site in sorted(model.writable):
        patched = model.run(batch, edits=[Patch(at=Part(site), source="own")], sources={"own": clean.activations})
        assert torch.equal(patched.logits, clean.logits), site


def test_worlds_packed_in_one_forward_equal_single_runs(variant, batch_of):
    model, batch = on_gpu(variant), batch_of(7, 5)
    worlds = [(Zero(at=Part(site)),) for site in sorted(model.writable)[::3]]
    packed = model.run_worlds(batch, worlds).logits
    size = max(1.0, float(packed[0].abs().max()))
    close(packed[0], model.run(batch).logits, size)
    for world, logits in zip(worlds, packed[1:], strict=True):
        close(logits, model.run(batch, edits=world).logits, size)


@pytest.mark.parametrize("name", HALF)
def test_half_precision_is_exact_too(name):
    model = instrument(build(name).to(torch.bfloat16).to("cuda"), name=name)
    assert model.proof.exact and model.proof.identity == 0.0
    assert {"z", "resid_post"} <= model.proof.names(writable=True)


def experiment(analysis, **params):
    clean, corrupt = ({"prompts": [{"ids": ids}]} for ids in ([5, 9, 17, 5, 9, 17, 5], [5, 9, 17, 5, 30, 17, 5]))
    answers = {"answers": [{"id": 9}], "foils": [{"id": 30}]}
    inputs = {"clean": clean | answers, "corrupt": corrupt | answers}
    asked = {"model": {"name": "tiny"}, "inputs": inputs, "analysis": analysis, "params": params}
    return Experiment.model_validate(asked)


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize(
    ("analysis", "params"),
    [
        ("ablation", {"kind": "zero", "over": "head", "metric": "logit_diff"}),
        ("ablation", {"kind": "mean", "over": "mlp", "mean_over": "positions", "metric": "logit_diff"}),
        ("activation_patching", {"site": "resid_pre", "over": ["layer", "pos"], "metric": "logit_diff"}),
        ("attribution_patching", {"site": "z", "over": ["layer", "head"], "metric": "logit_diff"}),
    ],
)
def test_an_experiment_gives_the_numbers_that_it_gives_on_the_cpu(name, analysis, params):
    asked = experiment(analysis, **params)
    there, here = (run_experiment(asked, Bench(model, asked)) for model in (opened(name)[1], on_gpu(name)))
    assert here.grids.keys() == there.grids.keys()
    for name, expected in there.grids.items():
        values = torch.from_numpy(np.asarray(expected.values, dtype=np.float64))
        size = max(1.0, float(values.nan_to_num().abs().max()))
        close(torch.from_numpy(np.asarray(here.grid(name).values, dtype=np.float64)), values, size)


@pytest.mark.parametrize("name", DECODERS)
def test_a_greedy_continuation_is_the_one_of_the_cpu(name):
    prompts = PromptSet(prompts=(IdsPrompt(ids=(5, 9, 17, 5)),))
    edits = [Zero(at=Part(Site("z", 0), head=0))]
    texts = [
        generate(model, model.tokens(prompts), steps=5, edits=edits)[0].ids for model in (opened(name)[1], on_gpu(name))
    ]
    assert texts[0] == texts[1]


def test_nothing_stays_on_the_device_after_a_sweep():
    model = on_gpu("llama")
    batch = random_batch(model, 12, 9)
    worlds = [(Zero(at=Part(site)),) for site in sites_named(model, "z", "mlp_out", writable=True)]
    model.run_worlds(batch, worlds)
    gc.collect()
    before = torch.cuda.memory_allocated()
    model.run_worlds(batch, worlds * 8)
    gc.collect()
    assert torch.cuda.memory_allocated() == before
