"""What a model lacks is refused by name, for a reason in its mathematics or in its library."""

from __future__ import annotations

import re

import pytest

from hooks.errors import SiteMissing
from hooks.plan import CapturePlan, all_sites
from hooks.sites import SITES, Site
from tests.laws.conftest import opened, random_batch, sites_named

# Each word or phrase names a fact of the model or of the code that computes it.
FACTS = (
    "attention", "mixer", "mixture of experts", "MLP", "gate", "norm", "parallel blocks", "positions", "embed",
    "projection", "no module shows", "read-only", "convolution", "scaled and summed",
)  # fmt: skip
CROSS = {
    "cross_q",
    "cross_k",
    "cross_v",
    "cross_scores",
    "cross_pattern",
    "cross_z",
    "cross_head_out",
    "cross_attn_out",
}
ATTENTION = {
    "attn_in", "q", "k", "v", "q_rot", "k_rot", "scores", "pattern", "z", "head_out", "attn_out",
}  # fmt: skip
EXPERTS = {"router_logits", "router", "expert_post"}
OWN_CODE = {"q_rot", "k_rot", "scores"}
READ_ONLY = {"scores", "head_out", "cross_scores", "cross_head_out", "router_logits", "logits"}


def absent(model, stack="decoder"):
    """Kinds of sites that no layer of a stack has."""
    return {row.name for row in model.proof.rows if row.stack == stack and not row.readable}


def test_logits_are_the_unhooked_models_and_own_values_leave_them_so(model):
    assert model.proof.exact and model.proof.identity == 0.0


def test_every_site_was_proved_or_has_a_reason_that_names_a_fact(model):
    """A failed check is no reason: an error in our wiring must not read like a property of the model."""
    for row in model.proof.rows:
        assert row.readable or row.reason
        assert row.writable or row.reason
        assert not row.readable or row.error is not None
        assert "off by" not in row.reason and "changes the logits" not in row.reason, row
        assert not row.reason or any(fact in row.reason for fact in FACTS), row


def test_a_reason_is_said_when_an_absent_site_is_asked_for(model, batch_of):
    batch = batch_of(6)
    for site in sorted(all_sites(model.info).sites - model.sites):
        row = model.proof.row(site.name, site.stack)
        with pytest.raises(SiteMissing, match=re.escape(f"{site} cannot be read")) as refused:
            model.run(batch, CapturePlan.of(site))
        assert row.reason in refused.value.message


def test_what_is_readable_is_writable_but_for_what_follows_from_other_sites(model, variant):
    """And for patterns of three families whose own code shows a copy of what it goes on with."""
    copies = {"pattern"} if variant in ("falcon-multi-query", "falcon-new-decoder", "mpt") else set()
    for row in model.proof.rows:
        assert row.writable == (row.readable and row.name not in READ_ONLY | copies), row


# What each kind of model lacks, beside what its kind of block has not.
LACKS = {
    "bloom": OWN_CODE,
    "deberta-v2": OWN_CODE,
    "deepseek-v3": {"k"},
    "falcon-alibi": OWN_CODE,
    "falcon-h1": {"attn_out", "mixer_out"},
    "falcon-multi-query": OWN_CODE,
    "falcon-new-decoder": OWN_CODE,
    "gpt-neo": OWN_CODE,
    "mamba": ATTENTION | {"resid_mid", "mlp_in", "mlp_pre", "mlp_up", "mlp_post", "mlp_out"},
    "mpt": OWN_CODE,
}


def test_exactly_these_sites_are_absent(model, variant, plain):
    info, here = model.info, absent(model)
    expected = set(LACKS.get(variant, set()))
    expected |= set() if info.task == "seq2seq" else CROSS
    expected |= set() if info.n_experts else EXPERTS
    expected |= {"mlp_pre", "mlp_up", "mlp_post"} if variant in ("gpt-oss", "mixtral", "qwen3-moe") else set()
    expected |= {"resid_mid"} if info.parallel else set()
    expected |= {"mlp_up"} if not info.gated else set()
    expected |= set() if variant in ("mamba", "jamba") else {"mixer_out"}
    expected |= {"ln_final"} if info.norm == "post" else set()
    expected |= {"pos_embed"} if Site("pos_embed") not in model.sites else set()
    assert here == expected


LEARNED = {
    "bart", "bert", "bert-classifier", "bert-features", "clip", "distilbert", "distilbert-classifier", "gpt-neo",
    "gpt2", "opt", "roberta", "siglip", "whisper",
}  # fmt: skip


def test_position_embeddings_are_a_site_exactly_where_a_table_of_them_is_added(model, variant):
    assert (Site("pos_embed") in model.sites) == (variant in LEARNED)


def test_a_hybrid_gives_what_each_of_its_layers_has_and_says_why_the_others_have_not():
    model = opened("jamba")[1]
    with_attention, with_mixer = sites_named(model, "pattern", "z"), sites_named(model, "mixer_out")
    assert {site.layer for site in with_attention} == {1} and {site.layer for site in with_mixer} == {0}
    row = model.proof.row("pattern")
    assert row.layers == (1,) and "its mixer is mamba" in row.reason
    with pytest.raises(SiteMissing, match=r"L0\.pattern cannot be read in jamba: .*its mixer is mamba"):
        model.run(random_batch(model, 4), CapturePlan.of("L0.pattern"))


def test_a_state_space_model_has_its_streams_and_its_mixer():
    model = opened("mamba")[1]
    names = {site.name for site in model.sites}
    assert names == {"embed", "resid_pre", "mixer_out", "resid_post", "ln_final", "logits"}
    assert "this block has no attention: its mixer is mixer" in model.proof.row("z").reason


def test_attention_beside_a_mixer_keeps_its_heads_though_their_write_is_no_tensor():
    model = opened("falcon-h1")[1]
    assert sites_named(model, "pattern") and sites_named(model, "head_out")
    assert "scaled and summed before they are written" in model.proof.row("attn_out").reason


def test_every_kind_of_site_is_had_by_some_model_of_the_tests():
    models = [opened(name)[1] for name in ("t5-gated", "gpt2", "mixtral", "jamba", "llama")]
    assert {site.name for model in models for site in model.sites} == set(SITES)
