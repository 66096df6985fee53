"""Evaluation against plain transformers: log-likelihoods, calibration and perplexity, before and after an edit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from analyses.bench import Bench
from analyses.calibration import reliability
from analyses.evaluation_grids import choice_grids
from analyses.execute import run_experiment
from analyses.experiment import Experiment
from hooks.errors import Cancelled, InputError, SpecError
from hooks.model import instrument
from hooks.tiny import build
from tests.hooks.test_tokens import BARE

QUESTIONS = ["Mary went to the", "John gave a", "Today, the"]
CHOICES = [[" store", " weather", " John"], [" store is open", " Mary"], [" weather is fine", " store", " Mary"]]
RIGHT = [[0], [1], [0, 1]]
TEXT = " ".join(QUESTIONS * 6)
CUT = {"kind": "zero", "at": "L1.z[head=2]"}


def choices(**more):
    return {"clean": {"prompts": QUESTIONS, "choices": CHOICES, "right": RIGHT, **more}}


def cut_of(module, start, stop):
    """A plain hook that zeroes some inputs of a projection."""

    def cut(_, args):
        z = args[0].clone()
        z[..., start:stop] = 0
        return (z, *args[1:])

    return module.register_forward_pre_hook(cut)


def nats(plain, ids, start, cut=None):
    """Sum of log p of ids[start:], computed here from plain logits, the text alone in its batch."""
    handle = None if cut is None else cut_of(*cut)
    with torch.no_grad():
        logits = plain(input_ids=torch.tensor([ids]), use_cache=False).logits[0].double()
    if handle is not None:
        handle.remove()
    log_probs = logits.log_softmax(-1)
    return sum(float(log_probs[place - 1, ids[place]]) for place in range(start, len(ids)))


def by_hand(plain, cut=None):
    """Log-probability and number of tokens of every choice; every prompt here ends at a token's end."""
    found = []
    for question, options in zip(QUESTIONS, CHOICES, strict=True):
        start = len(BARE(question)["input_ids"])
        rows = [BARE(question + option)["input_ids"] for option in options]
        found.append([(nats(plain, ids, start, cut), len(ids) - start) for ids in rows])
    return found


def test_choices_are_scored_by_their_log_likelihood_alone(run, plain):
    result = run("evaluation", {}, inputs=choices())
    grid, found = result.grid("logprob_by_prompt"), by_hand(plain)
    for item, options in enumerate(found):
        for choice, (log_prob, n) in enumerate(options):
            assert grid.values[item, choice, 0] == pytest.approx(log_prob, rel=1e-4, abs=1e-4)
            per_token = result.grid("logprob_per_token_by_prompt").values[item, choice, 0]
            assert per_token == pytest.approx(log_prob / n, rel=1e-4, abs=1e-4)
    assert not grid.valid[1, 2, 0] and grid.valid.sum() == 8
    summed = [max(range(len(row)), key=lambda c, row=row: row[c][0]) in right
              for row, right in zip(found, RIGHT, strict=True)]  # fmt: skip
    per_token = [max(range(len(row)), key=lambda c, row=row: row[c][0] / row[c][1]) in right
                 for row, right in zip(found, RIGHT, strict=True)]  # fmt: skip
    assert result.grid("accuracy").values == pytest.approx([np.mean(summed)])
    assert result.grid("acc_norm").values == pytest.approx([np.mean(per_token)])
    weights = [np.exp([log_prob for log_prob, _ in row]) for row in found]
    mass = [w[right].sum() / w.sum() for w, right in zip(weights, RIGHT, strict=True)]
    assert result.grid("prob_right").values == pytest.approx([np.mean(mass)], abs=1e-5)


