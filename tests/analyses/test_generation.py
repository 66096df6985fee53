"""The generation analysis against a loop over the unhooked model."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from analyses.bench import Bench
from analyses.execute import run_experiment
from analyses.experiment import Experiment
from hooks.errors import Cancelled, SiteMissing, SpecError
from tests.analyses.conftest import PROMPTS
from tests.hooks.test_tokens import BARE
from tests.laws.conftest import opened

HEAD = {"kind": "zero", "at": "L1.z[head=2]"}


def greedy(plain, text, steps, cut=False):
    """Ids and logits of each step, one full forward at a time; `cut` zeroes head 1.2 at all positions."""

    def zero(_, args):
        z = args[0].clone()
        z[..., 16:24] = 0
        return (z,)

    handles = [plain.model.layers[1].self_attn.o_proj.register_forward_pre_hook(zero)] if cut else []
    ids, rows = list(BARE(text)["input_ids"]), []
    for _ in range(steps):
        with torch.no_grad():
            rows.append(plain(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1])
        ids.append(int(rows[-1].argmax()))
    for handle in handles:
        handle.remove()
    return ids[-steps:], torch.stack(rows)


def test_a_greedy_continuation_is_the_unhooked_models_token_by_token(run, plain):
    result = run("generation", {"steps": 4, "alternatives": 3, "stop_at_end": False}, prompts=PROMPTS[:1])
    ids, logits = greedy(plain, PROMPTS[0], 4)
    probs = logits.softmax(-1)
    prob = result.grid("prob")
    assert prob.dims == ("step",) and prob.coords["id"] == tuple(ids)
    assert prob.values == pytest.approx(probs.max(-1).values.numpy(), abs=1e-6)
    entropy = [-sum(p * math.log(p) for p in row.tolist()) for row in probs]
    assert result.grid("entropy").values == pytest.approx(entropy, abs=1e-4)
    others = result.grid("alternative_logit")
    assert others.dims == ("step", "rank")
    assert others.values == pytest.approx(logits.topk(3).values.numpy(), abs=1e-4)
    assert others.coords["id"] == tuple(logits.topk(3).indices.flatten().tolist())
    assert (result.grid("sampling_prob").values == 1).all()


def test_the_rows_of_a_table_carry_the_token_of_their_cell(run):
    result = run("generation", {"steps": 3, "alternatives": 2, "stop_at_end": False}, prompts=PROMPTS[:1])
    taken = result.grid("prob").coords["token"]
    rows = list(result.grid("alternative_prob").records())
    assert [(row["step"], row["rank"]) for row in rows] == [(s, r) for s in range(3) for r in range(2)]
    assert tuple(row["token"] for row in rows if row["rank"] == 0) == taken


def test_edits_act_at_every_step_and_the_clean_continuation_stands_beside(run, plain):
    params = {"steps": 4, "stop_at_end": False, "edits": [HEAD]}
    result = run("generation", params, prompts=PROMPTS[:1])
    for suffix, cut in (("", True), ("_clean", False)):
        ids, logits = greedy(plain, PROMPTS[0], 4, cut=cut)
        assert result.grid(f"prob{suffix}").coords["id"] == tuple(ids)
        assert result.grid(f"prob{suffix}").values == pytest.approx(logits.softmax(-1).max(-1).values, abs=1e-5)
    assert not [name for name in run("generation", {"steps": 1}).grids if name.endswith("_clean")]


def test_the_attention_of_a_step_is_the_row_of_the_query_that_chose_its_token(run, plain):
    result = run("generation", {"steps": 3, "attention": True, "stop_at_end": False}, prompts=PROMPTS[:1])
    grid, ids = result.grid("attention"), list(BARE(PROMPTS[0])["input_ids"])
    length = len(ids)
    ids += result.grid("prob").coords["id"]
    with torch.no_grad():
        patterns = plain(input_ids=torch.tensor([ids]), output_attentions=True).attentions
    assert grid.dims == ("layer", "head", "step", "k_pos") and grid.values.shape == (3, 4, 3, length + 2)
    for layer, pattern in enumerate(patterns):
        expected = pattern[0, :, length - 1 : length + 2, : length + 2].numpy()
        assert grid.values[layer] == pytest.approx(expected, abs=1e-5)
    assert grid.valid is not None and not grid.valid[0, 0, 0, length:].any() and grid.valid[..., :length].all()


@pytest.mark.parametrize(
    ("variant", "layers"), [("jamba", (1,)), ("falcon-h1", (0, 1)), ("t5", (0, 1)), ("mamba", None)]
)
def test_the_layers_that_attend_are_shown_and_a_model_without_any_says_why(variant, layers):
    model = opened(variant)[1]
    params = {"steps": 2, "attention": True, "stop_at_end": False}
    spec = {"model": variant, "inputs": {"clean": {"prompts": [{"ids": [3, 4, 5]}]}}, "analysis": "generation"}
    experiment = Experiment.model_validate({**spec, "params": params})
    if layers is None:
        with pytest.raises(SiteMissing, match="no attention"):
            run_experiment(experiment, Bench(model, experiment))
    else:
        assert run_experiment(experiment, Bench(model, experiment)).grid("attention").coords["layer"] == layers


def test_the_seed_decides_the_draws_and_more_steps_only_add_to_them(run):
    def ids(steps, seed, **more):
        params = {"steps": steps, "greedy": False, "temperature": 2.0, "stop_at_end": False, **more}
        return run("generation", params, prompts=PROMPTS[:1], seed=seed).grid("prob").coords["id"]

    assert ids(6, 1) == ids(6, 1)
    assert ids(6, 1)[:3] == ids(3, 1)
    assert ids(6, 1) == ids(6, 1, cache=False)
    assert len({ids(6, seed) for seed in range(4)}) > 1


def test_several_prompts_have_an_axis_and_each_is_continued_as_if_alone(run):
    both = run("generation", {"steps": 3, "stop_at_end": False}).grid("prob")
    assert both.dims == ("prompt", "step")
    for number, text in enumerate(PROMPTS):
        alone = run("generation", {"steps": 3, "stop_at_end": False}, prompts=[text]).grid("prob")
        assert both.values[number] == pytest.approx(alone.values)
        assert both.coords["id"][3 * number : 3 * number + 3] == alone.coords["id"]


def test_steps_after_the_end_of_a_text_are_missing_not_zero(run, model, monkeypatch):
    free = run("generation", {"steps": 4, "stop_at_end": False}).grid("prob")
    first = free.coords["id"][0]
    monkeypatch.setitem(vars(model), "end_tokens", frozenset({first}))
    grid = run("generation", {"steps": 4}).grid("prob")
    assert grid.valid is not None
    assert grid.valid[0].tolist() == [True, *[False] * (grid.values.shape[1] - 1)]
    assert np.asarray(grid.to_json()["values"][0][1:], dtype=object).tolist() == [None] * (grid.values.shape[1] - 1)


def test_progress_counts_tokens_and_a_cancel_between_steps_ends_it(run):
    seen = []

    def report(progress):
        seen.append((progress.done, progress.total))
        if progress.done == 3:
            raise Cancelled("cancelled.")

    with pytest.raises(Cancelled):
        run("generation", {"steps": 4, "edits": [HEAD]}, prompts=PROMPTS[:1], progress=report)
    assert seen == [(0, 8), (1, 8), (2, 8), (3, 8)]


def test_what_is_wrong_is_refused_by_name(run):
    with pytest.raises(SpecError, match=r"params\.steps"):
        run("generation", {"steps": 0})
    with pytest.raises(SiteMissing, match="has 4 heads"):
        run("generation", {"edits": [{"kind": "zero", "at": "L0.z[head=4]"}]})
