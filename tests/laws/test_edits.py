"""Edits: identity, locality, clean-up, and rows that are independent worlds."""

from __future__ import annotations

import sys
from itertools import groupby

import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from hooks.errors import InputError, SiteMissing
from hooks.interventions.base import Intervention
from hooks.interventions.mean import Mean
from hooks.interventions.patch import Patch
from hooks.interventions.zero import Zero
from hooks.model import instrument
from hooks.plan import CapturePlan, all_sites
from hooks.prompts import IdsPrompt, PromptSet
from hooks.schedule import stack_of
from hooks.sites import Part, Site
from tests.laws import plainly
from tests.laws.conftest import VARIANTS, build, opened, random_batch, sites_named

PROPERTY = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
POSITIONS = ("pos", "q_pos", "k_pos")


def parameters_sum(plain):
    return {name: value.double().sum().item() for name, value in plain.state_dict().items()}


def hook_counts(plain):
    return [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in plain.modules()]


def writable(model):
    return sorted(model.writable)


def mixed_heads(model):
    """The stacks' z, cross-attention's too: what every model with attention has."""
    return sites_named(model, "z", "cross_z", writable=True)


@st.composite
def parts(draw):
    """A model and a writable part of it, on two prompts of equal length."""
    variant = draw(st.sampled_from(sorted(VARIANTS)))
    model = opened(variant)[1]
    site = draw(st.sampled_from(writable(model)))
    batch, stack = random_batch(model, 6, 6), model.info.stack(site.stack)
    fields = {}
    if site.kind.head_axis and draw(st.booleans()):
        fields["head"] = draw(st.integers(0, stack.size(site.kind.head_axis) - 1))
    if "expert" in site.axes and draw(st.booleans()):
        fields["expert"] = draw(st.integers(0, stack.size("expert") - 1))
    for axis in POSITIONS:
        # The keys of a cross-attention site along "k_pos" are the encoder's.
        if axis in site.axes and not (axis == "k_pos" and site.name in ("cross_k", "cross_v")) and draw(st.booleans()):
            length = batch.side(stack_of(site, axis)).lengths[0]
            fields[axis] = draw(st.integers(0, length - 1) | st.just("last") | st.just((1, 4)))
    return variant, batch, Part(site, **fields)


def test_c16_patching_every_writable_site_with_its_own_value_changes_nothing(model, batch_of):
    """Bit for bit: each kind of site in all layers of its stack at once, on prompts of unequal length."""
    batch = batch_of(6, 4)
    clean = model.run(batch, CapturePlan(sites=model.writable))
    by_kind = sorted(model.writable, key=lambda site: (site.name, site.stack, site.layer or 0))
    for kind, sites in groupby(by_kind, key=lambda site: (site.name, site.stack)):
        edits = [Patch(at=Part(site), source="own") for site in sites]
        patched = model.run(batch, edits=edits, sources={"own": clean.activations})
        assert torch.equal(patched.logits, clean.logits), kind


@PROPERTY
@given(parts())
def test_c16_patching_a_part_with_its_own_value_changes_nothing(chosen):
    variant, batch, part = chosen
    model = opened(variant)[1]
    own = model.run(batch, CapturePlan.of(part.site))
    patched = model.run(batch, edits=[Patch(at=part, source="own")], sources={"own": own.activations})
    assert torch.equal(patched.logits, own.logits)


@PROPERTY
@given(parts())
def test_an_edit_changes_nothing_upstream_and_nothing_it_did_not_address_at_its_site(chosen):
    variant, batch, part = chosen
    model = opened(variant)[1]
    layer = -1 if part.site.layer is None else part.site.layer
    own = [
        site for site in model.sites if site.layer is not None and site.layer < layer and site.stack == part.site.stack
    ]
    before = [site for site in model.sites if site.stack != part.site.stack and part.site.stack == "decoder"]
    if part.site.name == "ln_final":
        own = [site for site in model.sites if site.stack == part.site.stack and site.layer is not None]
    plan = CapturePlan(sites=frozenset([*own, *before, part.site]))
    clean, edited = model.run(batch, plan), model.run(batch, plan, [Zero(at=part)])
    for site in (*own, *before):
        assert torch.equal(clean[site], edited[site]), site
    expected = clean[part.site].clone()
    expected[indices(part, batch)] = 0
    assert torch.equal(edited[part.site], expected)


