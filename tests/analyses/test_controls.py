"""The control of an ablation: random other parts of the same kind, measured here one by one."""

from __future__ import annotations

import numpy as np
import pytest

from analyses.controls import random_worlds
from hooks.interventions import parse_intervention
from hooks.interventions.zero import Zero
from hooks.sites import Part


def world(*parts):
    return tuple(Zero(at=Part.parse(part)) for part in parts)


def parts_of(found):
    return [tuple(edit.at for edit in drawn) for drawn in found]


def test_random_heads_are_of_the_same_layers_and_never_the_chosen_ones(model):
    found = parts_of(random_worlds(world("L0.z[head=1]", "L2.z[head=3]"), model, 8, seed=0))
    assert len(found) == len(set(map(frozenset, found))) == 8
    for first, second in found:
        assert (first.site.layer, second.site.layer) == (0, 2)
        assert first.head != 1 and second.head != 3


def test_when_a_layer_has_too_few_other_heads_other_layers_follow(model):
    found = parts_of(random_worlds(world("L1.z[head=0]"), model, 20, seed=0))
    layers = [part.site.layer for (part,) in found]
    # Three layers of four heads: three others in layer 1 first, then the eight of the other layers.
    assert len(found) == 11 and layers[:3] == [1, 1, 1] and sorted(layers[3:]) == [0] * 4 + [2] * 4


def test_a_whole_layer_of_heads_goes_to_heads_of_other_layers(model):
    every = world(*(f"L1.z[head={head}]" for head in range(4)))
    for drawn in parts_of(random_worlds(every, model, 5, seed=0)):
        assert len(set(drawn)) == 4 and all(part.site.layer != 1 for part in drawn)


def test_parts_without_an_index_move_to_another_layer_and_keep_their_positions(model):
    found = parts_of(random_worlds(world("L1.mlp_out[pos=last]"), model, 20, seed=0))
    assert sorted(map(str, (part for (part,) in found))) == ["L0.mlp_out[pos=last]", "L2.mlp_out[pos=last]"]


def test_neurons_and_the_kind_of_edit_are_kept(model):
    edit = parse_intervention({"kind": "patch", "at": "L0.mlp_post[unit=5]", "source": "corrupt"})
    (drawn,) = random_worlds((edit,), model, 1, seed=0)
    assert drawn[0].kind == "patch" and drawn[0].source == "corrupt"
    assert drawn[0].at.site == edit.at.site and drawn[0].at.unit != 5


def test_a_part_of_which_there_is_one_has_no_control(model, run):
    assert random_worlds(world("embed"), model, 20, seed=0) == ()
    assert not [name for name in run("ablation", {"at": ["embed"]}).grids if name.startswith("control")]


def test_the_seed_decides_the_draws(model):
    chosen = world("L1.z[head=0]", "L2.z[head=0]")
    assert random_worlds(chosen, model, 5, seed=0) == random_worlds(chosen, model, 5, seed=0)
    assert random_worlds(chosen, model, 5, seed=0) != random_worlds(chosen, model, 5, seed=1)


def test_the_control_of_named_parts_is_the_effect_of_each_set_that_it_names(run):
    result = run("ablation", {"at": ["L1.z[head=2]"], "controls": 6})
    control = result.grid("control")
    assert control.dims == ("draw",) and len(control.coords["parts"]) == 6
    effects = run("ablation", {}).grid("effect").values
    for value, name in zip(control.values, control.coords["parts"], strict=True):
        part = Part.parse(str(name))
        assert value == pytest.approx(effects[part.site.layer, part.head], abs=2e-5)
    low, high = np.percentile(control.values.astype(float), (2.5, 97.5))
    assert float(result.grid("control_low").values) == pytest.approx(low, abs=1e-6)
    assert float(result.grid("control_high").values) == pytest.approx(high, abs=1e-6)


def test_the_control_of_a_sweep_is_the_range_of_its_map_and_zero_switches_controls_off(run):
    result = run("ablation", {})
    low, high = np.percentile(result.grid("effect").values.astype(float), (2.5, 97.5))
    assert float(result.grid("control_low").values) == pytest.approx(low, abs=1e-6)
    assert float(result.grid("control_high").values) == pytest.approx(high, abs=1e-6)
    assert "all 12 parts of the map: a range over parts, not an interval" in result.grid("control_low").about
    for params in ({"controls": 0}, {"controls": 0, "at": ["L1.z[head=2]"]}):
        assert not [name for name in run("ablation", params).grids if name.startswith("control")]


def test_both_modes_have_the_interval_of_the_per_prompt_effects(run):
    prompts = ["Mary went to the store", "John went to the weather", "the store went", "to John to Mary"]
    sweep = run("ablation", {"per_prompt": True}, prompts=prompts)
    named = run("ablation", {"at": ["L1.z[head=2]"], "per_prompt": True, "controls": 0}, prompts=prompts)
    draws = np.random.default_rng(0).integers(0, 4, size=(1000, 4))
    each = sweep.grid("effect_by_prompt").values[:, 1, 2].astype(float)
    low, high = np.percentile(each[draws].mean(axis=1), (2.5, 97.5))
    for name, expected in (("effect_low", low), ("effect_high", high)):
        assert sweep.grid(name).values[1, 2] == pytest.approx(expected, abs=2e-5)
        assert float(named.grid(name).values) == pytest.approx(expected, abs=2e-5)
    assert sweep.grid("kl_low").values.shape == (3, 4)