def test_an_edit_is_measured_on_the_same_items_as_the_clean_model(run, plain):
    result = run("evaluation", {"edits": [CUT]}, inputs=choices(templates=["a", "a", "b"]))
    after = by_hand(plain, (plain.model.layers[1].self_attn.o_proj, 16, 24))
    values = result.grid("logprob_by_prompt").values
    assert [values[i, c, 1] for i, row in enumerate(after) for c in range(len(row))] == pytest.approx(
        [log_prob for row in after for log_prob, _ in row], rel=1e-4, abs=1e-4
    )
    each = result.grid("prob_right_by_prompt").values
    assert result.grid("prob_right_change").values == pytest.approx((each[:, 1] - each[:, 0]).mean(), abs=1e-6)
    low, high = (float(result.grid(f"prob_right_change_{end}").values) for end in ("low", "high"))
    assert low < float(result.grid("prob_right_change").values) < high
    groups = result.grid("accuracy_by_template")
    assert groups.coords["template"] == ("a", "b")
    hit = result.grid("accuracy_by_prompt").values
    assert groups.values == pytest.approx(np.array([hit[:2].mean(0), hit[2]]))


@pytest.mark.parametrize("budget", [1, 1 << 19])
def test_scores_do_not_depend_on_how_many_rows_share_a_forward(run, budget):
    few, many = (run("evaluation", {}, inputs=choices(), budget_bytes=b) for b in (budget, 1 << 30))
    assert few.grid("logprob_by_prompt").values == pytest.approx(
        many.grid("logprob_by_prompt").values, rel=1e-4, abs=1e-4
    )


def test_a_token_that_the_join_changes_counts_as_continuation(run, plain):
    prompt, choice = "Mary went to the sto", "re"
    apart, joined = BARE(prompt)["input_ids"], BARE(prompt + choice)["input_ids"]
    shared = next(n for n, (a, b) in enumerate(zip([*apart, -1], joined, strict=False)) if a != b)
    assert shared < len(apart)
    inputs = {"clean": {"prompts": [prompt], "choices": [[choice, " is"]], "right": [[0]]}}
    values = run("evaluation", {}, inputs=inputs).grid("logprob_by_prompt").values
    assert values[0, 0, 0] == pytest.approx(nats(plain, joined, shared), rel=1e-4, abs=1e-4)
    assert values[0, 1, 0] == pytest.approx(
        nats(plain, BARE(prompt + " is")["input_ids"], len(apart)), rel=1e-4, abs=1e-4
    )


def test_calibration_error_is_the_gap_between_confidence_and_accuracy_in_each_bin():
    confidence, hit = np.array([0.95, 0.91, 0.55, 0.5]), np.array([1.0, 0.0, 1.0, 0.0])
    curve = reliability(confidence, hit, 10)
    # (0.4, 0.5] holds 0.5 (wrong), (0.5, 0.6] holds 0.55 (right), (0.9, 1] holds two, of which one is right.
    assert curve.count.tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 0, 2]
    assert curve.accuracy[[4, 5, 9]] == pytest.approx([0, 1, 0.5])
    assert float(curve.error) == pytest.approx((0.5 + 0.45 + 2 * 0.43) / 4)


def test_a_model_that_is_always_sure_and_half_right_is_off_by_a_half():
    sure = np.log(np.array([[[0.999999, 1e-6], [0.999999, 1e-6]]]))
    right = np.array([[True, False], [False, True]])
    grids = {grid.name: grid for grid in choice_grids(sure, np.ones((2, 2)), right, bins=10)}
    assert grids["ece"].values == pytest.approx([0.5], abs=1e-5)
    assert grids["reliability_share"].values[0, -1] == 1.0
    assert grids["reliability_accuracy"].valid.sum() == 1
    assert "missing" in grids["reliability_accuracy"].about


SHAPES = {
    "gpt2": "transformer.h.1.attn.c_proj",
    "llama": "model.layers.1.self_attn.o_proj",
    "gemma2": "model.layers.1.self_attn.o_proj",
    "gpt-neox-parallel": "gpt_neox.layers.1.attention.dense",
}


