"""Attention patterns, head scores and next tokens against arithmetic done here."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from analyses.head_patterns import duplicate_token, entropy, first_token, induction, previous_token
from hooks.errors import InputError, SpecError
from tests.analyses.conftest import PROMPTS
from tests.hooks.test_tokens import BARE


def planted(length, target):
    """A pattern of one head in which query q looks only at target(q), or at itself where that is negative."""
    pattern = torch.zeros(1, length, length)
    for q in range(length):
        pattern[0, q, target(q) if target(q) >= 0 else q] = 1
    return pattern


def test_a_planted_head_of_each_kind_scores_one_in_its_own_score_and_zero_in_others():
    n, offset = 5, 1
    length = offset + 2 * n
    heads = {
        "induction": planted(length, lambda q: q - n + 1 if q >= offset + n else q),
        "duplicate": planted(length, lambda q: q - n if q >= offset + n else q),
        "previous": planted(length, lambda q: q - 1),
        "first": planted(length, lambda q: 0),
    }
    scores = {"induction": induction, "duplicate": duplicate_token, "previous": previous_token, "first": first_token}
    for kind, pattern in heads.items():
        for name, score in scores.items():
            expected = 1.0 if name == kind else 0.0
            if (kind, name) == ("previous", "first") or (kind, name) == ("first", "previous"):
                expected = 1 / (length - 1)  # query 1: the token before is the first one
            assert float(score(pattern, n, offset)) == pytest.approx(expected), (kind, name)


def test_the_entropy_of_uniform_rows_is_the_mean_of_log_of_their_lengths():
    length = 6
    uniform = torch.tril(torch.ones(1, length, length))
    uniform /= uniform.sum(-1, keepdim=True)
    assert float(entropy(uniform)) == pytest.approx(np.mean([math.log(q + 1) for q in range(length)]))


def test_head_scores_are_those_of_the_drawn_sequences(run, plain):
    result = run("head_scores", {"n": 6, "sequences": 3}, inputs={}, seed=4)
    generator = torch.Generator().manual_seed(4)
    ordinary = torch.tensor([i for i in range(len(BARE)) if i not in BARE.all_special_ids])
    expected = np.zeros((3, 4))
    for row in ordinary[torch.randint(len(ordinary), (3, 6), generator=generator)]:
        ids = torch.cat([row, row])[None]
        with torch.no_grad():
            attentions = plain(input_ids=ids, output_attentions=True).attentions
        for layer, pattern in enumerate(attentions):
            for head in range(4):
                weights = [float(pattern[0, head, q, q - 5]) for q in range(6, 12)]
                expected[layer, head] += np.mean(weights) / 3
    assert result.grid("induction").values == pytest.approx(expected, abs=1e-5)


def test_repetition_scores_on_ones_own_prompts_are_refused(run):
    with pytest.raises(SpecError, match="repeated random tokens"):
        run("head_scores", {"scores": ["induction"]})
    own = run("head_scores", {"scores": ["previous_token"]})
    assert own.grid("previous_token").values.shape == (3, 4)


def test_bos_is_asked_of_a_tokenizer_that_has_one(run):
    with pytest.raises(InputError, match="no BOS"):
        run("head_scores", {"bos": True}, inputs={})


def test_patterns_of_unequal_prompts_average_over_the_prompts_that_have_the_position(run, plain):
    prompts = ["Mary went to the store", "a"]
    grid = run("attention_patterns", {}, prompts=prompts).grid("pattern")
    rows = []
    for text in prompts:
        with torch.no_grad():
            rows.append(plain(input_ids=torch.tensor([BARE(text)["input_ids"]]), output_attentions=True).attentions)
    assert grid.values[1, 2, 0, 0] == pytest.approx(1.0)
    assert grid.values[1, 2, 3, 1] == pytest.approx(float(rows[0][1][0, 2, 3, 1]), abs=1e-6)
    assert grid.valid is None or grid.valid[0, 0, 3, 1]


def test_one_token_gives_a_pattern_of_one_cell(run):
    """C07."""
    grid = run("attention_patterns", {}, prompts=["a"]).grid("pattern")
    assert grid.values.shape == (3, 4, 1, 1) and (grid.values == 1).all()


def test_chosen_layers_and_heads_keep_their_names(run):
    whole = run("attention_patterns", {}).grid("pattern")
    some = run("attention_patterns", {"layers": [2], "heads": [1, 3]}).grid("pattern")
    assert some.coords["layer"] == (2,) and some.coords["head"] == (1, 3)
    assert np.array_equal(some.values[0], whole.values[2][[1, 3]])


def test_next_tokens_are_the_softmax_of_the_models_logits_at_a_temperature(run, logits_of):
    result = run("next_token", {"top_k": 5, "temperature": 2.0}, prompts=PROMPTS[:1])
    logits = logits_of(PROMPTS[0])
    top = (logits / 2.0).softmax(-1).topk(5)
    assert result.grid("prob").values == pytest.approx(top.values.numpy(), abs=1e-6)
    assert result.grid("logit").values == pytest.approx(logits[top.indices].numpy(), abs=1e-5)
    shown = [BARE.decode([i]).replace(" ", "·") for i in top.indices]
    assert [a == b or "⟨" in a for a, b in zip(result.grid("prob").coords["token"], shown, strict=True)] == [True] * 5


def test_surprisal_averages_to_the_loss(run, plain):
    ids = torch.tensor([BARE(PROMPTS[0])["input_ids"]])
    with torch.no_grad():
        loss = float(plain(input_ids=ids, labels=ids).loss)
    grid = run("next_token", {}, prompts=PROMPTS[:1]).grid("surprisal")
    assert grid.values.mean() == pytest.approx(loss, abs=1e-5)
    assert grid.coords["pos"] == tuple(range(1, ids.shape[1]))


def test_a_position_outside_the_prompt_is_refused(run):
    with pytest.raises(InputError, match="positions 0–"):
        run("next_token", {"position": 99})
    with pytest.raises(InputError, match="no position is called"):
        run("next_token", {"position": "subject"})


def test_a_result_says_where_its_numbers_come_from(run, model):
    provenance = run("next_token", {}).provenance
    assert provenance.model_hash == model.hash and provenance.dtype == "float32" and provenance.device == "cpu"
    assert list(provenance.tokens["clean"][0]) == BARE(PROMPTS[0])["input_ids"]
    assert provenance.versions["torch"] == torch.__version__ and not provenance.from_cache
