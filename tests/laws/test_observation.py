"""What is captured is what the unhooked model computes."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from hooks.errors import ModelError
from hooks.interventions.zero import Zero
from hooks.model import instrument
from hooks.plan import CapturePlan
from hooks.schedule import stack_of
from hooks.sites import Part, Site
from tests.laws import plainly
from tests.laws.conftest import build, opened, random_batch, sites_named


def mask_of(batch, site, axis):
    """[batch position] which positions of an axis are real."""
    return batch.side(stack_of(site, axis)).mask


def real_rows(pattern, batch, site):
    """[row k_pos] a pattern's rows of real queries, all heads and prompts together, and the keys that are real."""
    queries = mask_of(batch, site, "q_pos")[:, None].expand(-1, pattern.shape[1], -1)
    keys = mask_of(batch, site, "k_pos")[:, None, None].expand_as(pattern)
    return pattern[queries], keys[queries]


def patterns(model, batch):
    """Every pattern of a run, cross-attention's included."""
    sites = sites_named(model, "pattern", "cross_pattern")
    run = model.run(batch, CapturePlan.of(*sites))
    return {site: run[site] for site in sites}


def test_logits_with_every_site_captured_equal_the_unhooked_models_bit_for_bit(plain, model, batch_of):
    batch = batch_of(7, 5)
    run = model.run(batch, CapturePlan(sites=model.sites))
    expected = plainly.logits(plain, batch)
    assert torch.equal(run.logits, expected) and torch.equal(run["logits"], expected)


def test_c23_c25_streams_equal_plain_hooks_at_every_call_of_every_block(plain, model, batch_of):
    """With the batch's axis, whether a block returns a tensor or a tuple; and the last one before the final norm."""
    batch = batch_of(7, 5)
    run = model.run(batch, CapturePlan.of(*sites_named(model, "resid_pre", "resid_post")))
    seen = plainly.streams(plain, batch)
    assert {(site.stack, site.layer) for site in run.activations} == set(seen)
    for (stack, layer), (given, gave) in seen.items():
        assert given.shape == (2, batch.side(stack).ids.shape[1], model.info.stack(stack).d_model)
        assert torch.equal(run[Site("resid_pre", layer, stack)], given)
        assert torch.equal(run[Site("resid_post", layer, stack)], gave)


def test_what_is_captured_has_the_axes_of_its_site_in_the_sizes_that_the_info_states(model, batch_of):
    batch = batch_of(7, 5)
    for site, value in model.run(batch, CapturePlan(sites=model.sites)).activations.items():
        stack = model.info.stack(site.stack)
        sizes = {axis: batch.side(stack_of(site, axis)).ids.shape[1] for axis in ("pos", "q_pos", "k_pos")}
        if site.name == "logits":
            assert value.shape == (2, 1 if batch.single else sizes["pos"], model.info.d_vocab)
            continue
        known = sizes | {"batch": 2}
        expected = [known[axis] if axis in known else stack.size(axis, site.name) for axis in site.axes]
        assert list(value.shape) == expected, site


def test_patterns_equal_those_that_the_model_itself_returns(plain, model, batch_of):
    batch = batch_of(7, 5)
    ours = patterns(model, batch)
    for (stack, cross), returned in plainly.attentions(plain, batch).items():
        name = "cross_pattern" if cross else "pattern"
        mine = [ours[site] for site in sorted(ours) if (site.name, site.stack) == (name, stack)]
        assert len(mine) == len(returned)
        assert all(torch.equal(one, other) for one, other in zip(mine, returned, strict=True))


def test_c09_rows_of_real_queries_sum_to_one_and_look_at_no_padded_key(plain, model, batch_of):
    """A sink takes its share of a row: then the row sums to less. Nothing is NaN anywhere, padding included."""
    batch = batch_of(7, 5)
    sinks = plain.config.model_type == "gpt_oss"
    for site, pattern in patterns(model, batch).items():
        rows, keys = real_rows(pattern, batch, site)
        assert torch.isfinite(pattern).all()
        assert rows[~keys].abs().sum() == 0
        total = rows.sum(-1)
        assert (total < 1).all() if sinks else (total - 1).abs().max() < 1e-5
        assert (rows >= 0).all()