@pytest.mark.parametrize("variant", SHAPES)
def test_minimal_pairs_compare_sums_over_all_tokens_after_the_first(variant):
    plain = build(variant)
    good, bad = [[5, 9, 12, 40], [8, 7, 30]], [[5, 9, 13, 41, 6], [8, 33, 30]]
    told = [{"prompts": [{"ids": ids} for ids in side]} for side in (good, bad)]
    spec = {"model": "tiny", "inputs": dict(zip(("clean", "corrupt"), told, strict=True)), "analysis": "evaluation"}
    asked = Experiment.model_validate({**spec, "params": {"kind": "minimal_pairs", "edits": [CUT]}})
    result = run_experiment(asked, Bench(instrument(plain, name=variant), asked))
    for run, cut in enumerate((None, (plain.get_submodule(SHAPES[variant]), 16, 24))):
        sums = np.array([[nats(plain, ids, 1, cut) for ids in pair] for pair in zip(good, bad, strict=True)])
        assert result.grid("logprob_by_prompt").values[:, :, run] == pytest.approx(sums, rel=1e-4, abs=1e-4)
        apart = sums[:, 0] - sums[:, 1]
        assert result.grid("accuracy").values[run] == (apart > 0).mean()
        assert result.grid("logprob_diff").values[run] == pytest.approx(apart.mean(), rel=1e-4, abs=1e-4)


def test_a_long_text_is_read_in_windows_and_every_token_counts_once(run, plain):
    ids, window, stride = BARE(TEXT)["input_ids"], 16, 5
    # As a plain loop over windows: the first counts all but its first token, the others what is new to them.
    total, end = 0.0, 1
    for begin in range(0, len(ids), stride):
        if end >= len(ids):
            break
        held = ids[begin : begin + window]
        total, end = total + nats(plain, held, end - begin), begin + len(held)
    params = {"kind": "perplexity", "window": window, "stride": stride, "edits": [CUT]}
    result = run("evaluation", params, inputs={"clean": {"prompts": [TEXT], "windowed": True}})
    loss = -total / (len(ids) - 1)
    assert result.grid("loss").values[0] == pytest.approx(loss, rel=1e-4, abs=1e-4)
    assert result.grid("perplexity").values[0] == pytest.approx(math.exp(loss), rel=1e-4)
    assert result.grid("loss_by_prompt").values[0, 0] == pytest.approx(loss, rel=1e-4, abs=1e-4)
    change = result.grid("loss").values[1] - result.grid("loss").values[0]
    assert result.grid("loss_change").values == pytest.approx(change, abs=1e-5)


def test_a_text_longer_than_the_learned_positions_is_windowed_and_refused_elsewhere():
    model = instrument(build("gpt2"), name="gpt2")
    inputs = {"clean": {"prompts": [{"ids": list(range(4, 60)) * 2}], "windowed": True}}
    asked = Experiment.model_validate(
        {"model": "gpt2", "inputs": inputs, "analysis": "evaluation", "params": {"kind": "perplexity"}}
    )
    assert run_experiment(asked, Bench(model, asked)).grid("loss").values[0] > 0
    other = asked.model_copy(update={"analysis": "attention_patterns", "params": {}})
    with pytest.raises(SpecError, match="reads each prompt whole"):
        run_experiment(other, Bench(model, other))


@pytest.mark.parametrize(
    ("params", "inputs", "error", "words"),
    [
        ({}, choices(right=[[0], [5], [0]]), InputError, "prompt 2 has 2 choices"),
        ({}, choices(right=[[0]]), InputError, "right for 1"),
        ({}, choices(choices=[["", " a"], *CHOICES[1:]]), InputError, "adds no token"),
        ({"edits": [{"kind": "patch", "at": "L0.z", "source": "clean"}]}, choices(), SpecError, "no pair"),
        ({"kind": "minimal_pairs"}, {"clean": {"prompts": QUESTIONS}}, InputError, "inputs.corrupt"),
        ({"kind": "perplexity", "window": 8, "stride": 8}, choices(), SpecError, "skip a token"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_with_its_place(run, params, inputs, error, words):
    with pytest.raises(error, match=words):
        run("evaluation", params, inputs=inputs)


def test_an_evaluation_can_be_cancelled_between_forwards(run):
    told = []

    def stop(stage):
        told.append((stage.done, stage.total))
        if stage.done:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        run("evaluation", {}, inputs=choices(), progress=stop, budget_bytes=1)
    assert told == [(0, 8), (1, 8)]
