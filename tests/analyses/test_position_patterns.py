"""The attention of positions alone, against the papers' formulas and unhooked models whose content was removed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BloomConfig,
    BloomForCausalLM,
    DebertaV2Config,
    DebertaV2ForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MptConfig,
    MptForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from analyses import positions
from analyses.bench import Bench
from analyses.catalogue import position_patterns
from analyses.execute import run_experiment
from analyses.experiment import Experiment
from hooks.errors import SiteMissing
from hooks.model import instrument
from tests.analyses.conftest import PROMPTS
from tests.hooks.test_tokens import BARE

LONG, SHORT = PROMPTS[0], "a"
SIZES = {"vocab_size": len(BARE), "bos_token_id": 0, "eos_token_id": 1}
SLOPES = np.array([2.0**-n for n in range(1, 9)])  # Press et al. 2021, section 3: eight heads


def randomised(model, seed=0):
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3) if parameter.ndim > 1 else parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def built(config, cls):
    return randomised(cls._from_config(config, attn_implementation="eager"))


def llama(**more):
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    return built(LlamaConfig(**{**SIZES, **sizes, "num_key_value_heads": 2, **more}), LlamaForCausalLM)


def gpt2():
    return built(GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=32, **SIZES), GPT2LMHeadModel)


def measured(plain, prompts, params=None):
    spec = {"model": "tiny", "inputs": {"clean": {"prompts": prompts}}, "analysis": "position_patterns"}
    experiment = Experiment.model_validate({**spec, "params": params or {}})
    return run_experiment(experiment, Bench(instrument(plain, BARE, name="tiny"), experiment))


def ids_of(text):
    return torch.tensor([BARE(text)["input_ids"]])


def attentions(plain, text, **inputs):
    with torch.no_grad():
        given = {"input_ids": ids_of(text), **inputs}
        return [pattern[0].numpy() for pattern in plain(**given, output_attentions=True).attentions]


def causal(width):
    return np.tril(np.ones((width, width), dtype=bool))


def softmax_of(scores, visible):
    """[head q k]: the test's own softmax over visible keys."""
    weights = np.where(visible, np.exp(scores - np.where(visible, scores, -np.inf).max(-1, keepdims=True)), 0.0)
    return weights / weights.sum(-1, keepdims=True)


def distances(width):
    return np.arange(width)[:, None] - np.arange(width)[None]


def alibi(slopes, width):
    return softmax_of(-slopes[:, None, None] * distances(width), causal(width))


# -- the arrays


def test_the_profile_of_alibi_scores_falls_by_the_slope_at_each_step_whatever_a_row_adds():
    width = 7
    rows = np.random.default_rng(0).normal(size=(1, 8, width, 1))  # a softmax does not see what a whole row shares
    scores = rows - SLOPES[None, :, None, None] * distances(width)
    visible = np.broadcast_to(causal(width), scores.shape)
    at = positions.distances(visible)
    profile, known = positions.distance_profile(scores, visible, at)
    assert at == tuple(range(width)) and known.all()
    assert profile == pytest.approx(-SLOPES[:, None] * np.arange(width))
    assert positions.pattern_of_profile(profile, at, visible)[0] == pytest.approx(alibi(SLOPES, width))


def test_a_query_that_sees_later_keys_has_negative_distances():
    visible = np.ones((1, 1, 4, 4), dtype=bool)
    scores = distances(4)[None, None] * 0.5
    at = positions.distances(visible)
    assert at == (-3, -2, -1, 0, 1, 2, 3)
    assert positions.distance_profile(scores, visible, at)[0][0] == pytest.approx(np.array(at) * 0.5)


def test_scores_from_a_pattern_have_the_profile_of_the_scores_behind_it():
    width, visible = 6, np.broadcast_to(causal(6), (1, 8, 6, 6))
    scores = positions.scores_of_pattern(alibi(SLOPES, width)[None])
    seen = positions.visible_scores(scores)
    assert np.array_equal(seen, visible)
    profile, _ = positions.distance_profile(scores, seen, positions.distances(seen))
    assert profile == pytest.approx(-SLOPES[:, None] * np.arange(width))


