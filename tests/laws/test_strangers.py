"""Families that the project has no file for open with no change of code, and the laws hold for them.

They are drawn by `random.Random(2026)` from the text families of the library that build small from their config, plus
some of kinds that the draw missed. Each is built with the sizes below under whatever names its config knows.
"""

from __future__ import annotations

import random
from functools import lru_cache

import pytest
import torch
import transformers
from torch.testing import assert_close
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)

from hooks.errors import ModelError
from hooks.interventions.patch import Patch
from hooks.interventions.zero import Zero
from hooks.model import instrument
from hooks.plan import CapturePlan
from hooks.schedule import stack_of
from hooks.sites import Part, Site
from hooks.tiny import variants
from tests.laws import plainly
from tests.laws.conftest import random_batch, sites_named

SIZES = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embedding_size"), 32),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers"), 2),
    **dict.fromkeys(("encoder_layers", "decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads", "attention_heads"), 4),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "d_ff", "n_inner"), 48),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "vocab_size"), 64),
    **dict.fromkeys(("head_dim", "d_kv"), 8),
    **dict.fromkeys(("num_experts", "num_local_experts"), 4),
    **{"num_key_value_heads": 2, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "sliding_window": 3},
    **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 0},
}  # fmt: skip
CLASSES = {
    **MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    **MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    **MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
}
# Text families without a file of their own that build from SIZES with less than three million parameters.
POOL = (
    "afmoe", "apertus", "biogpt", "blenderbot", "camembert", "ctrl", "data2vec-text", "deberta", "electra", "ernie",
    "exaone4", "glm", "glm4", "gpt_bigcode", "granitemoe", "helium", "marian", "mbart", "megatron-bert", "minimax_m2",
    "ministral3", "mpnet", "mt5", "nemotron", "olmo3", "olmoe", "openai-gpt", "pegasus", "persimmon", "rembert",
    "solar_open", "tapas", "umt5", "xglm", "xlm-roberta",
)  # fmt: skip
DRAWN = tuple(random.Random(2026).sample(POOL, 3))
ALSO = ("ctrl", "deberta", "lfm2", "llama4_text", "mt5", "olmo3", "openai-gpt", "xglm")
STRANGERS = tuple(dict.fromkeys((*DRAWN, *ALSO)))


def build(family):
    """A random model of a family from its config's own defaults, with as many of SIZES as it knows."""
    default = AutoConfig.for_model(family)
    aliases = default.attribute_map
    known = {name for name in {*default.to_dict(), *aliases} if aliases.get(name) not in SIZES}
    config = AutoConfig.for_model(family, **{name: size for name, size in SIZES.items() if name in known})
    torch.manual_seed(0)
    model = getattr(transformers, CLASSES[family])._from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.2) if parameter.ndim >= 2 else parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@lru_cache(maxsize=len(STRANGERS))
def opened(family):
    plain = build(family)
    return plain, instrument(plain, name=family)


@pytest.fixture(params=STRANGERS)
def variant(request):
    return request.param


@pytest.fixture
def plain(variant):
    return opened(variant)[0]


@pytest.fixture
def model(variant):
    return opened(variant)[1]


@pytest.fixture
def batch(model):
    return random_batch(model, 7, 5)


def test_they_have_no_file_in_the_project():
    assert not {architecture.family for architecture in variants().values()} & {*POOL, *ALSO}


def test_a_stranger_opens_exactly_or_says_what_is_not_its(model):
    assert model.proof.exact and model.proof.identity == 0.0
    for row in model.proof.rows:
        assert row.readable or row.reason
        assert "off by" not in row.reason and "changes the logits" not in row.reason, row
    assert {"resid_pre", "resid_post", "logits"} <= model.proof.names()


def test_a_strangers_logits_are_its_own_with_everything_captured(plain, model, batch):
    run = model.run(batch, CapturePlan(sites=model.sites))
    assert torch.equal(run.logits, plainly.logits(plain, batch))