def test_c09_nothing_that_is_captured_is_nan_and_more_padding_changes_no_real_row(model, batch_of):
    if model.info.pixels is not None and model.info.task != "seq2seq":
        pytest.skip("images are never padded")
    little, much = batch_of(5, 6), batch_of(5, 9)
    for site, value in model.run(much, CapturePlan(sites=model.sites)).activations.items():
        assert torch.isfinite(value).all() or site.name.endswith("scores")
    before, after = patterns(model, little), patterns(model, much)
    for site in before:
        rows = little.side(site.stack).lengths[0]
        entropies = [
            torch.special.entr(pattern[0, :, :rows]).sum(-1).mean(-1) for pattern in (before[site], after[site])
        ]
        assert_close(*entropies, rtol=0, atol=1e-5)


def test_no_query_looks_ahead_exactly_where_the_stack_is_causal(model, batch_of):
    """C24: no causal triangle is assumed for an encoder."""
    batch = batch_of(7)
    for site, pattern in patterns(model, batch).items():
        if site.name == "pattern":
            looks_ahead = pattern.triu(1).abs().sum() > 0
            assert looks_ahead != model.info.stack(site.stack).causal


def test_causal_stacks_are_the_decoders_and_the_texts_of_clip(plain, model):
    both_ways = {"albert", "bert", "deberta-v2", "deit", "distilbert", "modernbert", "roberta", "siglip", "vit"}
    assert model.info.causal == (plain.config.model_type not in both_ways)
    assert not any(stack.causal for stack in model.info.stacks.values())


def test_c11_a_query_sees_exactly_the_keys_that_its_layers_window_holds(model, batch_of):
    batch = batch_of(10)
    for site, pattern in patterns(model, batch).items():
        stack = model.info.stack(site.stack)
        window = stack.windows[site.layer] if site.name == "pattern" else None
        queries, keys = torch.arange(pattern.shape[2])[:, None], torch.arange(pattern.shape[3])[None]
        seen = torch.ones(pattern.shape[2:], dtype=torch.bool)
        if site.name == "pattern" and stack.causal:
            seen &= keys <= queries
        if window is not None:
            seen &= (queries - keys).abs() < window
        assert torch.equal(pattern[0, 0] > 0, seen)


@pytest.mark.parametrize(
    ("name", "windows"),
    [
        ("gemma2", (3, None)),
        ("gemma3", (3, None)),
        ("gpt-neo", (None, 3)),
        ("gpt-oss", (3, None)),
        ("mistral", (3, 3)),
        ("modernbert", (None, 3)),
        ("llama", (None, None)),
    ],
)
def test_c11_windows_are_those_of_the_config(name, windows):
    assert opened(name)[1].info.windows == windows


# transformers 5.24: the fast kernel of Falcon leaves the ALiBi slopes out. Eager, the reference, has them.
KERNELS_THAT_DIFFER = {"falcon-alibi"}


def test_c10_a_model_with_a_fast_default_kernel_shows_its_patterns_and_keeps_its_logits(
    plain, model, variant, batch_of
):
    batch, sites = batch_of(6), sites_named(model, "pattern")
    with plainly.default_kernel(plain) as kernel:
        if kernel == "eager":
            pytest.skip("this family has no other kernel")
        fast = plainly.logits(plain, batch)
        run = model.run(batch, CapturePlan.of(*sites))
        assert plain.config._attn_implementation == kernel
    assert torch.equal(run.logits, plainly.logits(plain, batch))
    if variant not in KERNELS_THAT_DIFFER:
        assert_close(run.logits, fast, rtol=1e-4, atol=1e-4)
    for site in sites:
        assert run[site].shape[-2:] == (batch.side(site.stack).ids.shape[1],) * 2
        if model.info.stack(site.stack).causal:
            assert torch.equal(run[site], run[site].tril())


def test_c15_captures_are_copies_that_later_runs_do_not_touch(model, batch_of):
    batch = batch_of(6)
    clean = model.run(batch, CapturePlan(sites=model.sites)).activations
    before = {site: value.clone() for site, value in clean.items()}
    for site in sites_named(model, "resid_mid", "z", "resid_pre", "mlp_post", "mixer_out", "expert_post"):
        model.run(batch, CapturePlan.of(site), [Zero(at=Part(site))])
    assert all(torch.equal(clean[site], value) for site, value in before.items())
    assert not any(value.requires_grad for value in clean.values())
    assert len({value.untyped_storage().data_ptr() for value in clean.values()}) == len(clean)


