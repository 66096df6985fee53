"""Attention knockout against masks that the plain model is given by a plain hook."""

from __future__ import annotations

import numpy as np
import pytest

from analyses.analysis import normalised, sentence
from analyses.experiment import Experiment
from hooks.errors import InputError, SiteMissing, SpecError
from tests.analyses.by_hand import HEADS, LAYERS, VARIANTS, ByHand
from tests.analyses.pairs import CLEAN, difference, runner

LENGTH = len(CLEAN[0])


@pytest.fixture(scope="module", params=VARIANTS)
def by_hand(request):
    return ByHand(request.param)


@pytest.fixture(scope="module")
def knock_out(by_hand):
    return runner(by_hand.model, "attention_knockout")


@pytest.fixture(scope="module")
def llama():
    return runner(ByHand("llama").model, "attention_knockout")


def loss(by_hand, masks):
    """Mean over prompts of the logit difference with the edges masked, minus the clean one."""
    pairs = [(by_hand.run(ids, masks=masks)[0], by_hand.run(ids)[0], n) for n, ids in enumerate(CLEAN)]
    return np.mean([difference(cut, n) - difference(clean, n) for cut, clean, n in pairs])


def test_one_key_at_a_time_in_a_window_of_layers_equals_masks(by_hand, knock_out):
    grid = knock_out({"over": ["layer", "k_pos"], "window": 2, "metric": "logit_diff"}).grid("effect")
    assert (grid.dims, grid.values.shape) == (("layer", "k_pos"), (LAYERS, LENGTH))
    for layer, near in ((0, [0]), (1, [0, 1]), (2, [1, 2])):
        for key in (0, 3, LENGTH - 1):
            expected = loss(by_hand, [(other, None, LENGTH - 1, key) for other in near])
            assert grid.values[layer, key] == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_several_edges_of_chosen_heads_are_cut_together(by_hand, knock_out):
    params = {"queries": ["last", 3], "keys": [1, 2], "heads": [0, 3], "window": 1, "metric": "logit_diff"}
    grid = knock_out(params).grid("effect")
    assert grid.dims == ("layer",)
    for layer in range(LAYERS):
        masks = [(layer, head, query, key) for head in (0, 3) for query in (LENGTH - 1, 3) for key in (1, 2)]
        assert grid.values[layer] == pytest.approx(loss(by_hand, masks), rel=1e-4, abs=1e-4)


def test_an_edge_to_a_later_position_is_none_and_all_heads_are_each_head(llama):
    base = {"queries": [2], "window": 1, "metric": "logit_diff"}
    later = llama({**base, "keys": [4]}).grid("effect").values
    assert np.abs(later).max() < 1e-6
    each = llama({**base, "keys": [0], "heads": list(range(HEADS))}).grid("effect").values
    assert each == pytest.approx(llama({**base, "keys": [0]}).grid("effect").values, abs=1e-6)


def test_named_keys_serve_prompts_of_several_lengths(llama):
    rows = [CLEAN[0], CLEAN[1][:-1]]
    named = {"keys": ["subject"], "window": 1}
    together = llama(named, clean=rows, corrupt=None, positions={"subject": [1, 3]})
    one = llama({**named, "per_prompt": True}, clean=rows, corrupt=None, positions={"subject": [1, 3]})
    assert one.grid("effect_by_prompt").values.mean(0) == pytest.approx(together.grid("effect").values, abs=1e-6)
    with pytest.raises(InputError, match="equal length"):
        llama({}, clean=rows, corrupt=None)


@pytest.mark.parametrize(
    ("params", "error", "words"),
    [
        ({"over": ["layer"]}, SpecError, "nothing is cut"),
        ({"over": ["k_pos"]}, SpecError, "over is"),
        ({"keys": ["nobody"]}, InputError, "no position is called"),
        ({"keys": [0], "heads": [HEADS]}, SiteMissing, "4 heads"),
        ({"keys": [0], "site": "cross_pattern"}, SiteMissing, "cross_pattern"),
    ],
)
def test_what_cannot_be_cut_is_refused(llama, params, error, words):
    with pytest.raises(error, match=words):
        llama(params)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, "Cut the attention of all heads from ‘last’ to each position in a window of layers around each layer on"),
        ({"keys": ["subject"], "heads": [1], "window": 3, "layers": [4]},
         "Cut the attention of head 1 from ‘last’ to ‘subject’ in 3 layers around layer 4 on 1 prompt; measure the "),
    ],
)  # fmt: skip
def test_an_experiment_says_which_edges_it_cuts(params, words):
    inputs = {"clean": {"prompts": ["a"], "answers": [" Mary"]}}
    spec = {"model": "tiny", "inputs": inputs, "analysis": "attention_knockout", "params": params}
    assert sentence(normalised(Experiment.model_validate(spec))).startswith(words)
