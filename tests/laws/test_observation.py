"""What is captured is what the unhooked model computes."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from hooks.plan import CapturePlan
from hooks.sites import Site

# Edges of modules, named by hand for each family, independent of the product's own tables.
BLOCKS = {
    "gpt2": "transformer.h",
    "gpt-neox-parallel": "gpt_neox.layers",
    "gpt-neox-sequential": "gpt_neox.layers",
    "opt": "model.decoder.layers",
}


def hidden(output):
    return output[0] if isinstance(output, tuple) else output


def eager(plain, batch, **options):
    with torch.no_grad():
        return plain(input_ids=batch.ids, attention_mask=batch.mask.long(), use_cache=False, **options)


def test_logits_with_every_site_captured_equal_the_unhooked_models_bit_for_bit(plain, model, batch_of):
    batch = batch_of(7, 5)
    everything = CapturePlan(sites=model.sites)
    assert torch.equal(model.run(batch, everything).logits, eager(plain, batch).logits)


def test_residual_streams_equal_those_of_plain_hooks_on_the_blocks(plain, model, variant, batch_of):
    batch = batch_of(7, 5)
    blocks = plain.get_submodule(BLOCKS.get(variant, "model.layers"))
    seen = {}
    handles = [
        block.register_forward_hook(lambda _, __, out, layer=layer: seen.update({layer: hidden(out).clone()}))
        for layer, block in enumerate(blocks)
    ]
    eager(plain, batch)
    for handle in handles:
        handle.remove()
    run = model.run(batch, CapturePlan.of("L*.resid_post", "L*.resid_pre", "embed"))
    for layer, expected in seen.items():
        assert run[f"L{layer}.resid_post"].shape == (2, 7, 32)
        assert torch.equal(run[f"L{layer}.resid_post"], expected)
    assert torch.equal(run["L1.resid_pre"], run["L0.resid_post"])


def test_patterns_equal_those_that_the_model_itself_returns(plain, model, batch_of):
    batch = batch_of(7, 5)
    attentions = eager(plain, batch, output_attentions=True).attentions
    run = model.run(batch, CapturePlan.of("L*.pattern"))
    for layer, expected in enumerate(attentions):
        assert torch.equal(run[Site("pattern", layer)], expected)


def test_rows_of_real_queries_sum_to_one_and_look_at_no_later_or_padded_key(model, batch_of):
    batch = batch_of(7, 5)
    run = model.run(batch, CapturePlan.of("L*.pattern"))
    for pattern in run.activations.values():
        assert torch.isfinite(pattern).all()
        assert torch.equal(pattern, pattern.tril())
        assert_close(pattern.sum(-1), torch.ones(pattern.shape[:-1]), rtol=0, atol=1e-5)
        assert pattern[1, :, :5, 5:].abs().max() == 0


def test_a_window_of_three_lets_each_query_of_a_local_layer_see_three_keys(model, batch_of):
    """C11: the count of keys is exact, and the model's info says which layers are local."""
    run = model.run(batch_of(10), CapturePlan.of("L*.pattern"))
    for layer, window in enumerate(model.info.windows):
        counts = (run[Site("pattern", layer)][0, 0] > 0).sum(-1).tolist()
        reach = window or 10
        assert counts == [min(q + 1, reach) for q in range(10)]


@pytest.mark.parametrize("name", ["gemma2", "gemma3", "mistral"])
def test_windows_are_those_of_the_config(name):
    from tests.laws.conftest import opened

    expected = {"gemma2": (3, None), "gemma3": (3, None), "mistral": (3, 3)}
    assert opened(name)[1].info.windows == expected[name]


def test_every_site_that_is_listed_was_proved_and_every_other_has_a_reason(model):
    assert model.proof.exact and model.proof.identity == 0.0
    for row in model.proof.rows:
        assert row.readable or row.reason
        assert row.writable or row.reason
        if row.readable:
            assert row.error is not None


def test_captures_are_copies_that_later_runs_do_not_touch(model, batch_of):
    """C15."""
    from hooks.interventions.zero import Zero
    from hooks.sites import Part

    batch = batch_of(6)
    clean = model.run(batch, CapturePlan(sites=model.sites)).activations
    before = {site: value.clone() for site, value in clean.items()}
    for site in ("L0.resid_mid", "L0.z", "L1.resid_pre", "L1.mlp_post"):
        if Site.parse(site) in model.sites:
            model.run(batch, CapturePlan.of(site), [Zero(at=Part.parse(site))])
    assert all(torch.equal(clean[site], value) for site, value in before.items())
    assert not any(value.requires_grad for value in clean.values())
    assert len({value.data_ptr() for value in clean.values()}) == len(clean)


def test_a_prompt_alone_equals_the_same_prompt_in_a_padded_batch(model, batch_of):
    both, alone = batch_of(5, 8), batch_of(5)
    assert both.id_lists()[0] == alone.id_lists()[0]
    plan = CapturePlan.of("L*.resid_post", "L*.z")
    padded, single = model.run(both, plan), model.run(alone, plan)
    assert_close(padded.logits[0, :5], single.logits[0], rtol=1e-5, atol=1e-5)
    for site, value in single.activations.items():
        assert_close(padded[site][0, :5], value[0], rtol=1e-5, atol=1e-5)


def test_training_mode_changes_no_number_and_is_given_back(plain, model, batch_of):
    """C12: dropout never acts under observation, and the caller's modes return."""
    batch = batch_of(6)
    calm = model.run(batch).logits
    plain.train()
    plain.lm_head.eval() if hasattr(plain, "lm_head") else None
    modes = [module.training for module in plain.modules()]
    try:
        assert torch.equal(model.run(batch).logits, calm)
        assert [module.training for module in plain.modules()] == modes
    finally:
        plain.eval()
