"""The parts of the residual stream sum to the whole, and heads to attention's output, in every stack."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch.testing import assert_close
from transformers import Gemma2Config, Gemma2ForCausalLM

from hooks.model import instrument
from hooks.plan import CapturePlan
from hooks.sites import Site
from tests.laws import plainly
from tests.laws.conftest import VARIANTS, build, opened, random_batch, sites_named

PARALLEL = {
    "cohere",
    "falcon-multi-query",
    "falcon-new-decoder",
    "gpt-neox-parallel",
    "gptj",
    "phi",
    "stablelm-parallel",
}
SANDWICH = {"gemma2", "gemma3", "olmo2"}
WRITES = ("attn_out", "mixer_out", "cross_attn_out", "mlp_out")


def captured(model, batch, *names):
    return model.run(batch, CapturePlan(sites=frozenset(sites_named(model, *names))))


def layers(model):
    return [
        (stack, layer) for stack in ("decoder", *model.info.stacks) for layer in range(model.info.stack(stack).n_layers)
    ]


def test_c20_each_block_adds_exactly_what_its_sublayers_write_in_its_own_order(plain, model, variant, batch_of):
    """A norm of the sum where blocks norm after it; one sum of all in parallel blocks."""
    run = captured(model, batch_of(7), "resid_pre", "resid_mid", "resid_post", *WRITES)
    norms = plainly.POST_NORMS.get(plain.config.model_type)
    for stack, layer in layers(model):
        written = [run[site] for name in WRITES if (site := Site(name, layer, stack)) in run.activations]
        start = "resid_mid" if variant == "falcon-h1" else "resid_pre"
        stream, after = run[Site(start, layer, stack)], run[Site("resid_post", layer, stack)]
        if variant in PARALLEL:
            orders = [sum(order[1:], start=order[0]) for order in permutations([stream, *written])]
            assert len(written) == 2 and any(torch.equal(order, after) for order in orders)
            continue
        alone, crossed = variant in ("mamba", "falcon-h1"), model.info.task == "seq2seq" and stack == "decoder"
        assert len(written) == (1 if alone else 3 if crossed else 2)
        for number, value in enumerate(written):
            stream = stream + value
            if norms is not None:
                stream = plainly.apply(plainly.block(plain, stack, layer).get_submodule(norms[stack][number]), stream)
        assert torch.equal(stream, after)


def test_the_next_stream_is_the_one_that_the_layer_before_left(model, batch_of):
    run = captured(model, batch_of(7), "resid_pre", "resid_post")
    for stack, layer in layers(model):
        if layer:
            assert torch.equal(run[Site("resid_pre", layer, stack)], run[Site("resid_post", layer - 1, stack)])


def test_c20_a_middle_stream_is_offered_exactly_where_blocks_are_sequential(plain, model, variant, batch_of):
    assert model.info.parallel == (variant in PARALLEL)
    without = variant in PARALLEL or variant == "mamba"
    assert bool(sites_named(model, "resid_mid")) == (not without)
    run = captured(model, batch_of(7), "resid_pre", "resid_mid", *WRITES)
    norms = plainly.POST_NORMS.get(plain.config.model_type)
    for site in sites_named(model, "resid_mid"):
        stream = run[Site("resid_pre", site.layer, site.stack)]
        before = [name for name in WRITES[:-1] if Site(name, site.layer, site.stack) in run.activations]
        for number, name in enumerate(before):
            stream = stream + run[Site(name, site.layer, site.stack)]
            if norms is not None:
                norm = plainly.block(plain, site.stack, site.layer).get_submodule(norms[site.stack][number])
                stream = plainly.apply(norm, stream)
        assert torch.equal(stream, run[site]) or variant == "falcon-h1"


def test_where_the_norms_stand_is_said_truly(plain, model, variant):
    post = plain.config.model_type in plainly.POST_NORMS
    assert model.info.norm == ("post" if post else "sandwich" if variant in SANDWICH else "pre")


@pytest.mark.parametrize("cross", [False, True], ids=["self", "cross"])
def test_c17_head_writes_and_the_bias_sum_to_the_projections_output(plain, model, batch_of, cross):
    batch, name = batch_of(7), "cross_head_out" if cross else "head_out"
    sites = sites_named(model, name)
    run = captured(model, batch, name)
    # Layers that share a block share its projection: its calls are theirs in order.
    projections = {
        (site.stack, site.layer): plainly.projection(plain, site.stack, site.layer, cross=cross) for site in sites
    }
    seen = plainly.outputs(plain, batch, {id(module): module for module in projections.values()})
    for site in sites:
        module = projections[site.stack, site.layer]
        raw = seen[id(module)].pop(0)
        bias = 0.0 if module.bias is None else module.bias
        assert_close(run[site].sum(2) + bias, raw.reshape(run[site].sum(2).shape), rtol=1e-5, atol=1e-5)


def test_weights_by_head_give_each_heads_write(model, batch_of):
    sites = [site for site in sites_named(model, "head_out") if site.stack == "decoder"]
    run = captured(model, batch_of(7), "z", "head_out")
    for site in sites:
        z = run[Site("z", site.layer)]
        write = torch.stack([z[:, :, head] @ model.weights.W_O(site.layer)[head] for head in range(z.shape[2])], dim=2)
        assert_close(write, run[site], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cross", ["", "cross_"], ids=["self", "cross"])
def test_patterns_times_values_give_z_with_grouped_heads_shared(model, batch_of, cross):
    run = captured(model, batch_of(7), f"{cross}pattern", f"{cross}v", f"{cross}z")
    for site in sites_named(model, f"{cross}v"):
        stack = model.info.stack(site.stack)
        pattern, v, z = (run[Site(f"{cross}{name}", site.layer, site.stack)] for name in ("pattern", "v", "z"))
        assert v.shape[2] == stack.n_kv_heads and z.shape[2] == stack.n_heads
        for head in range(stack.n_heads):
            shared = head // (stack.n_heads // stack.n_kv_heads)
            assert_close(pattern[:, head] @ v[:, :, shared], z[:, :, head], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cross", ["", "cross_"], ids=["self", "cross"])
def test_softmax_of_scores_is_the_pattern(plain, model, batch_of, cross):
    """A sink is one more score per head, whose share of a row goes to no key."""
    run = captured(model, batch_of(7), f"{cross}scores", f"{cross}pattern")
    for site in sites_named(model, f"{cross}scores"):
        scores, pattern = run[site], run[Site(f"{cross}pattern", site.layer, site.stack)]
        sinks = getattr(plainly.block(plain, site.stack, site.layer), "self_attn", None)
        if sinks is not None and (sinks := getattr(sinks, "sinks", None)) is not None:
            scores = torch.cat([scores, sinks[None, :, None, None].expand(*scores.shape[:-1], 1)], dim=-1)
        assert_close(scores.softmax(-1)[..., : pattern.shape[-1]], pattern, rtol=1e-5, atol=1e-6)


def test_embeddings_sum_to_the_first_residual_stream(plain, model, batch_of):
    """With what else is embedded, and through the norm of that sum where there is one."""
    family, run = plain.config.model_type, captured(model, batch_of(7), "embed", "pos_embed", "resid_pre")
    for stack in {site.stack for site in sites_named(model, "embed")}:
        parts = [run[site] for site in sites_named(model, "embed", "pos_embed") if site.stack == stack]
        total = sum(parts[1:], start=parts[0])
        if family in plainly.TOKEN_TYPES:
            total = total + plainly.part(plain, plainly.TOKEN_TYPES[family]).weight[0]
        if (path := plainly.EMBEDDING_NORMS.get(family, {}).get(stack)) is not None:
            total = plainly.apply(plainly.part(plain, path), total)
        assert_close(total, run[Site("resid_pre", 0, stack)], rtol=1e-5, atol=1e-5)


def test_c25_the_final_norm_of_the_raw_last_stream_gives_what_the_head_reads(plain, model, batch_of):
    batch = batch_of(7)
    path = plainly.FINAL_NORMS.get(plain.config.model_type, plainly.USUAL_FINAL_NORM)
    if path is None:
        assert Site("ln_final") not in model.sites
        return
    norm, last = plainly.part(plain, path), Site("resid_post", model.info.n_layers - 1)
    run = model.run(batch, CapturePlan.of(last, "ln_final"))
    assert torch.equal(plainly.outputs(plain, batch, {"norm": norm})["norm"][-1], run["ln_final"])
    assert torch.equal(plainly.apply(norm, run[last]), run["ln_final"])


def logits_of_the_head(plain, read):
    """A language model's head by arithmetic: unembedding, the family's multiplier, its soft-cap."""
    config = plain.config
    read = read * config.d_model**-0.5 if getattr(config, "scale_decoder_outputs", False) else read
    raw = plainly.apply(plain.get_output_embeddings(), read)
    raw = raw * config.logit_scale if config.model_type == "cohere" else raw
    raw = raw / config.logits_scaling if config.model_type == "granite" else raw
    raw = raw * config.lm_head_multiplier if config.model_type == "falcon_h1" else raw
    cap = getattr(config, "final_logit_softcapping", None)
    return raw if cap is None else cap * torch.tanh(raw / cap)


def test_c25_the_head_of_the_normed_last_stream_gives_the_logits(plain, model, batch_of):
    if model.info.task not in ("causal", "seq2seq"):
        pytest.skip("a head of another kind")
    last = f"L{model.info.n_layers - 1}.resid_post"
    read = "ln_final" if Site("ln_final") in model.sites else last
    run = model.run(batch_of(7), CapturePlan.of(read))
    bias = getattr(plain, "final_logits_bias", None)
    expected = logits_of_the_head(plain, run[read])
    assert_close(expected if bias is None else expected + bias, run.logits, rtol=1e-5, atol=1e-4)


def test_c21_caps_of_logits_and_scores_hold_where_they_bite():
    tiny = build("gemma2")
    given = {**VARIANTS["gemma2"].tiny["gemma2"], "final_logit_softcapping": 30.0, "attn_logit_softcapping": 50.0}
    config = Gemma2Config(**{**given, "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": 1})
    plain = Gemma2ForCausalLM._from_config(config, attn_implementation="eager").eval()
    plain.load_state_dict(tiny.state_dict(), strict=False)
    with torch.no_grad():
        plain.lm_head.weight.mul_(100)
        for block in plain.model.layers:
            block.self_attn.q_proj.weight.mul_(100)
    model = instrument(plain)
    batch = random_batch(model, 7)
    run = model.run(batch, CapturePlan.of("ln_final", "L*.scores", "L*.pattern", "L*.q_rot", "L*.k_rot"))
    assert torch.equal(run.logits, plainly.logits(plain, batch)) and run.logits.abs().max() == 30.0
    assert_close(logits_of_the_head(plain, run["ln_final"]), run.logits, rtol=1e-5, atol=1e-4)
    for layer in range(2):
        scores, pattern = run[Site("scores", layer)], run[Site("pattern", layer)]
        q, k = run[Site("q_rot", layer)], run[Site("k_rot", layer)].repeat_interleave(2, dim=2)
        raw = torch.einsum("bqhd,bkhd->bhqk", q, k) * config.query_pre_attn_scalar**-0.5
        seen = pattern > 0
        assert raw[seen].abs().max() > 50 and scores[seen].abs().max() <= 50
        assert_close(scores[seen], (50 * torch.tanh(raw / 50))[seen], rtol=1e-5, atol=1e-4)


def test_c19_query_and_key_value_heads_are_counted_truly(plain, model, batch_of):
    config = plain.config.get_text_config(decoder=True)
    n_kv = {"falcon-multi-query": 1, "falcon-new-decoder": 2}.get(
        model.name, getattr(config, "num_key_value_heads", None)
    )
    if not sites_named(model, "z"):
        assert model.info.n_heads == 0
        return
    assert model.info.n_heads == 4
    assert model.info.n_kv_heads == (n_kv or 4)
    run = captured(model, batch_of(5), "k", "v", "q", "z", "pattern")
    for site, value in run.activations.items():
        axis = site.kind.head_axis
        assert value.shape[site.axes.index(axis)] == model.info.stack(site.stack).size(axis)


def test_multipliers_of_what_is_written_are_part_of_what_is_written():
    """Granite scales what a sublayer gives before it adds it: attn_out is the scaled tensor."""
    plain, model = opened("granite")
    batch = random_batch(model, 6)
    raw = plainly.outputs(plain, batch, {0: plainly.projection(plain, "decoder", 0)})[0][0]
    written = model.run(batch, CapturePlan.of("L0.attn_out"))["L0.attn_out"]
    assert plain.config.residual_multiplier != 1.0
    assert torch.equal(written, raw * plain.config.residual_multiplier)