def test_a_strangers_streams_are_the_hidden_states_that_it_returns(plain, model, batch):
    """All but the last, which the library returns after the final norm."""
    output = plainly.call(plain, batch, output_hidden_states=True)
    for stack in ("decoder", *model.info.stacks):
        name = f"{stack}_hidden_states" if plain.config.is_encoder_decoder else "hidden_states"
        run = model.run(batch, CapturePlan(sites=frozenset(sites_named(model, "resid_pre"))))
        for layer in range(model.info.stack(stack).n_layers):
            assert torch.equal(run[Site("resid_pre", layer, stack)], output[name][layer])


def test_a_strangers_writes_sum_to_its_streams_where_no_norm_is_in_between(model, batch):
    run = model.run(batch, CapturePlan(sites=model.sites))
    writes = ("attn_out", "mixer_out", "cross_attn_out", "mlp_out")
    for site in sites_named(model, "resid_post") if model.info.norm != "post" else ():
        here = [Site(name, site.layer, site.stack) for name in writes]
        total = run[Site("resid_pre", site.layer, site.stack)]
        for write in (run[one] for one in here if one in model.sites):
            total = total + write
        if sum(one in model.sites for one in here) >= 2:
            assert_close(total, run[site], rtol=1e-5, atol=1e-5)


def test_a_strangers_patterns_mix_its_values_and_see_no_padding(model, batch):
    run = model.run(batch, CapturePlan(sites=model.sites))
    for site in sites_named(model, "pattern", "cross_pattern"):
        pattern, cross = run[site], "cross_" if site.name.startswith("cross_") else ""
        keys = batch.side(stack_of(site, "k_pos")).mask
        queries = batch.side(stack_of(site, "q_pos")).mask
        rows = pattern.transpose(1, 2)[queries]
        assert_close(rows.sum(-1), torch.ones(rows.shape[:-1]), rtol=0, atol=1e-5)
        assert (pattern * ~keys[:, None, None])[queries[:, None].expand(pattern.shape[:3])].abs().max() < 1e-6
        v, z = (Site(f"{cross}{name}", site.layer, site.stack) for name in ("v", "z"))
        if v in model.sites and z in model.sites:
            values = run[v].repeat_interleave(run[z].shape[2] // run[v].shape[2], dim=2)
            assert_close(torch.einsum("bhqk,bkhd->bqhd", pattern, values), run[z], rtol=1e-5, atol=1e-5)


def test_a_strangers_sites_keep_its_logits_when_written_and_change_them_when_cut(model, batch):
    clean = model.run(batch, CapturePlan(sites=model.writable))
    for name in {site.name for site in model.writable}:
        edits = [Patch(at=Part(site), source="own") for site in sites_named(model, name, writable=True)]
        assert torch.equal(model.run(batch, edits=edits, sources={"own": clean.activations}).logits, clean.logits)
        cuts = [Zero(at=edit.at) for edit in edits]
        assert not torch.equal(model.run(batch, edits=cuts).logits, clean.logits)


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("fnet", r"has no list of blocks .*: 'fnet.encoder.layer' holds 2 FNetLayer \(fourier, intermediate, output\)"),
        ("squeezebert", "runs the blocks in 'transformer.encoder.layers' by a way on which no hook"),
        ("xlm", "has no list of blocks .*: 'transformer.attentions' holds 2 MultiHeadAttention .* holds 2 LayerNorm"),
        ("xmod", "does not run on a short random input"),
    ],
)
def test_what_cannot_be_opened_is_refused_with_a_sentence(family, reason):
    """FNet mixes by a Fourier transform, SqueezeBERT calls its blocks' `forward`, XLM keeps the parts of its layers in
    lists by kind, X-MOD asks which language it shall run.
    """
    with pytest.raises(ModelError, match=reason):
        instrument(build(family))


def test_a_tensor_with_other_axes_than_its_sites_is_no_site():
    """FSMT keeps its streams as position by prompt: nothing is shown under axes that it has not."""
    model = instrument(build("fsmt"))
    assert model.proof.exact and not {"resid_pre", "resid_post", "z"} & model.proof.names()
    assert "6 × 2 × 32, not batch × pos × d_model" in model.proof.row("resid_pre").reason
