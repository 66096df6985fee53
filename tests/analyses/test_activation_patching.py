"""Activation patching against plain hooks, and the equations that hold exactly."""

from __future__ import annotations

import re

import numpy as np
import pytest

from analyses.analysis import normalised, sentence
from analyses.bench import Bench
from analyses.execute import run_experiment
from analyses.experiment import Experiment
from hooks.errors import InputError, SpecError
from hooks.model import instrument
from hooks.tiny import build as tiny
from tests.analyses.by_hand import HEADS, LAYERS, VARIANTS, ByHand, put
from tests.analyses.pairs import CLEAN, CORRUPT, difference, runner

LENGTH = len(CLEAN[0])


@pytest.fixture(scope="module", params=VARIANTS)
def by_hand(request):
    return ByHand(request.param)


@pytest.fixture(scope="module")
def patch(by_hand):
    return runner(by_hand.model, "activation_patching")


@pytest.fixture(scope="module")
def grouped():
    return ByHand("llama")


@pytest.fixture(scope="module")
def llama(grouped):
    return runner(grouped.model, "activation_patching")


def recovery(by_hand, name, direction, cells):
    """Ratio of means over pairs, one cell at a time: cells map an index to (layer, keywords of `put`)."""
    runs, ends = {cell: [] for cell in cells}, {"clean": [], "corrupt": []}
    for n, (clean, corrupt) in enumerate(zip(CLEAN, CORRUPT, strict=True)):
        run, source = (corrupt, clean) if direction == "denoising" else (clean, corrupt)
        ends["clean"].append(difference(by_hand.run(clean)[0], n))
        ends["corrupt"].append(difference(by_hand.run(corrupt)[0], n))
        _, seen = by_hand.run(source, reads=[(name, layer) for layer in range(LAYERS)])
        for cell, (layer, where) in cells.items():
            writes = [(name, layer, put(seen[name, layer], **where))]
            runs[cell].append(difference(by_hand.run(run, writes)[0], n))
    clean, corrupt = np.mean(ends["clean"]), np.mean(ends["corrupt"])
    return {cell: (np.mean(values) - corrupt) / (clean - corrupt) for cell, values in runs.items()}


@pytest.mark.parametrize("site", ["resid_pre", "attn_out", "mlp_out"])
def test_a_map_over_positions_equals_hooks_one_position_at_a_time(by_hand, patch, site):
    direction = "noising" if site == "attn_out" else "denoising"
    grid = patch({"site": site, "over": ["layer", "pos"], "direction": direction}).grid("recovered")
    assert (grid.dims, grid.values.shape) == (("layer", "pos"), (LAYERS, LENGTH))
    assert grid.baseline == (1.0 if direction == "noising" else 0.0)
    cells = {(layer, pos): (layer, {"pos": pos}) for layer in (0, 2) for pos in (1, 2, LENGTH - 1)}
    for cell, expected in recovery(by_hand, site, direction, cells).items():
        assert grid.values[cell] == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("site", ["z", "q", "k", "v"])
def test_c19_a_map_over_heads_has_a_column_per_head_that_the_site_has(by_hand, patch, site):
    heads = HEADS if site in ("z", "q") else by_hand.kv_heads
    grid = patch({"site": site, "over": ["layer", "head"]}).grid("recovered")
    assert grid.dims == ("layer", "head" if site in ("z", "q") else "kv_head")
    cells = {(layer, head): (layer, {"head": head}) for layer in (0, 2) for head in range(heads)}
    assert grid.values.shape == (LAYERS, heads)
    for cell, expected in recovery(by_hand, site, "denoising", cells).items():
        assert grid.values[cell] == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_heads_at_single_positions_equal_hooks(by_hand, patch):
    grid = patch({"site": "z", "over": ["layer", "head", "pos"], "heads": [0, 3], "layers": [1]}).grid("recovered")
    cells = {(0, i, pos): (1, {"head": h, "pos": pos}) for i, h in enumerate((0, 3)) for pos in (1, LENGTH - 1)}
    for cell, expected in recovery(by_hand, "z", "denoising", cells).items():
        assert grid.values[cell] == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_c16_every_position_of_the_first_residual_recovers_all_exactly_and_an_own_activation_nothing(patch):
    whole = patch({"site": "resid_pre", "over": ["layer"], "layers": [0]})
    assert whole.grid("recovered").values == pytest.approx(np.ones(1), abs=1e-5)
    noised = patch({"site": "resid_pre", "over": ["layer"], "direction": "noising", "layers": [0]})
    assert noised.grid("recovered").values == pytest.approx(np.zeros(1), abs=1e-5)
    same = patch({"site": "z"}, corrupt=CLEAN)
    assert np.abs(same.grid("metric_run").values - same.grid("metric_clean").values).max() < 1e-5
    assert not same.grid("recovered").valid.any()
    assert "differ by less than 1e-6" in same.grid("recovered").about


