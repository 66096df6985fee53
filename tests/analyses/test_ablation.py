"""Ablation against hooks written here on the plain model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from analyses.analysis import normalised, sentence
from analyses.experiment import Experiment
from analyses.memory import row_bytes
from analyses.phrases import query_heads_in_words
from hooks.errors import Cancelled, InputError, SiteMissing, SpecError
from hooks.prompts import PromptSet
from tests.analyses.conftest import PROMPTS
from tests.hooks.test_tokens import BARE

MARY, JOHN = BARE(" Mary")["input_ids"][0], BARE(" John")["input_ids"][0]


def difference(logits):
    return float(logits[MARY] - logits[JOHN])


def divergence(clean, changed):
    p, q = clean.double().log_softmax(-1), changed.double().log_softmax(-1)
    return float((p.exp() * (p - q)).sum())


def test_a_sweep_over_heads_equals_hooks_one_head_at_a_time(run, logits_of):
    result = run("ablation", {})
    for layer in range(3):
        for head in range(4):
            before = [logits_of(text) for text in PROMPTS]
            after = [logits_of(text, layer, head) for text in PROMPTS]
            effect = np.mean([difference(a) - difference(b) for a, b in zip(after, before, strict=True)])
            kl = np.mean([divergence(b, a) for a, b in zip(after, before, strict=True)])
            assert result.grid("effect").values[layer, head] == pytest.approx(effect, abs=1e-4)
            assert result.grid("kl").values[layer, head] == pytest.approx(kl, abs=1e-4)
    assert result.grid("metric_clean").values == pytest.approx(
        np.mean([difference(logits_of(text)) for text in PROMPTS]), abs=1e-4
    )


@pytest.mark.parametrize("budget", [1, 1 << 20, 1 << 30])
def test_the_numbers_do_not_depend_on_how_many_rows_share_a_forward(run, budget):
    reference = run("ablation", {}).grid("effect").values
    assert run("ablation", {}, budget_bytes=budget).grid("effect").values == pytest.approx(reference, abs=2e-5)


def test_parts_named_together_equal_the_same_cell_of_the_sweep(run):
    together = run("ablation", {"at": ["L1.z[head=2]"]})
    assert together.grid("effect").values == pytest.approx(run("ablation", {}).grid("effect").values[1, 2], abs=2e-5)
    assert together.grid("pattern_shift").values[:2] == pytest.approx(np.zeros((2, 4)))
    assert together.grid("pattern_shift").values[2].max() > 0


def test_distributions_before_and_after_list_the_same_tokens(run, logits_of):
    result = run("ablation", {"at": ["L1.z[head=2]"]}, prompts=PROMPTS[:1])
    before, after = result.grid("prob_clean"), result.grid("prob_ablated")
    assert before.coords == after.coords
    ids = list(before.coords["id"])
    clean, cut = logits_of(PROMPTS[0]).softmax(-1), logits_of(PROMPTS[0], 1, 2).softmax(-1)
    assert before.values == pytest.approx(clean[ids].numpy(), abs=1e-5)
    assert after.values == pytest.approx(cut[ids].numpy(), abs=1e-5)
    assert set(clean.topk(10).indices.tolist()) | set(cut.topk(10).indices.tolist()) == set(ids)


def test_a_layer_is_its_two_writes_and_a_position_is_a_layer_at_one_position(run):
    layer = run("ablation", {"over": "layer"}).grid("effect").values
    both = run("ablation", {"at": ["L1.attn_out", "L1.mlp_out"]}).grid("effect").values
    assert layer[1] == pytest.approx(both, abs=2e-5)
    last = run("ablation", {"over": "position"}, prompts=PROMPTS[:1]).grid("effect")
    place = last.values.shape[1] - 1
    at = {"at": [f"L2.attn_out[pos={place}]", f"L2.mlp_out[pos={place}]"]}
    assert last.values[2, place] == pytest.approx(
        run("ablation", at, prompts=PROMPTS[:1]).grid("effect").values, abs=2e-5
    )


def test_neurons_are_swept_in_the_layers_that_are_named(run, plain):
    effect = run("ablation", {"over": "neuron", "layers": [1]}, prompts=PROMPTS[:1]).grid("effect")
    assert effect.values.shape == (1, 48)
    ids = torch.tensor([BARE(PROMPTS[0])["input_ids"]])

    def cut(_, args):
        x = args[0].clone()
        x[..., 7] = 0
        return (x,)

    with torch.no_grad():
        clean = difference(plain(input_ids=ids).logits[0, -1])
        handle = plain.model.layers[1].mlp.down_proj.register_forward_pre_hook(cut)
        changed = difference(plain(input_ids=ids).logits[0, -1])
        handle.remove()
    assert effect.values[0, 7] == pytest.approx(changed - clean, abs=1e-4)
    with pytest.raises(SpecError, match="neurons is too long"):
        run("ablation", {"over": "neuron"})


def test_resampling_every_layer_input_from_the_pair_gives_the_pairs_metric(run, logits_of):
    clean = {"prompts": ["Mary went to the store"], "answers": [" Mary"], "foils": [" John"]}
    inputs = {"clean": clean, "corrupt": {"prompts": ["John went to the store"]}}
    result = run("ablation", {"kind": "resample", "at": ["L0.resid_pre"]}, inputs=inputs)
    expected = difference(logits_of("John went to the store")) - difference(logits_of("Mary went to the store"))
    assert result.grid("effect").values == pytest.approx(expected, abs=1e-4)


def test_the_loss_is_the_mean_surprisal_of_the_predicted_tokens(run, plain):
    values = []
    for text in PROMPTS:
        ids = torch.tensor([BARE(text)["input_ids"]])
        with torch.no_grad():
            values.append(float(plain(input_ids=ids, labels=ids).loss))
    result = run("ablation", {"metric": "loss", "over": "mlp"})
    assert result.grid("metric_clean").values == pytest.approx(np.mean(values), abs=1e-4)


def test_per_prompt_values_average_to_the_grid(run):
    result = run("ablation", {"per_prompt": True})
    by_prompt = result.grid("effect_by_prompt")
    assert by_prompt.dims == ("prompt", "layer", "head")
    assert by_prompt.values.mean(0) == pytest.approx(result.grid("effect").values, abs=1e-6)


def test_partial_maps_mark_what_is_not_measured_yet_and_cancel_stops_between_forwards(run, model):
    counts = set()
    batch = model.tokens(PromptSet(prompts=tuple(PROMPTS)))
    room = 2 * len(PROMPTS) * row_bytes(model.info, batch, everywhere=False)

    def watch(progress):
        if progress.partial is not None:
            counts.add(int(progress.partial.valid.sum()))
        if len(counts - {0}) == 2:
            raise Cancelled("cancelled")

    with pytest.raises(Cancelled):
        run("ablation", {}, progress=watch, budget_bytes=room)
    assert max(counts) < 12


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"at": ["L7.z[head=0]"]}, SiteMissing),
        ({"at": ["L0.z[head=4]"]}, SiteMissing),
        ({"at": []}, SpecError),
        ({"kind": "resample"}, InputError),
        ({"kind": "mean", "reference": "abc"}, InputError),
        ({"at": ["L0.z[pos=99]"]}, InputError),
    ],
)
def test_bad_parts_and_missing_inputs_are_refused(run, params, error):
    with pytest.raises(error) as caught:
        run("ablation", params)
    assert caught.value.hint


def test_the_mean_over_one_prompt_is_refused_because_it_changes_nothing(run):
    with pytest.raises(InputError, match="has one prompt"):
        run("ablation", {"kind": "mean", "over": "attn"}, prompts=PROMPTS[:1])


def test_a_metric_without_answers_says_what_to_add(run):
    with pytest.raises(InputError, match="logit difference needs answers"):
        run("ablation", {}, inputs={"clean": {"prompts": ["Mary went"]}})
    run("ablation", {"metric": "kl"}, inputs={"clean": {"prompts": ["Mary went"]}})


# -- key/value heads: four query heads over two of them


@pytest.mark.parametrize("site", ["k", "v"])
def test_c19_a_sweep_of_keys_or_values_has_one_column_per_key_value_head(run, site):
    effect = run("ablation", {"site": site}).grid("effect")
    assert effect.dims == ("layer", "kv_head") and effect.coords["kv_head"] == (0, 1)
    assert "key/value head 0 serves query heads 0–1 and key/value head 1 serves query heads 2–3" in effect.about
    assert run("ablation", {"site": site}).grid("kl").dims == ("layer", "kv_head")


def test_c19_values_of_zero_take_out_exactly_the_query_heads_that_share_them(run):
    swept = run("ablation", {"site": "v"}).grid("effect").values
    for layer in range(3):
        for kv_head in range(2):
            group = [f"L{layer}.z[head={2 * kv_head + member}]" for member in range(2)]
            both = run("ablation", {"at": group}).grid("effect").values
            assert swept[layer, kv_head] == pytest.approx(both, abs=2e-5)


def test_c19_keys_of_zero_spread_the_attention_of_their_group_evenly_and_leave_the_others(run, model):
    shift = run("ablation", {"at": ["L1.k[head=1]"]}, prompts=PROMPTS[:1])
    moved = shift.grid("pattern_shift").values
    assert not moved[0].any() and not moved[1, :2].any() and moved[1, 2:].all()
    assert "key/value head 1 serves query heads 2–3" in shift.grid("effect").about


@pytest.mark.parametrize("site", ["q", "pattern"])
def test_queries_and_patterns_are_swept_by_query_head(run, site):
    assert run("ablation", {"site": site}).grid("effect").dims == ("layer", "head")
    if site == "pattern":  # no attention at all moves no value: the same as z of zero
        assert run("ablation", {"site": site}).grid("effect").values == pytest.approx(
            run("ablation", {}).grid("effect").values, abs=2e-5
        )


def test_a_site_needs_a_sweep_over_heads(run):
    for params in ({"site": "k", "over": "mlp"}, {"site": "v", "at": ["L0.z"]}):
        with pytest.raises(SpecError, match="sweep over heads"):
            run("ablation", params)


def experiment(**params):
    clean = {"prompts": ["a"], "answers": [" Mary"], "foils": [" John"]}
    spec = {"model": "tiny", "inputs": {"clean": clean}, "analysis": "ablation", "params": params}
    return normalised(Experiment.model_validate(spec))


def test_the_usual_site_changes_no_identity_and_another_does():
    assert experiment().id == experiment(site="z").id != experiment(site="v").id
    assert "site" not in experiment().params and experiment(site="v").params["site"] == "v"


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, "Zero every head, one at a time"),
        ({"site": "k"}, "Zero the keys of every key/value head, one at a time"),
        ({"site": "q", "kind": "mean"}, "Mean-ablate the queries of every head, one at a time"),
        ({"over": "position"}, "Zero every layer at each position, one at a time"),
        ({"at": ["L1.v[head=1]", "L0.q[head=3]"]}, "Zero values of key/value head 1.1 and queries of head 0.3 on"),
        ({"at": ["L1.k[head=0,pos=2]"]}, "Zero keys of key/value head 1.0 at position 2 on"),
        ({"at": ["L1.k"]}, "Zero keys of all heads of layer 1 on"),
    ],
)
def test_an_ablation_says_whether_it_acts_on_query_heads_or_key_value_heads(params, words):
    assert sentence(experiment(**params)).startswith(words)


def test_a_key_value_head_names_the_query_heads_that_read_it():
    assert query_heads_in_words(1, 3) == "query heads 3–5"
    assert query_heads_in_words(4, 1) == "query head 4"
