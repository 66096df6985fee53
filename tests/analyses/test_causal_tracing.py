"""Causal tracing against plain hooks: noise on embeddings, clean states put back."""

from __future__ import annotations

from zlib import crc32

import numpy as np
import pytest
import torch

from analyses.analysis import normalised, sentence
from analyses.experiment import Experiment
from hooks.errors import InputError
from tests.analyses.by_hand import LAYERS, VARIANTS, ByHand, put
from tests.analyses.pairs import CLEAN, CORRUPT, difference, runner

DRAWS, WHERE, SCALE = 2, 2, 3.0
LENGTH = len(CLEAN[0])


@pytest.fixture(scope="module", params=VARIANTS)
def by_hand(request):
    return ByHand(request.param)


@pytest.fixture(scope="module")
def trace(by_hand):
    return runner(by_hand.model, "causal_tracing")


@pytest.fixture(scope="module")
def llama():
    return runner(ByHand("llama").model, "causal_tracing")


def blurred(by_hand, prompt, draw):
    """A write of noise on the stream that enters the first block: embeddings are only added to there."""
    weights = by_hand.model.get_input_embeddings().weight.detach()
    sd = float(weights.double().std(unbiased=False)) * (32**0.5 if by_hand.variant == "gemma2" else 1.0)
    numbers = np.random.default_rng([draw, prompt, crc32(b"embed")]).standard_normal((LENGTH, 32))
    noise = torch.tensor(SCALE * sd * numbers[WHERE], dtype=torch.float32)

    def change(x):
        x[:, WHERE] += noise
        return x

    return ("resid_pre", 0, change)


def effects(by_hand, site, cells, window):
    """Mean over draws and prompts of restored minus corrupted, and of clean minus corrupted."""
    found, total = {cell: [] for cell in cells}, []
    for n, ids in enumerate(CLEAN):
        clean, seen = by_hand.run(ids, reads=[(site, layer) for layer in range(LAYERS)])
        for draw in range(DRAWS):
            noise = blurred(by_hand, n, draw)
            corrupted = difference(by_hand.run(ids, [noise])[0], n)
            total.append(difference(clean, n) - corrupted)
            for layer, pos in cells:
                near = [other for other in window(layer) if 0 <= other < LAYERS]
                writes = [noise, *((site, other, put(seen[site, other], pos=pos)) for other in near)]
                found[layer, pos].append(difference(by_hand.run(ids, writes)[0], n) - corrupted)
    return {cell: np.mean(values) for cell, values in found.items()}, np.mean(total)


@pytest.mark.parametrize(
    ("site", "window", "near"),
    [("resid_post", None, lambda layer: [layer]), ("attn_out", 2, lambda layer: [layer - 1, layer])],
)
def test_restoring_a_state_under_noise_equals_hooks(by_hand, trace, site, window, near):
    result = trace({"at": [WHERE], "draws": DRAWS, "site": site, "window": window, "metric": "logit_diff"})
    cells = [(layer, pos) for layer in (0, 2) for pos in (1, WHERE, LENGTH - 1)]
    expected, total = effects(by_hand, site, cells, near)
    grid = result.grid("indirect_effect")
    assert (grid.dims, grid.values.shape, grid.unit) == (("layer", "pos"), (LAYERS, LENGTH), "logit")
    for cell, value in expected.items():
        assert grid.values[cell] == pytest.approx(value, rel=1e-4, abs=1e-4)
    assert result.grid("total_effect").values == pytest.approx(total, rel=1e-4, abs=1e-4)


def test_a_restored_state_before_the_noise_changes_nothing_and_the_noised_one_after_it_undoes_all(llama):
    result = llama({"at": [WHERE], "draws": DRAWS})
    grid = result.grid("indirect_effect").values
    assert np.abs(grid[:, :WHERE]).max() < 1e-6
    assert result.grid("indirect_effect").unit == "prob"
    only = llama({"at": [LENGTH - 1], "draws": DRAWS})
    assert only.grid("indirect_effect").values[:, -1] == pytest.approx(
        np.full(LAYERS, only.grid("total_effect").values), abs=1e-5
    )


def test_tokens_that_differ_from_the_corrupt_prompt_get_the_noise_where_none_are_named(llama):
    differing = llama({"draws": 1})  # the first pair differs at 1, the second at 2
    named = llama({"at": ["name"], "draws": 1}, corrupt=None, positions={"name": [1, 2]})
    subject = llama({"draws": 1}, corrupt=None, positions={"subject": [1, 2]})
    for other in (named, subject):
        assert (differing.grid("indirect_effect").values == other.grid("indirect_effect").values).all()
    assert llama({"at": [1], "draws": 1}).grid("total_effect").values != differing.grid("total_effect").values


def test_the_seed_of_the_experiment_draws_other_noise(llama):
    first, again, other = (llama({"draws": 1}, seed=seed).grid("total_effect").values for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize(
    ("corrupt", "params", "words"),
    [
        (None, {}, "which tokens get noise"),
        (CLEAN, {}, "differ in no token"),
        ([CORRUPT[0], [1, *CORRUPT[1][1:]]], {}, "1 to 2 tokens"),
        (None, {"at": ["last", LENGTH - 1]}, "gets noise once"),
        (None, {"at": ["nobody"]}, "no position is called"),
    ],
)
def test_noise_without_a_clear_place_is_refused(llama, corrupt, params, words):
    with pytest.raises(InputError, match=words) as caught:
        llama(params, corrupt=corrupt)
    assert caught.value.hint


def test_the_window_of_attention_and_mlp_is_said(llama):
    assert "in 2 layers around each" in llama({"site": "mlp_out", "window": 2}).grid("indirect_effect").about
    spec = {"model": "tiny", "inputs": {"clean": {"prompts": ["a"], "answers": [" Mary"]}}}
    given = Experiment.model_validate({**spec, "analysis": "causal_tracing", "params": {"at": ["subject"]}})
    assert sentence(normalised(given)) == (
        "Add noise of 3 × the standard deviation of the embeddings to ‘subject’ in 1 prompt, 10 times; restore the "
        "clean residual stream after the block of each layer and position; measure how much of the probability of "
        "‘ Mary’ comes back."
    )