def test_the_share_is_one_for_the_same_pattern_and_zero_for_one_that_looks_elsewhere():
    visible = np.broadcast_to(causal(3), (1, 1, 3, 3))
    own, first = np.eye(3)[None, None], np.zeros((1, 1, 3, 3))
    first[..., 0] = 1
    assert positions.explained(own, own, visible)[0] == pytest.approx(1.0)
    # The first query has one key and does not count, or the share of the two would be a third.
    assert positions.explained(own, first, visible)[0] == pytest.approx(0.0)
    assert positions.explained(own, positions.uniform(visible), visible)[0] == pytest.approx((1 / 2 + 1 / 3) / 2)


def test_one_visible_key_leaves_nothing_to_explain():
    visible = np.ones((1, 2, 1, 1), dtype=bool)
    share, known = positions.explained(np.ones((1, 2, 1, 1)), np.ones((1, 2, 1, 1)), visible)
    assert not known.any() and (share == 0).all()


def test_the_cosine_of_a_vector_with_itself_is_one_and_with_nothing_zero():
    vectors = np.array([[3.0, 4.0], [-4.0, 3.0], [0.0, 0.0], [-6.0, -8.0]])
    expected = [[1, 0, 0, -1], [0, 1, 0, 0], [0, 0, 0, 0], [-1, 0, 0, 1]]
    assert positions.cosine_similarity(vectors) == pytest.approx(np.array(expected, dtype=float))


# -- biases in attention


def bloom():
    return built(BloomConfig(hidden_size=32, n_layer=2, n_head=8, **SIZES), BloomForCausalLM)


def mpt():
    config = MptConfig(d_model=32, n_layers=2, n_heads=8, max_seq_len=32, vocab_size=len(BARE))
    return built(config, MptForCausalLM)


def without_content(plain):
    """The same model with queries and keys of zero: what is left of its attention is its bias."""
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            if "query_key_value" in name:  # for each head its query, key and value
                parameter.unflatten(0, (8, 3, 4))[:, :2] = 0
            elif "Wqkv" in name:  # all queries, all keys, all values
                parameter[:64] = 0
            elif name.endswith((".q.weight", ".k.weight")):
                parameter.zero_()
    return plain


@pytest.mark.parametrize("make", [bloom, mpt])
def test_an_alibi_model_without_content_attends_as_the_paper_says(make):
    for pattern in attentions(without_content(make()), LONG):
        assert pattern == pytest.approx(alibi(SLOPES, pattern.shape[-1]), abs=1e-6)


@pytest.mark.parametrize("make", [bloom, mpt])
def test_the_position_pattern_of_an_alibi_model_is_the_slopes_alone_whatever_its_content(make):
    result = measured(make(), [LONG])
    found = result.grid("position_pattern")
    width = found.values.shape[-1]
    assert found.about.startswith("Exact")
    for layer in range(2):
        assert found.values[layer] == pytest.approx(alibi(SLOPES, width), abs=1e-5)
        assert result.grid("profile").values[layer] == pytest.approx(-SLOPES[:, None] * np.arange(width), abs=1e-3)
    assert np.abs(result.grid("pattern").values - found.values).max() > 0.05


def t5():
    config = T5Config(d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0, **SIZES)
    return built(config, T5ForConditionalGeneration)


def test_the_position_pattern_of_t5_is_its_learned_bias():
    plain = t5()
    width = ids_of(LONG).shape[1]
    with torch.no_grad():
        bias = plain.encoder.block[0].layer[0].SelfAttention.compute_bias(width, width)[0].numpy()
    expected = softmax_of(bias, np.ones((width, width), dtype=bool))
    result = measured(plain, [LONG], {"stack": "encoder"})
    found = result.grid("position_pattern")
    assert found.about.startswith("Exact")
    for layer in range(2):
        assert found.values[layer] == pytest.approx(expected, abs=1e-5)
    # The bias of a query depends on the distance alone, in both directions.
    profile = result.grid("profile")
    assert profile.coords["distance"] == tuple(range(1 - width, width))
    assert profile.values[0, :, -1] == pytest.approx(bias[:, -1, 0] - bias[:, 0, 0], abs=1e-4)
    assert profile.values[0, :, 0] == pytest.approx(bias[:, 0, -1] - bias[:, 0, 0], abs=1e-4)
    with torch.no_grad():
        bare = without_content(plain).encoder(input_ids=ids_of(LONG), output_attentions=True).attentions
    assert bare[0][0].numpy() == pytest.approx(expected, abs=1e-6)