def indices(part, batch):
    """Where a part lies in the tensor of its site."""
    index = [slice(None)]
    for axis in part.site.axes[1:]:
        value = part.head if axis in ("head", "kv_head") else getattr(part, axis, None)
        value = batch.side(stack_of(part.site, axis)).lengths[0] - 1 if value == "last" else value
        span = value if isinstance(value, tuple) else (value, (value or 0) + 1)
        index.append(slice(None) if value is None else slice(*span))
    return tuple(index)


@PROPERTY
@given(parts())
def test_an_edit_of_one_world_leaves_the_clean_rows_as_they_were(chosen):
    variant, batch, part = chosen
    model = opened(variant)[1]
    clean, edited = model.run_worlds(batch, [(Zero(at=part),)]).logits
    assert_close(clean, model.run(batch).logits, rtol=1e-5, atol=1e-5)
    assert_close(edited, model.run(batch, edits=[Zero(at=part)]).logits, rtol=1e-4, atol=2e-5)


@settings(PROPERTY, max_examples=2)
@given(picks=st.lists(st.integers(0, 200), min_size=2, max_size=8), length=st.integers(3, 7))
@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_worlds_packed_in_one_forward_equal_single_runs(name, picks, length):
    model = opened(name)[1]
    batch = random_batch(model, length, length - 1)
    sites = writable(model)
    worlds = [(Zero(at=Part(sites[pick % len(sites)])),) for pick in picks]
    packed = model.run_worlds(batch, worlds).logits
    assert_close(packed[0], model.run(batch).logits, rtol=1e-5, atol=1e-5)
    for world, logits in zip(worlds, packed[1:], strict=True):
        # A tower whose last norm is zeroed has no direction, and its similarity is no number: alone as in company.
        assert_close(logits, model.run(batch, edits=world).logits, rtol=1e-4, atol=5e-5, equal_nan=True)


def test_as_many_rows_as_heads_or_positions_are_not_mistaken_for_them(model, batch_of):
    """A block is given tensors whose first axis is no batch: slopes by head, rotations by position."""
    for rows in (4, 6):
        batch = batch_of(*[6] * rows)
        world = (Zero(at=Part(Site("resid_post", model.info.n_layers - 1), pos=0)),)
        packed = model.run_worlds(batch, [world]).logits
        assert_close(packed[0], model.run(batch).logits, rtol=1e-5, atol=1e-5)
        assert_close(packed[1], model.run(batch, edits=world).logits, rtol=1e-4, atol=5e-5)


def test_worlds_with_several_edits_at_several_layers_equal_single_runs(model, batch_of):
    batch = batch_of(6, 4)
    early, late, streams = writable(model)[1], writable(model)[-2], sites_named(model, "resid_post", writable=True)
    worlds = [
        (Zero(at=Part(late)), Zero(at=Part(streams[0], pos=2))),
        (Zero(at=Part(streams[-1], pos="last")),),
        (Zero(at=Part(early)), Mean(at=Part(streams[0]), over="positions")),
    ]
    sources = {"clean": model.run(batch, CapturePlan.of(streams[0])).activations}
    packed = model.run_worlds(batch, worlds, sources=sources).logits
    for world, logits in zip(worlds, packed[1:], strict=True):
        assert_close(logits, model.run(batch, edits=world, sources=sources).logits, rtol=1e-4, atol=5e-5)
    if not batch.single:
        at = torch.tensor(batch.answer_at)
        answers = model.run_worlds(batch, worlds, sources=sources, logits_at=at).logits
        assert_close(answers[:, :, 0], packed[:, torch.arange(2), at], rtol=1e-4, atol=5e-5)