def test_all_heads_of_a_layer_are_its_attention_output(patch):
    heads = patch({"site": "z", "over": ["layer"]}).grid("recovered").values
    assert heads == pytest.approx(patch({"site": "attn_out", "over": ["layer"]}).grid("recovered").values, abs=1e-5)


def test_single_neurons_and_patterns_are_patched_where_they_are_asked_for(llama):
    units = llama({"site": "mlp_post", "over": ["layer", "unit"], "layers": [2], "units": [5, 7]}).grid("metric_run")
    assert units.values.shape == (1, 2) and units.coords["unit"] == (5, 7)
    rows = llama({"site": "pattern", "over": ["layer", "head", "pos"], "layers": [0]}).grid("recovered")
    assert rows.dims == ("layer", "head", "q_pos")


def test_named_positions_serve_pairs_of_several_lengths(grouped, llama):
    clean, corrupt = [CLEAN[0], CLEAN[1][:-1]], [CORRUPT[0], CORRUPT[1][:-1]]
    named = {"subject": [1, 2]}
    with pytest.raises(InputError, match="5 to 6 tokens"):
        llama({"over": ["layer", "pos"]}, clean=clean, corrupt=corrupt)
    params = {"over": ["layer", "pos"], "positions": ["subject", "last"]}
    grid = llama(params, clean=clean, corrupt=corrupt, positions=named).grid("metric_run")
    assert grid.dims == ("layer", "position") and grid.coords["position"] == ("subject", "last")
    for layer in range(LAYERS):
        values = []
        for n, at in enumerate(named["subject"]):
            _, seen = grouped.run(clean[n], reads=[("resid_pre", layer)])
            writes = [("resid_pre", layer, put(seen["resid_pre", layer], pos=at))]
            values.append(difference(grouped.run(corrupt[n], writes)[0], n))
        assert grid.values[layer, 0] == pytest.approx(np.mean(values), rel=1e-4, abs=1e-4)


def test_both_runs_are_measured_with_the_clean_answers(grouped, llama):
    without, own = llama({"over": ["layer"]}), llama({"over": ["layer"]}, corrupt_answers=True)
    assert (without.grid("recovered").values == own.grid("recovered").values).all()
    expected = np.mean([difference(grouped.run(ids)[0], n) for n, ids in enumerate(CORRUPT)])
    assert without.grid("metric_corrupt").values == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_divergence_is_measured_from_the_clean_run_whichever_prompt_is_run(grouped, llama):
    grid = llama({"over": ["layer"], "layers": [0], "metric": "kl"})
    assert grid.grid("metric_clean").values == pytest.approx(0.0, abs=1e-7)
    values = []
    for clean, corrupt in zip(CLEAN, CORRUPT, strict=True):
        p, q = (grouped.run(ids)[0].double().log_softmax(-1) for ids in (clean, corrupt))
        values.append(float((p.exp() * (p - q)).sum()))
    assert grid.grid("metric_corrupt").values == pytest.approx(np.mean(values), rel=1e-4, abs=1e-4)
    assert grid.grid("recovered").values == pytest.approx([1.0], abs=1e-5)


def test_prompts_of_a_pair_must_be_equally_long_and_as_many(llama):
    with pytest.raises(InputError, match="pair 1: the clean prompt has 6 tokens, the corrupt one 5"):
        llama({}, corrupt=[CORRUPT[0], CORRUPT[1][:-1]])
    with pytest.raises(InputError, match="clean has 2 prompts and corrupt 1"):
        llama({}, corrupt=CORRUPT[:1])


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"site": "resid_pre", "over": ["layer", "head"]}, "has no axis head"),
        ({"over": ["pos"]}, "layer"),
        ({"site": "mlp_post", "over": ["layer", "unit"]}, "needs layers"),
        ({"site": "z", "positions": ["last"]}, "add it to over"),
    ],
)
def test_maps_that_make_no_sense_are_refused(llama, params, words):
    with pytest.raises(SpecError, match=words):
        llama(params)


def test_the_map_fills_while_it_runs_and_the_numbers_do_not_depend_on_the_packing(llama):
    seen = []
    small = llama({"site": "z"}, budget_bytes=1, progress=lambda step: seen.append(step.partial))
    assert small.grid("recovered").values == pytest.approx(llama({"site": "z"}).grid("recovered").values, abs=2e-5)
    counts = [grid.values.size if grid.valid is None else int(grid.valid.sum()) for grid in seen if grid is not None]
    assert counts == sorted(counts) and counts[0] < counts[-1] == LAYERS * HEADS
    assert {grid.name for grid in seen if grid is not None} == {"recovered"}