def test_positions_that_are_multiplied_with_content_are_estimated_and_not_called_exact():
    config = DebertaV2Config(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, relative_attention=True,
        pos_att_type=["c2p", "p2c"], max_position_embeddings=32, **SIZES,
    )  # fmt: skip
    result = measured(built(config, DebertaV2ForMaskedLM), [LONG])
    assert result.grid("position_pattern").about.startswith("An estimate")
    assert np.array_equal(result.grid("profile").values, result.grid("profile_observed").values)


# -- rotary embeddings


def rotated(x, theta=10000.0):
    """[pos d]: rotary embeddings as Su et al. 2021 with halves, as Llama pairs them."""
    half = x.shape[-1] // 2
    angles = np.arange(len(x))[:, None] * theta ** (-np.arange(half) / half)
    first, second = x[:, :half], x[:, half:]
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def projections(plain, text):
    """Per layer the queries and keys of the unhooked model: [pos feature]."""
    seen = []
    handles = [
        module.register_forward_hook(lambda _, __, out: seen.append(out[0].numpy()))
        for layer in plain.model.layers
        for module in (layer.self_attn.q_proj, layer.self_attn.k_proj)
    ]
    with torch.no_grad():
        plain(input_ids=ids_of(text))
    for handle in handles:
        handle.remove()
    return list(zip(seen[::2], seen[1::2], strict=True))