def test_a_text_that_is_read_at_its_last_position_is_filled_up_as_in_training():
    """SigLIP sums a text up by its last position, padding or not: the same text must not depend on its neighbours."""
    model = opened("siglip")[1]
    batch = random_batch(model, 5, 8)
    assert model.info.reads_end and batch.lengths == (16, 16)
    assert set(batch.id_lists()[0][5:]) == {model.info.filler}
    assert not opened("clip")[1].info.reads_end


def test_a_prompt_alone_equals_the_same_prompt_in_a_padded_batch(model, batch_of):
    if model.info.pixels is not None and model.info.task not in ("seq2seq", "pairs"):
        pytest.skip("images are never padded")
    both, alone = batch_of(5, 8), batch_of(5)
    assert both.id_lists()[0] == alone.id_lists()[0]
    plan = CapturePlan(sites=frozenset(sites_named(model, "resid_post", "z", "cross_z", "mixer_out", "mlp_post")))
    padded, single = model.run(both, plan), model.run(alone, plan)
    assert_close(padded.logits[0, : single.logits.shape[1]], single.logits[0], rtol=1e-5, atol=1e-5)
    for site, value in single.activations.items():
        assert_close(padded[site][0, : value.shape[1]], value[0], rtol=1e-5, atol=1e-5)


def test_c12_training_mode_changes_no_number_and_is_given_back(plain, model, batch_of):
    """Dropout never acts under observation, and the caller's modes return: of single modules too, in either mode."""
    batch = batch_of(6)
    calm = model.run(batch).logits
    block = next(iter(plainly.blocks(plain).values()))[0]
    try:
        for train in (True, False):
            plain.train(train)
            block.train(not train)
            modes = [module.training for module in plain.modules()]
            assert torch.equal(model.run(batch).logits, calm)
            assert [module.training for module in plain.modules()] == modes
    finally:
        plain.eval()


def test_c07_one_token_attends_to_itself(model, batch_of):
    if model.info.pixels is not None and model.info.task != "seq2seq":
        pytest.skip("images have no single token")
    batch = batch_of(1)
    sinks = model.info.family == "gpt_oss"
    for site, pattern in patterns(model, batch).items():
        if site.stack == "decoder" and site.name == "pattern":
            assert pattern.shape[2:] == (1, 1)
            assert (pattern <= 1).all() if sinks else torch.equal(pattern, torch.ones_like(pattern))


def test_c24_patterns_of_both_stacks_and_of_cross_attention_have_their_own_axes():
    model = opened("t5")[1]
    batch = random_batch(model, 2, source=[4])
    shapes = {str(site): tuple(pattern.shape) for site, pattern in patterns(model, batch).items()}
    assert shapes == {
        **{f"encoder.L{layer}.pattern": (1, 4, 4, 4) for layer in range(2)},
        **{f"L{layer}.pattern": (1, 4, 2, 2) for layer in range(2)},
        **{f"L{layer}.cross_pattern": (1, 4, 2, 4) for layer in range(2)},
    }


def test_c24_each_call_of_a_shared_block_is_a_layer_of_its_own(plain):
    model = opened("albert")[1]
    batch = random_batch(model, 6)
    run = model.run(batch, CapturePlan.of("L*.pattern", "L*.mlp_post", "L*.resid_post"))
    for name in ("pattern", "mlp_post", "resid_post"):
        assert not torch.equal(run[Site(name, 0)], run[Site(name, 1)])
    cut = model.run(batch, CapturePlan.of("L0.mlp_post", "L1.mlp_post"), [Zero(at=Part.parse("L1.mlp_post"))])
    assert torch.equal(cut["L0.mlp_post"], run["L0.mlp_post"]) and cut["L1.mlp_post"].abs().max() == 0


def test_c24_a_model_without_blocks_is_refused_with_a_sentence():
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], image_size=16, num_channels=3)
    with pytest.raises(ModelError, match="has no list of blocks"):
        instrument(ResNetForImageClassification(config).eval())


def test_random_weights_are_large_enough_to_show_wrong_wiring(model, batch_of):
    """The laws mean nothing on a model whose sublayers write next to nothing."""
    sites = sites_named(model, "attn_out", "mlp_out", "mixer_out")
    run = model.run(batch_of(6), CapturePlan.of(*sites))
    assert all(value.abs().max() > 1e-2 for value in run.activations.values())


def test_two_builds_of_a_variant_are_the_same_model(variant):
    first, second = opened(variant)[0].state_dict(), build(variant).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
