"""Edits: identity, locality, clean-up, and rows that are independent worlds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from hooks.errors import InputError, SiteMissing
from hooks.interventions.base import Intervention
from hooks.interventions.mean import Mean
from hooks.interventions.patch import Patch
from hooks.interventions.zero import Zero
from hooks.plan import CapturePlan
from hooks.sites import SITES, Part, Site
from tests.laws.conftest import VARIANTS, ids_batch, opened

PROPERTY = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def parameters_sum(plain):
    return {name: value.double().sum().item() for name, value in plain.state_dict().items()}


def hook_counts(plain):
    return [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in plain.modules()]


def writable(model):
    return sorted(site for site in model.sites if model.proof.row(site.name).writable)


@st.composite
def parts(draw):
    """A model and a writable part of it, on 6 tokens."""
    variant = draw(st.sampled_from(sorted(VARIANTS)))
    model = opened(variant)[1]
    site = draw(st.sampled_from(writable(model)))
    fields = {}
    if site.kind.head_axis and draw(st.booleans()):
        fields["head"] = draw(st.integers(0, model.info.size(site.kind.head_axis) - 1))
    for axis in ("pos", "q_pos", "k_pos"):
        if axis in site.axes and draw(st.booleans()):
            fields[axis] = draw(st.integers(0, 5) | st.just("last") | st.just((1, 4)))
    return variant, Part(site, **fields)


@PROPERTY
@given(parts())
def test_patching_a_part_with_its_own_value_changes_nothing(chosen):
    """C16 a."""
    variant, part = chosen
    model = opened(variant)[1]
    batch = ids_batch(model, 6, 6)
    own = model.run(batch, CapturePlan.of(part.site)).activations
    patched = model.run(batch, edits=[Patch(at=part, source="own")], sources={"own": own})
    assert torch.equal(patched.logits, model.run(batch).logits)


@PROPERTY
@given(parts())
def test_an_edit_changes_nothing_upstream_and_nothing_it_did_not_address_at_its_site(chosen):
    variant, part = chosen
    model = opened(variant)[1]
    batch = ids_batch(model, 6)
    layered = [site for site in model.sites if site.kind.scope == "layer"]
    upstream = [site for site in layered if site.layer < (part.site.layer or 0)]
    plan = CapturePlan(sites=frozenset([*upstream, part.site]))
    clean, edited = model.run(batch, plan), model.run(batch, plan, [Zero(at=part)])
    for site in upstream:
        assert torch.equal(clean[site], edited[site])
    index = [slice(None)]
    for axis in part.site.axes[1:]:
        value = part.head if axis in ("head", "kv_head") else getattr(part, axis, None)
        value = 5 if value == "last" else value
        span = value if isinstance(value, tuple) else (value, (value or 0) + 1)
        index.append(slice(None) if value is None else slice(*span))
    expected = clean[part.site].clone()
    expected[tuple(index)] = 0
    assert torch.equal(edited[part.site], expected)


@PROPERTY
@given(st.sampled_from(sorted(VARIANTS)), st.lists(st.integers(0, 200), min_size=1, max_size=12), st.integers(3, 7))
def test_worlds_packed_in_one_forward_equal_single_runs(variant, picks, length):
    model = opened(variant)[1]
    batch = ids_batch(model, length, length - 1)
    sites = writable(model)
    worlds = [(Zero(at=Part(sites[pick % len(sites)])),) for pick in picks]
    packed = model.run_worlds(batch, worlds)
    assert_close(packed[0], model.run(batch).logits, rtol=1e-5, atol=1e-5)
    for world, logits in zip(worlds, packed[1:], strict=True):
        assert_close(logits, model.run(batch, edits=world).logits, rtol=1e-4, atol=2e-5)


def test_worlds_with_several_edits_at_several_layers_equal_single_runs(model, batch_of):
    batch = batch_of(6, 4)
    worlds = [
        (Zero(at=Part.parse("L1.z[head=1]")), Zero(at=Part.parse("L0.mlp_out[pos=2]"))),
        (Zero(at=Part.parse("embed[pos=last]")),),
        (Zero(at=Part.parse("L1.k[head=0]")), Mean(at=Part.parse("L0.z[head=3]"), over="positions")),
    ]
    sources = {"clean": model.run(batch, CapturePlan.of("L0.z")).activations}
    last = torch.tensor(batch.positions["last"])
    packed = model.run_worlds(batch, worlds, sources=sources, logits_at=last)
    for world, logits in zip(worlds, packed[1:], strict=True):
        alone = model.run(batch, edits=world, sources=sources).logits
        assert_close(logits[:, 0], alone[torch.arange(2), last], rtol=1e-4, atol=2e-5)


def test_zeroing_a_head_removes_exactly_its_write(model, batch_of):
    if model.info.norm != "pre":
        pytest.skip("head writes are not additive before a sandwich norm")
    batch = batch_of(6)
    base = model.run(batch, CapturePlan.of("L1.head_out", "L1.attn_out"))
    cut = model.run(batch, CapturePlan.of("L1.attn_out"), [Zero(at=Part.parse("L1.z[head=2]"))])
    assert_close(cut["L1.attn_out"], base["L1.attn_out"] - base["L1.head_out"][:, :, 2], rtol=1e-5, atol=1e-5)


def test_c17_with_all_heads_zeroed_attention_writes_its_bias_alone(model, batch_of):
    if model.info.norm != "pre":
        pytest.skip("a sandwich norm stands between the projection and the write")
    cut = model.run(batch_of(6), CapturePlan.of("L0.attn_out"), [Zero(at=Part.parse("L0.z"))])
    assert_close(cut["L0.attn_out"], model.weights.b_O(0).expand(1, 6, -1), rtol=0, atol=1e-6)


def test_c19_a_key_value_head_feeds_exactly_its_group_of_query_heads(model, batch_of):
    batch = batch_of(6)
    clean = model.run(batch, CapturePlan.of("L0.z"))["L0.z"]
    cut = model.run(batch, CapturePlan.of("L0.z"), [Zero(at=Part.parse("L0.v[head=0]"))])["L0.z"]
    group = model.info.n_heads // model.info.n_kv_heads
    changed = [head for head in range(model.info.n_heads) if not torch.equal(clean[:, :, head], cut[:, :, head])]
    assert changed == list(range(group))


def test_c16_patching_the_whole_stream_gives_the_other_runs_logits_and_leaves_other_rows(model, batch_of):
    clean, corrupt = batch_of(6, 6, seed=1), batch_of(6, 6, seed=2)
    source = {"clean": model.run(clean, CapturePlan.of("L1.resid_pre", "L1.z")).activations}
    whole = model.run(corrupt, edits=[Patch(at=Part.parse("L1.resid_pre"), source="clean")], sources=source).logits
    assert_close(whole, model.run(clean).logits, rtol=1e-5, atol=1e-5)
    one = model.run(corrupt, edits=[Patch(at=Part.parse("L1.z[head=0]"), source="clean")], sources=source).logits
    assert not torch.equal(one, model.run(corrupt).logits)


def test_an_edited_pattern_is_mixed_with_the_values_again(model, batch_of):
    batch = batch_of(6)
    edit = Zero(at=Part.parse("L0.pattern[head=1]"))
    run = model.run(batch, CapturePlan.of("L0.z", "L0.pattern"), [edit])
    assert run["L0.pattern"][:, 1].abs().max() == 0
    assert run["L0.z"][:, :, 1].abs().max() == 0
    assert run["L0.z"][:, :, 0].abs().max() > 0


def test_mean_ablation_sets_each_position_to_its_mean_over_prompts(model, batch_of):
    batch = batch_of(6, 6, 6)
    reference = model.run(batch, CapturePlan.of("L1.mlp_post")).activations
    edit = Mean(at=Part.parse("L1.mlp_post"))
    run = model.run(batch, CapturePlan.of("L1.mlp_post"), [edit], sources={"clean": reference})
    expected = sum(reference["L1.mlp_post"][i] for i in range(3)) / 3
    assert_close(run["L1.mlp_post"], expected.expand(3, -1, -1), rtol=1e-6, atol=1e-6)


def test_the_mean_over_positions_counts_no_padding(model, batch_of):
    batch = batch_of(6, 3)
    reference = model.run(batch, CapturePlan.of("L0.z")).activations
    edit = Mean(at=Part.parse("L0.z[head=1,pos=last]"), over="positions")
    run = model.run(batch, CapturePlan.of("L0.z"), [edit], sources={"clean": reference})
    z = reference["L0.z"][:, :, 1]
    expected = (z[0].sum(0) + z[1, :3].sum(0)) / 9
    assert_close(run["L0.z"][0, 5, 1], expected, rtol=1e-5, atol=1e-6)
    assert_close(run["L0.z"][1, 2, 1], expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(run["L0.z"][1, 1, 1], z[1, 1])


def test_c42_patching_between_prompts_of_different_length_is_refused_with_both_counts(model, batch_of):
    source = {"clean": model.run(batch_of(5), CapturePlan.of("L0.z")).activations}
    with pytest.raises(InputError, match=r"6 tokens here and 5 there"):
        model.run(batch_of(6), edits=[Patch(at=Part.parse("L0.z"), source="clean")], sources=source)


def test_a_mean_of_prompts_of_different_length_at_each_position_is_refused(model, batch_of):
    batch = batch_of(6, 4)
    source = {"clean": model.run(batch, CapturePlan.of("L0.z")).activations}
    with pytest.raises(InputError, match="equal length"):
        model.run(batch, edits=[Mean(at=Part.parse("L0.z"))], sources=source)


class Failing(Intervention):
    """An edit that breaks in the middle of a run."""

    kind: str = "failing"

    def edit(self, x, ctx):
        raise RuntimeError("broken edit")


class Misshapen(Failing):
    def edit(self, x, ctx):
        return torch.zeros(3, 1, 4, 1, 5, device=x.device)


@pytest.mark.parametrize("broken", [Failing, Misshapen])
def test_c14_nothing_of_a_run_outlives_it_even_when_an_edit_raises(plain, model, batch_of, broken):
    batch = batch_of(6)
    calls = []
    own = plain.get_output_embeddings().register_forward_hook(lambda *_: calls.append(1))
    try:
        before = hook_counts(plain), plain.config._attn_implementation, model.run(batch).logits
        with pytest.raises(RuntimeError):
            model.run(batch, CapturePlan(sites=model.sites), [broken(at=Part.parse("L1.z[head=0]"))])
        assert (hook_counts(plain), plain.config._attn_implementation) == before[:2]
        assert torch.equal(model.run(batch).logits, before[2])
        assert len(calls) == 2  # the broken run never reached the unembedding
    finally:
        own.remove()


def test_c18_c22_weights_registries_and_other_models_are_left_alone(plain, variant, batch_of, model):
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    from tests.laws.conftest import build

    other = build(variant, seed=5)
    batch = batch_of(6)
    with torch.no_grad():
        expected = other(input_ids=batch.ids).logits
    entries = {name: id(ALL_ATTENTION_FUNCTIONS[name]) for name in ALL_ATTENTION_FUNCTIONS.valid_keys()}
    weights = parameters_sum(plain)
    model.run(batch, CapturePlan(sites=model.sites), [Zero(at=Part.parse("embed[pos=0]")), Zero(at=Part.parse("L0.z"))])
    assert parameters_sum(plain) == weights
    assert {name: id(ALL_ATTENTION_FUNCTIONS[name]) for name in entries} == entries
    with torch.no_grad():
        assert torch.equal(other(input_ids=batch.ids).logits, expected)


def test_what_is_not_there_is_refused_by_name(model, batch_of):
    batch = batch_of(6)
    with pytest.raises(SiteMissing, match=r"L9\.z does not exist: this model has 2 layers"):
        model.run(batch, CapturePlan.of("L9.z"))
    with pytest.raises(SiteMissing, match=r"has 4 heads"):
        model.run(batch, edits=[Zero(at=Part.parse("L0.z[head=4]"))])
    with pytest.raises(SiteMissing, match=r"has \d+ units"):
        model.run(batch, edits=[Zero(at=Part.parse("L0.mlp_post[unit=9999]"))])
    with pytest.raises(SiteMissing, match="cannot be edited"):
        model.run(batch, edits=[Zero(at=Part.parse("logits"))])
    with pytest.raises(InputError, match="positions 0–5"):
        model.run(batch, edits=[Zero(at=Part.parse("L0.z[pos=6]"))])
    with pytest.raises(InputError, match="no position is called 'subject'"):
        model.run(batch, edits=[Zero(at=Part.parse("L0.z[pos=subject]"))])
    for name in SITES:
        if name not in model.proof.names():
            site = Site(name) if SITES[name].scope == "model" else Site(name, 0)
            with pytest.raises(SiteMissing, match="cannot be read"):
                model.run(batch, CapturePlan.of(site))