def test_intervals_and_each_prompt_come_beside_the_map(llama):
    result = llama({"site": "z", "per_prompt": True})
    low, high = result.grid("recovered_low").values, result.grid("recovered_high").values
    value = result.grid("recovered").values
    assert (low <= value + 1e-6).all() and (value <= high + 1e-6).all()
    assert result.grid("recovered_by_prompt").dims == ("prompt", "layer", "head")
    by_prompt = result.grid("metric_run_by_prompt").values
    assert by_prompt.mean(0) == pytest.approx(result.grid("metric_run").values, abs=1e-6)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, "Patch the clean residual stream before the block into 1 prompt of the corrupt set, at each position of"),
        ({"site": "k", "direction": "noising", "layers": [1, 2]},
         "Patch the corrupt keys into 1 prompt of the clean set, at each key/value head of layers 1 and 2, one at"),
    ],
)  # fmt: skip
def test_an_experiment_says_what_is_copied_where(params, words):
    clean = {"prompts": ["a"], "answers": [" Mary"], "foils": [" John"]}
    inputs = {"clean": clean, "corrupt": {"prompts": ["b"]}}
    spec = {"model": "tiny", "inputs": inputs, "analysis": "activation_patching", "params": params}
    assert sentence(normalised(Experiment.model_validate(spec))).startswith(words)


def test_asking_for_heads_of_keys_is_asking_for_key_value_heads():
    def key(over):
        inputs = {"clean": {"prompts": ["a"]}, "corrupt": {"prompts": ["b"]}}
        spec = {"model": "tiny", "inputs": inputs, "analysis": "activation_patching"}
        return normalised(Experiment.model_validate({**spec, "params": {"site": "k", **over}})).id

    assert key({"over": ["layer", "head"]}) == key({"over": ["layer", "kv_head"]}) == key({})


def test_an_encoder_and_the_attention_to_it_are_patched_too():
    plain = tiny("t5")
    model, rows = instrument(plain, name="t5"), {"targets": [{"ids": [5, 9]}]}
    inputs = {"clean": {"prompts": [{"ids": [7, 11, 30, 2]}], "answers": [{"id": 4}], **rows}}
    inputs["corrupt"] = {"prompts": [{"ids": [7, 44, 30, 2]}], **rows}

    def recovered(**params):
        spec = {"model": "t5", "inputs": inputs, "analysis": "activation_patching"}
        experiment = Experiment.model_validate({**spec, "params": {"metric": "logprob", **params}})
        return run_experiment(experiment, Bench(model, experiment)).grid("recovered")

    # The prompts differ in what the encoder reads: its first residual, or all that the decoder takes from it, is all.
    assert recovered(stack="encoder", over=["layer"]).values[0] == pytest.approx(1.0, rel=1e-4, abs=1e-4)
    keys = recovered(site="cross_v", over=["layer", "pos"])
    assert keys.dims == ("layer", "k_pos") and keys.coords["k_pos"] == (0, 1, 2, 3)
    heads, whole = recovered(site="cross_z", over=["layer"]), recovered(site="cross_attn_out", over=["layer"])
    assert heads.values == pytest.approx(whole.values, rel=1e-4, abs=1e-4)


def test_the_range_of_all_cells_stands_beside_the_map(llama):
    result = llama({"site": "z"})
    low, high = (float(result.grid(f"control_{end}").values) for end in ("low", "high"))
    assert [low, high] == pytest.approx(np.percentile(result.grid("recovered").values, [2.5, 97.5]), abs=1e-5)


def test_a_map_of_chosen_parts_is_compared_with_random_parts_that_are_not_on_it(grouped, llama):
    params = {"site": "z", "over": ["layer", "head"], "layers": [1], "heads": [0, 2]}
    result = llama({**params, "controls": 5})
    control = result.grid("control")
    assert control.dims == ("draw",) and control.values.shape == (5,)
    places = [re.fullmatch(r"L(\d+)\.z\[head=(\d+)\]", name).groups() for name in control.coords["parts"]]
    drawn = {(int(layer), int(head)) for layer, head in places}
    assert len(drawn) == 5 and not drawn & {(1, 0), (1, 2)}
    cells = {place: (place[0], {"head": place[1]}) for place in drawn}
    expected = recovery(grouped, "z", "denoising", cells)
    for (layer, head), value in zip(places, control.values, strict=True):
        assert value == pytest.approx(expected[int(layer), int(head)], rel=1e-4, abs=1e-4)
    low, high = (float(result.grid(f"control_{end}").values) for end in ("low", "high"))
    assert [low, high] == pytest.approx(np.percentile(control.values, [2.5, 97.5]), abs=1e-5)
    plain = llama({**params, "controls": 0})
    assert "control" not in plain.grids
    for name in ("recovered", "metric_run"):
        assert result.grid(name).values == pytest.approx(plain.grid(name).values, abs=1e-5)


def test_a_map_that_has_every_part_is_its_own_comparison(llama):
    result = llama({"site": "resid_pre", "over": ["layer", "pos"], "layers": list(range(LAYERS))})
    assert "control" not in result.grids and "control_low" in result.grids
