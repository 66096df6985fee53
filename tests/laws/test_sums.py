"""The parts of the residual stream sum to the whole, and heads to attention's output."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from hooks.plan import CapturePlan
from hooks.sites import Site

OUTPUT_PROJECTIONS = {
    "gpt2": "transformer.h.{}.attn.c_proj",
    "gpt-neox-parallel": "gpt_neox.layers.{}.attention.dense",
    "gpt-neox-sequential": "gpt_neox.layers.{}.attention.dense",
    "opt": "model.decoder.layers.{}.self_attn.out_proj",
    "phi": "model.layers.{}.self_attn.dense",
}


def projection(plain, variant, layer):
    return plain.get_submodule(OUTPUT_PROJECTIONS.get(variant, "model.layers.{}.self_attn.o_proj").format(layer))


def raw_attention(plain, variant, layer, model, batch):
    """The output projection's own output in a plain run, by a hook of the test's."""
    seen = []
    handle = projection(plain, variant, layer).register_forward_hook(lambda _, __, out: seen.append(out.clone()))
    with torch.no_grad():
        plain(input_ids=batch.ids, attention_mask=batch.mask.long(), use_cache=False)
    handle.remove()
    return seen[0]


def test_each_block_adds_exactly_what_attention_and_the_mlp_write(model, batch_of):
    run = model.run(batch_of(7), CapturePlan.of("L*.resid_pre", "L*.resid_post", "L*.attn_out", "L*.mlp_out"))
    for layer in range(model.info.n_layers):
        before, after = run[Site("resid_pre", layer)], run[Site("resid_post", layer)]
        attn, mlp = run[Site("attn_out", layer)], run[Site("mlp_out", layer)]
        if model.info.parallel:
            assert_close(before + attn + mlp, after, rtol=1e-5, atol=1e-5)
        else:
            assert torch.equal((before + attn) + mlp, after)


def test_c20_a_middle_stream_is_offered_exactly_where_blocks_are_sequential(model, variant, batch_of):
    parallel = variant in ("gpt-neox-parallel", "phi")
    assert model.info.parallel == parallel
    assert (Site("resid_mid", 0) in model.sites) == (not parallel)
    if not parallel:
        run = model.run(batch_of(7), CapturePlan.of("L1.resid_pre", "L1.attn_out", "L1.resid_mid"))
        assert torch.equal(run["L1.resid_pre"] + run["L1.attn_out"], run["L1.resid_mid"])


def test_c17_head_writes_and_the_bias_sum_to_the_projections_output(plain, model, variant, batch_of):
    batch = batch_of(7)
    run = model.run(batch, CapturePlan.of("L*.head_out"))
    for layer in range(model.info.n_layers):
        total = run[Site("head_out", layer)].sum(2) + model.weights.b_O(layer)
        assert_close(total, raw_attention(plain, variant, layer, model, batch), rtol=1e-5, atol=1e-5)


def test_patterns_times_values_give_z_with_grouped_heads_shared(model, batch_of):
    run = model.run(batch_of(7), CapturePlan.of("L*.pattern", "L*.v", "L*.z"))
    for layer in range(model.info.n_layers):
        pattern, v, z = (run[Site(name, layer)] for name in ("pattern", "v", "z"))
        for head in range(model.info.n_heads):
            shared = head // (model.info.n_heads // model.info.n_kv_heads)
            assert_close(pattern[:, head] @ v[:, :, shared], z[:, :, head], rtol=1e-5, atol=1e-5)


def test_softmax_of_scores_is_the_pattern(model, batch_of):
    run = model.run(batch_of(7), CapturePlan.of("L*.scores", "L*.pattern"))
    for layer in range(model.info.n_layers):
        assert_close(run[Site("scores", layer)].softmax(-1), run[Site("pattern", layer)], rtol=1e-5, atol=1e-6)


def test_embeddings_sum_to_the_first_residual_stream(model, batch_of):
    plan = CapturePlan(sites=frozenset(site for site in model.sites if site.name in ("embed", "pos_embed")))
    run = model.run(batch_of(7), CapturePlan(sites=plan.sites | {Site("resid_pre", 0)}))
    assert torch.equal(sum(run[site] for site in plan.sites), run["L0.resid_pre"])
