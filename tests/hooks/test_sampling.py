"""Choosing a token, against arithmetic on four tokens."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertLMHeadModel, T5Config, T5Model

from hooks.errors import ModelError
from hooks.kv_cache import check_causal
from hooks.sampling import Sampling, choose, sampling_distribution

PROBS = (0.5, 0.3, 0.15, 0.05)
LOGITS = torch.tensor(PROBS).log()


def drawn(**fields):
    return sampling_distribution(LOGITS, Sampling(greedy=False, **fields)).tolist()


def test_with_no_limits_the_distribution_is_the_models_own():
    assert drawn() == pytest.approx(PROBS)


def test_temperature_raises_probabilities_to_its_inverse():
    total = sum(p**0.5 for p in PROBS)
    assert drawn(temperature=2.0) == pytest.approx([p**0.5 / total for p in PROBS])


def test_top_k_keeps_the_k_most_probable_and_shares_their_probability_out():
    assert drawn(top_k=2) == pytest.approx([0.5 / 0.8, 0.3 / 0.8, 0, 0])


@pytest.mark.parametrize(("top_p", "kept"), [(0.4, 1), (0.6, 2), (0.81, 3), (0.96, 4)])
def test_top_p_keeps_the_smallest_set_that_reaches_it(top_p, kept):
    total = sum(PROBS[:kept])
    assert drawn(top_p=top_p) == pytest.approx([p / total if i < kept else 0 for i, p in enumerate(PROBS)])


def test_top_p_is_taken_of_what_top_k_left():
    # Of 0.5 and 0.3 alone, the first holds 0.625.
    assert drawn(top_k=2, top_p=0.6) == pytest.approx([1, 0, 0, 0])


def test_equal_logits_rank_by_id_so_greedy_and_top_k_are_never_in_doubt():
    flat = torch.zeros(5)
    assert sampling_distribution(flat, Sampling()).tolist() == [1, 0, 0, 0, 0]
    assert sampling_distribution(flat, Sampling(greedy=False, top_k=2)).tolist() == [0.5, 0.5, 0, 0, 0]


def test_a_choice_tells_both_probabilities_the_entropy_and_the_alternatives():
    choice = choose(LOGITS, Sampling(greedy=False, top_k=1), torch.Generator().manual_seed(0), 3)
    assert (choice.token, choice.sampled) == (0, 1.0)
    assert choice.prob == pytest.approx(0.5)
    assert choice.entropy == pytest.approx(-sum(p * math.log(p) for p in PROBS), abs=1e-6)
    assert choice.ids.tolist() == [0, 1, 2]
    assert choice.probs.tolist() == pytest.approx(PROBS[:3])
    assert choice.sampling.tolist() == [1, 0, 0]


def test_draws_come_as_often_as_their_probabilities_say_and_never_outside_them():
    generator = torch.Generator().manual_seed(1)
    sampling = Sampling(greedy=False, top_k=3)
    tokens = torch.tensor([choose(LOGITS, sampling, generator, 1).token for _ in range(4000)])
    shares = [float((tokens == token).float().mean()) for token in range(4)]
    expected = [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0]
    # Four standard deviations of a share of 4000 draws are at most 0.032.
    assert shares == pytest.approx(expected, abs=0.032)
    assert shares[3] == 0


def test_a_probability_of_zero_adds_nothing_to_the_entropy():
    logits = torch.tensor([0.0, float("-inf")])
    assert choose(logits, Sampling(), torch.Generator(), 1).entropy == 0


@pytest.mark.parametrize(
    "build",
    [
        lambda: BertForMaskedLM(BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)),
        lambda: T5Model(T5Config(vocab_size=9, d_model=8, d_kv=4, d_ff=8, num_layers=1)),
    ],
)
def test_a_model_that_does_not_continue_a_text_is_refused_by_name(build):
    model = build()
    with pytest.raises(ModelError, match=type(model).__name__):
        check_causal(model, causal=True)


def test_a_class_made_for_generation_that_looks_both_ways_is_refused():
    config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    with pytest.raises(ModelError, match="does not continue a text"):
        check_causal(BertLMHeadModel(config), causal=False)