def test_a_rotary_model_gives_the_softmax_of_its_rotated_mean_query_and_key():
    plain = llama()
    result = measured(plain, [LONG])
    for layer, (queries, keys) in enumerate(projections(plain, LONG)):
        width = len(queries)
        for head in range(4):
            query = np.tile(queries[:, 8 * head : 8 * head + 8].mean(0), (width, 1))
            key = np.tile(keys[:, 8 * (head // 2) : 8 * (head // 2) + 8].mean(0), (width, 1))
            scores = rotated(query) @ rotated(key).T / np.sqrt(8)
            found = result.grid("position_pattern").values[layer, head]
            assert found == pytest.approx(softmax_of(scores[None], causal(width))[0], abs=1e-5)
            profile = result.grid("profile").values[layer, head]
            assert profile == pytest.approx(scores[-1, ::-1] - scores[-1, -1], abs=1e-4)
    assert result.grid("position_pattern").about.startswith("An estimate")


def test_with_the_same_content_everywhere_positions_explain_everything():
    plain = llama(attention_bias=True)
    with torch.no_grad():
        for layer in plain.model.layers:
            layer.self_attn.q_proj.weight.zero_()
            layer.self_attn.k_proj.weight.zero_()
    result = measured(plain, [LONG])
    assert result.grid("explained").values == pytest.approx(np.ones((2, 4)), abs=1e-5)
    assert result.grid("profile").values == pytest.approx(result.grid("profile_observed").values, abs=1e-4)
    assert (result.grid("explained_uniform").values < 0.999).all()


def test_a_window_hides_the_same_keys_from_positions_as_from_content():
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = MistralConfig(**SIZES, **sizes, num_key_value_heads=2, sliding_window=3)
    result = measured(built(config, MistralForCausalLM), [LONG])
    alone = result.grid("position_pattern").values
    width = alone.shape[-1]
    seen = (distances(width) >= 0) & (distances(width) < 3)
    assert np.array_equal(np.broadcast_to(seen, alone.shape), alone > 0)
    assert result.grid("profile").valid[0, 0].tolist() == [True] * 3 + [False] * (width - 3)


# -- learned position embeddings


def test_layer_0_of_gpt2_equals_the_unhooked_model_without_token_embeddings():
    found = measured(gpt2(), [LONG]).grid("position_pattern").values
    plain = gpt2()
    with torch.no_grad():
        plain.transformer.wte.weight = torch.nn.Parameter(torch.zeros_like(plain.transformer.wte.weight))
    assert found[0] == pytest.approx(attentions(plain, LONG)[0], abs=1e-6)


def test_layer_0_of_bert_equals_the_unhooked_model_without_token_embeddings():
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = BertConfig(**SIZES, **sizes, max_position_embeddings=32)
    found = measured(built(config, BertForMaskedLM), [LONG])
    plain = built(config, BertForMaskedLM)
    with torch.no_grad():
        plain.bert.embeddings.word_embeddings.weight.zero_()
    assert found.grid("position_pattern").values[0] == pytest.approx(attentions(plain, LONG)[0], abs=1e-6)
    assert found.grid("profile").coords["distance"][0] < 0


def test_a_later_layer_reads_the_position_embeddings_through_its_own_norm_and_projections():
    plain = gpt2()
    result = measured(plain, [LONG])
    width = ids_of(LONG).shape[1]
    block, vectors = plain.transformer.h[1], plain.transformer.wpe.weight[:width]
    with torch.no_grad():
        query, key, _ = block.attn.c_attn(block.ln_1(vectors)).split(32, dim=-1)
    query, key = (x.unflatten(-1, (4, 8)).transpose(0, 1).numpy() for x in (query, key))
    scores = np.einsum("hqd,hkd->hqk", query, key) / np.sqrt(8)
    found = result.grid("position_pattern").values[1]
    assert found == pytest.approx(softmax_of(scores, causal(width)), abs=1e-5)
    lengths = vectors.norm(dim=-1).detach().numpy()
    cosines = (vectors @ vectors.T).detach().numpy() / lengths[:, None] / lengths[None]
    assert result.grid("position_similarity").values == pytest.approx(cosines, abs=1e-5)


def test_a_shorter_prompt_beside_a_longer_one_changes_nothing_and_padding_stays_out():
    alone, beside = measured(gpt2(), [LONG]), measured(gpt2(), [LONG, SHORT], {"per_prompt": True})
    first, single = beside.grid("position_pattern_by_prompt"), alone.grid("position_pattern").values
    assert first.values[0] == pytest.approx(single, abs=1e-5)
    short = ids_of(SHORT).shape[1]
    assert not first.valid[1, ..., short:].any() and first.valid[0].all()
    assert beside.grid("explained_by_prompt").values[0] == pytest.approx(alone.grid("explained").values, abs=1e-5)


# -- what is asked and refused


def test_chosen_layers_and_heads_are_those_of_the_whole_and_a_missing_head_is_refused():
    plain = llama()
    whole, some = measured(plain, [LONG]), measured(plain, [LONG], {"layers": [1], "heads": [2, 3]})
    for name in ("position_pattern", "pattern", "explained", "profile"):
        assert some.grid(name).coords["layer"] == (1,) and some.grid(name).coords["head"] == (2, 3)
        assert some.grid(name).values[0] == pytest.approx(whole.grid(name).values[1, 2:], abs=1e-6)
    with pytest.raises(SiteMissing, match="4 heads"):
        measured(plain, [LONG], {"heads": [4]})


def test_a_model_without_attention_is_refused_with_the_reason():
    config = MambaConfig(hidden_size=32, state_size=4, num_hidden_layers=2, pad_token_id=0, **SIZES)
    with pytest.raises(SiteMissing, match="no attention"):
        measured(built(config, MambaForCausalLM), [LONG])


def test_a_prompt_of_one_token_has_a_pattern_and_no_share():
    result = measured(llama(), [SHORT])
    assert (result.grid("position_pattern").values == 1).all()
    assert not result.grid("explained").valid.any()


def test_where_queries_cannot_be_set_the_mean_score_at_each_distance_stands_in(monkeypatch):
    monkeypatch.setattr(position_patterns, "way_of", lambda model, stack: "average")
    result = measured(llama(), [LONG])
    profile, alone = result.grid("profile").values, result.grid("position_pattern")
    assert np.array_equal(profile, result.grid("profile_observed").values)
    width = alone.values.shape[-1]
    scores = profile[1, 2][np.abs(distances(width))]
    assert alone.values[1, 2] == pytest.approx(softmax_of(scores[None], causal(width))[0], abs=1e-5)
    assert alone.about.startswith("An estimate")