@pytest.mark.parametrize("cross", ["", "cross_"], ids=["self", "cross"])
def test_zeroing_a_head_removes_exactly_its_write(plain, model, batch_of, cross):
    """Where the projection's output is what is written: no norm, factor or mixer in between."""
    factor = getattr(plain.config, "residual_multiplier", 1.0)
    sites = [site for site in sites_named(model, f"{cross}attn_out") if model.info.norm != "sandwich"]
    for site in sites:
        z, heads = (Site(f"{cross}{name}", site.layer, site.stack) for name in ("z", "head_out"))
        batch = batch_of(6)
        base = model.run(batch, CapturePlan.of(heads, site))
        cut = model.run(batch, CapturePlan.of(site), [Zero(at=Part(z, head=2))])
        assert_close(cut[site], base[site] - factor * base[heads][:, :, 2], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cross", ["", "cross_"], ids=["self", "cross"])
def test_c17_with_all_heads_zeroed_attention_gives_its_bias_alone(plain, model, batch_of, cross):
    batch = batch_of(6)
    for z in sites_named(model, f"{cross}z"):
        projection = plainly.projection(plain, z.stack, z.layer, cross=bool(cross))
        gave = []
        handle = projection.register_forward_hook(lambda _, __, output, gave=gave: gave.append(output.clone()))
        try:
            model.run(batch, edits=[Zero(at=Part(z))])
        finally:
            handle.remove()
        raw = gave[z.layer if len(gave) > 1 else 0]
        bias = torch.zeros(raw.shape[-1]) if projection.bias is None else projection.bias
        assert_close(raw, bias.expand_as(raw), rtol=0, atol=1e-6)
        if not cross and z.stack == "decoder":
            assert torch.equal(model.weights.b_O(z.layer), bias.detach())


def test_c19_a_key_value_head_feeds_exactly_its_group_of_query_heads(model, batch_of):
    batch = batch_of(6)
    for value in sites_named(model, "v", "cross_v", writable=True):
        stack, z = model.info.stack(value.stack), Site(value.name.replace("v", "z"), value.layer, value.stack)
        clean = model.run(batch, CapturePlan.of(z))[z]
        for shared in range(stack.n_kv_heads):
            cut = model.run(batch, CapturePlan.of(z), [Zero(at=Part(value, head=shared))])[z]
            changed = [head for head in range(stack.n_heads) if not torch.equal(clean[:, :, head], cut[:, :, head])]
            assert changed == [head for head in range(stack.n_heads) if head // stack.group == shared]


def test_c16_the_whole_stream_of_another_run_gives_its_logits_and_a_part_gives_neither(model, batch_of):
    """In a model with an encoder both runs read the same: what a decoder reads beside its stream is not patched."""
    reads_source = model.info.task == "seq2seq"
    clean, corrupt = batch_of(6, 6, seed=1), batch_of(6, 6, seed=2)
    if reads_source or model.info.task == "pairs":
        corrupt = type(corrupt)(**{**vars(corrupt), "sides": clean.sides})
    stream = Site("resid_pre", 1)
    source = {"clean": model.run(clean, CapturePlan.of(stream)).activations}
    theirs, ours = model.run(clean).logits, model.run(corrupt).logits
    whole = model.run(corrupt, edits=[Patch(at=Part(stream), source="clean")], sources=source).logits
    assert_close(whole, theirs, rtol=1e-5, atol=1e-5)
    part = Part(stream, pos=1 if model.info.causal and model.info.task == "causal" else "last")
    one = model.run(corrupt, edits=[Patch(at=part, source="clean")], sources=source).logits
    assert not torch.equal(one, ours) and not torch.equal(one, theirs)


def test_c16_in_a_batch_only_the_chosen_row_changes(model, batch_of):
    batch = batch_of(6, 6)
    stream = Site("resid_post", 0)
    clean = model.run(batch, CapturePlan.of(stream)).activations

    class OneRow(Intervention):
        kind: str = "one-row"

        def edit(self, x, ctx):
            return torch.cat([torch.zeros_like(x[:1]), x[1:]])

    edited = model.run(batch, CapturePlan.of(stream), [OneRow(at=Part(stream))])
    assert torch.equal(edited[stream][1], clean[stream][1]) and edited[stream][0].abs().max() == 0
    unedited = model.run(batch).logits
    # An expert multiplies the tokens of all rows together, which rounds by their number.
    assert_close(edited.logits[1], unedited[1], rtol=1e-5, atol=1e-5)
    assert (edited.logits[0] - unedited[0]).abs().max() > 1e-3


@pytest.mark.parametrize("cross", ["", "cross_"], ids=["self", "cross"])
def test_an_edited_pattern_is_mixed_with_the_values_again(model, batch_of, cross):
    batch = batch_of(6)
    for pattern in sites_named(model, f"{cross}pattern", writable=True):
        z = Site(f"{cross}z", pattern.layer, pattern.stack)
        run = model.run(batch, CapturePlan.of(pattern, z), [Zero(at=Part(pattern, head=1))])
        assert run[pattern][:, 1].abs().max() == 0 and run[z][:, :, 1].abs().max() == 0
        assert run[z][:, :, 0].abs().max() > 0


def test_mean_ablation_sets_each_position_to_its_mean_over_prompts(model, batch_of):
    batch, site = batch_of(6, 6, 6), Site("resid_post", 0)
    reference = model.run(batch, CapturePlan.of(site)).activations
    run = model.run(batch, CapturePlan.of(site), [Mean(at=Part(site))], sources={"clean": reference})
    expected = sum(reference[site][i] for i in range(3)) / 3
    assert_close(run[site], expected.expand(3, -1, -1), rtol=1e-6, atol=1e-6)


def test_the_mean_over_positions_counts_no_padding(model, batch_of):
    batch = batch_of(6, 3)
    for site in [site for site in writable(model) if site.name in ("resid_post", "z", "cross_z", "mixer_out")]:
        reference = model.run(batch, CapturePlan.of(site)).activations
        edit = Mean(at=Part(site, pos="last"), over="positions")
        run = model.run(batch, CapturePlan.of(site), [edit], sources={"clean": reference})
        mask, was = batch.side(site.stack).mask, reference[site]
        for prompt, length in enumerate(batch.side(site.stack).lengths):
            assert_close(run[site][prompt, length - 1], was[mask].mean(0), rtol=1e-5, atol=1e-5)
            assert torch.equal(run[site][prompt, : length - 1], was[prompt, : length - 1])


def test_c42_patching_between_prompts_of_different_length_is_refused_with_both_counts(model, batch_of):
    if not varies(model):
        pytest.skip("every input has the same number of positions")
    site = Site("resid_post", 0)
    source = {"clean": model.run(batch_of(5), CapturePlan.of(site)).activations}
    with pytest.raises(InputError, match=r"6 tokens here and 5 there"):
        model.run(batch_of(6), edits=[Patch(at=Part(site), source="clean")], sources=source)


def test_a_mean_of_prompts_of_different_length_at_each_position_is_refused(model, batch_of):
    if not varies(model):
        pytest.skip("every input has the same number of positions")
    batch, site = batch_of(6, 4), Site("resid_post", 0)
    source = {"clean": model.run(batch, CapturePlan.of(site)).activations}
    with pytest.raises(InputError, match="equal length"):
        model.run(batch, edits=[Mean(at=Part(site))], sources=source)


def varies(model):
    """Whether prompts may have different numbers of positions in the main stack."""
    return model.info.n_positions is None and not model.info.reads_end


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
    """Hooks, kernels and switches are as before, logits too; a hook of the caller's keeps firing."""
    batch, calls, config = batch_of(6), [], plain.config
    first = next(iter(plainly.blocks(plain).values()))[0]
    own = first.register_forward_hook(lambda *_: calls.append(1))
    try:
        before = hook_counts(plain), config._attn_implementation, config._experts_implementation
        logits, fired = model.run(batch).logits, len(calls)
        last = Site("resid_pre", model.info.n_layers - 1)
        with pytest.raises(RuntimeError):
            model.run(batch, CapturePlan(sites=model.sites), [broken(at=Part(last))])
        assert (hook_counts(plain), config._attn_implementation, config._experts_implementation) == before
        assert torch.equal(model.run(batch).logits, logits)
        assert 2 * fired < len(calls) <= 3 * fired
    finally:
        own.remove()


def test_c18_c22_weights_registries_and_other_models_are_left_alone(plain, variant, batch_of, model):
    other, batch = build(variant, seed=5), batch_of(6)
    expected = plainly.logits(other, batch)
    entries = {name: id(ALL_ATTENTION_FUNCTIONS[name]) for name in ALL_ATTENTION_FUNCTIONS.valid_keys()}
    storages = {parameter.untyped_storage().data_ptr() for parameter in plain.parameters()}
    weights = parameters_sum(plain)
    edits = [Zero(at=Part(site)) for site in (writable(model)[0], writable(model)[-1])]
    model.run(batch, CapturePlan(sites=model.sites), edits)
    assert parameters_sum(plain) == weights
    assert {parameter.untyped_storage().data_ptr() for parameter in plain.parameters()} == storages
    assert {name: id(ALL_ATTENTION_FUNCTIONS[name]) for name in entries} == entries
    assert torch.equal(plainly.logits(other, batch), expected)


def test_what_is_not_there_is_refused_by_name(model, batch_of):
    batch, layers = batch_of(6), model.info.n_layers
    with pytest.raises(SiteMissing, match=rf"L9\.resid_pre does not exist: this model has {layers} layers"):
        model.run(batch, CapturePlan.of("L9.resid_pre"))
    with pytest.raises(SiteMissing, match=r"has \d+ units"):
        model.run(batch, edits=[Zero(at=Part.parse("L0.resid_post[unit=9999]"))])
    with pytest.raises(SiteMissing, match="cannot be edited"):
        model.run(batch, edits=[Zero(at=Part.parse("logits"))])
    with pytest.raises(InputError, match=r"positions 0–"):
        model.run(batch, edits=[Zero(at=Part.parse("L0.resid_post[pos=99]"))])
    with pytest.raises(InputError, match="no position is called 'subject'"):
        model.run(batch, edits=[Zero(at=Part.parse("L0.resid_post[pos=subject]"))])
    with pytest.raises(SiteMissing, match="no stack 'tower'"):
        model.run(batch, CapturePlan.of("tower.L0.z"))
    for z in mixed_heads(model)[:1]:
        with pytest.raises(SiteMissing, match=r"has 4 heads"):
            model.run(batch, edits=[Zero(at=Part(z, head=4))])
    for site in all_sites(model.info).sites - model.sites:
        with pytest.raises(SiteMissing, match="cannot be read"):
            model.run(batch, CapturePlan.of(site))


@settings(PROPERTY, max_examples=2)
@given(picks=st.lists(st.integers(0, 200), min_size=1, max_size=6), start=st.integers(1, 4))
@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_worlds_behind_the_clean_past_equal_worlds_on_whole_prompts(name, picks, start):
    """Only the positions from the first edit on run; those before are the clean prompts' keys and values."""
    model = opened(name)[1]
    if not model.tails:
        return
    batch = random_batch(model, 7, 5)
    sites = [site for site in writable(model) if "pos" in site.axes or "q_pos" in site.axes]
    worlds = [
        (Zero(at=Part(site, **{"q_pos" if "q_pos" in site.axes else "pos": (start, 5)})),)
        for site in (sites[pick % len(sites)] for pick in picks)
    ]
    at = torch.tensor(batch.answer_at)
    whole = model.run_worlds(batch, worlds, logits_at=at).logits
    tail = model.run_worlds(batch, worlds, logits_at=at, start=start, past=model.past(batch)).logits
    assert_close(tail, whole, rtol=1e-4, atol=5e-5)


def test_plain_decoders_run_behind_the_clean_past():
    for name in ("gpt2", "llama", "gemma2", "gpt-neox-parallel", "qwen3", "mixtral"):
        assert opened(name)[1].tails, name
    for name in ("bert", "t5", "mamba", "vit"):
        assert not opened(name)[1].tails, name


def test_a_recorded_world_has_the_values_of_a_run_alone(model, batch_of):
    batch = batch_of(6, 4)
    sites = sites_named(model, "resid_post", writable=True)
    worlds = [(Zero(at=Part(sites[-1], pos=1)),), (Zero(at=Part(sites[0], pos=1)),)]
    plan = CapturePlan(sites=frozenset(sites))
    found = model.run_worlds(batch, worlds, plan).activations
    alone = [model.run(batch, plan, world).activations for world in ((), *worlds)]
    for site in sites:
        assert_close(found[site], torch.stack([run[site] for run in alone]), rtol=1e-4, atol=5e-5)


@pytest.mark.parametrize("variant", ["gpt2", "llama"])
def test_c18_opening_a_model_replaces_nothing_in_the_librarys_code(variant):
    plain = build(variant, seed=3)
    code = [sys.modules[type(plain).__module__], transformers.modeling_utils, transformers.masking_utils]
    before = [dict(vars(module)) for module in code]
    methods = {id(module): type(module).forward for module in plain.modules()}
    other = instrument(plain)
    other.run(random_batch(other, 5), CapturePlan(sites=other.sites))
    assert [dict(vars(module)) for module in code] == before
    assert {id(module): type(module).forward for module in plain.modules()} == methods
    assert not any("forward" in vars(module) for module in plain.modules())


def test_c43_an_edit_at_the_first_position_is_of_that_position_of_every_prompt():
    model, stream = opened("gpt2")[1], Site("resid_pre", 1)
    batch, cut = random_batch(model, 6, 6, 6), (Zero(at=Part(stream, pos=0)),)
    clean, edited = (model.run(batch, CapturePlan.of(stream), edits) for edits in ((), cut))
    assert (edited[stream][:, 0] == 0).all() and torch.equal(edited[stream][:, 1:], clean[stream][:, 1:])
    assert int((edited[stream] == 0).sum()) == 3 * model.info.d_model
    for prompt, ids in enumerate(batch.id_lists()):
        alone = model.run(model.tokens(PromptSet(prompts=(IdsPrompt(ids=ids),))), edits=cut).logits[0]
        assert_close(edited.logits[prompt], alone, rtol=0, atol=1e-5)
