"""The attention score by writer: against arithmetic on plain models, and against the plain model's own attention."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from hooks.errors import InputError, SpecError
from tests.analyses.by_hand import HEADS, VARIANTS, WIDTH, ByHand
from tests.analyses.pairs import CLEAN, runner
from tests.laws.conftest import opened

LAYER, HEAD, Q, K = 2, 3, 5, 1
ASKED = {"head": f"L{LAYER}.z[head={HEAD}]", "q_pos": Q, "per_prompt": True}
CAP = 50.0


@pytest.fixture(scope="module", params=VARIANTS)
def by_hand(request):
    return ByHand(request.param)


def attention(plain, ids):
    """The plain model's own attention weights of the layer and head [q k]."""
    with torch.no_grad():
        found = plain(input_ids=torch.tensor([ids]), output_attentions=True, use_cache=False).attentions
    return found[LAYER if len(found) > LAYER else -1][0, HEAD].double().numpy()


def test_terms_sum_to_the_score_behind_the_plain_models_attention(by_hand):
    """Weights of a row are a softmax of its scores: the logarithm of two weights' ratio is the scores' difference."""
    run = runner(by_hand.model, "attention_score")
    cells = {k: run({**ASKED, "k_pos": k, "side": "both"}) for k in (3, 4)}
    for grids in (result.grids for result in cells.values()):
        pairs = grids["by_pair_by_prompt"].values.astype(float)
        assert grids["by_query_by_prompt"].values == pytest.approx(pairs.sum(2), rel=1e-4, abs=1e-4)
        assert grids["by_key_by_prompt"].values == pytest.approx(pairs.sum(1), rel=1e-4, abs=1e-4)
        assert grids["sum_error"].values <= 1e-4 * max(1.0, np.abs(pairs).max())
    totals = [cells[k].grid("total_by_prompt").values.astype(float) for k in (3, 4)]
    if by_hand.variant == "gemma2":
        totals = [CAP * np.tanh(total / CAP) for total in totals]
    for n, ids in enumerate(CLEAN):
        weights = attention(by_hand.model, ids)
        expected = np.log(weights[Q, 3] / weights[Q, 4])
        assert (totals[0] - totals[1])[n] == pytest.approx(expected, rel=1e-4, abs=1e-4)


def turned(by_hand, x, pos):
    """A head's query or key at a position, rotated by the code of the family."""
    if by_hand.variant == "gpt2":
        return x
    cos, sin = by_hand.model.model.rotary_emb(x[None, None], torch.tensor([[pos]]))
    return apply_rotary_pos_emb(x[None, None, None], x[None, None, None], cos, sin)[0][0, 0, 0]


def projected(by_hand, name, head, write, stream):
    """What an addend of the stream becomes in a head's query or key, the norm's scale held at the stream's own."""
    block = by_hand._block(LAYER)
    norm = block.ln_1 if by_hand.variant == "gpt2" else block.input_layernorm
    if by_hand.variant == "gpt2":
        scaled = norm.weight * (write - write.mean()) / torch.sqrt(stream.var(unbiased=False) + norm.eps)
        return (
            scaled @ by_hand.attention(LAYER).c_attn.weight.unflatten(1, (3, HEADS, WIDTH))[:, "qk".index(name), head]
        )
    scaled = norm.weight * write / torch.sqrt((stream**2).mean() + norm.variance_epsilon)
    module = getattr(by_hand.attention(LAYER), f"{name}_proj")
    return module.weight.unflatten(0, (-1, WIDTH))[head] @ scaled


@pytest.mark.parametrize("variant", ["gpt2", "llama"])
def test_a_pair_of_writers_is_the_product_of_what_they_put_into_query_and_key(variant):
    by_hand = ByHand(variant)
    result = runner(by_hand.model, "attention_score")({**ASKED, "k_pos": K, "side": "both"})
    pairs = result.grid("by_pair_by_prompt")
    for n, ids in enumerate(CLEAN):
        _, seen = by_hand.run(ids, reads=[("resid_pre", LAYER), ("z", 1), ("mlp_out", 0)])
        stream = seen["resid_pre", LAYER][0]
        out = by_hand._edge("z", 1)[0].weight.detach()
        out = (out if variant == "gpt2" else out.T).unflatten(0, (HEADS, WIDTH))
        with torch.no_grad():
            query = projected(by_hand, "q", HEAD, seen["z", 1][0, Q, 2] @ out[2], stream[Q])
            group = HEADS // by_hand.kv_heads
            key = projected(by_hand, "k", HEAD // group, seen["mlp_out", 0][0, K], stream[K])
            expected = float(turned(by_hand, query, Q) @ turned(by_hand, key, K)) / WIDTH**0.5
        found = pairs.select(prompt=n, query_writer="L1.z[head=2]", key_writer="L0.mlp_out").values
        assert float(found) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_norms_of_queries_and_keys_are_held_as_well():
    """With its scale held such a norm is linear, so an addend of the query is divided by the whole query's size."""
    plain = opened("qwen3")[0]
    result = runner(plain, "attention_score")(
        {"head": "L1.z[head=3]", "q_pos": Q, "k_pos": K, "side": "both"}, clean=CLEAN[:1]
    )
    assert result.grid("sum_error").values <= 1e-4 * max(1.0, np.abs(result.grid("by_pair").values).max())
    layer, held = plain.model.layers[1], {}
    attention = layer.self_attn
    handles = [
        plain.model.layers[0].mlp.register_forward_hook(lambda _, __, out: held.update(mlp=out[0, Q])),
        plain.model.layers[0].register_forward_hook(lambda _, __, out: held.update(stream=out[0, Q])),
        attention.q_norm.register_forward_hook(lambda _, args, out: held.update(q=args[0][0, Q, 3])),
        attention.k_norm.register_forward_hook(lambda _, args, out: held.update(k=out[0, K, 1])),
    ]
    with torch.no_grad():
        plain(input_ids=torch.tensor(CLEAN[:1]), use_cache=False)
        for handle in handles:
            handle.remove()
        norm = layer.input_layernorm
        scaled = norm.weight * held["mlp"] / torch.sqrt((held["stream"] ** 2).mean() + norm.variance_epsilon)
        query = attention.q_proj.weight.unflatten(0, (-1, attention.head_dim))[3] @ scaled
        size = torch.sqrt((held["q"] ** 2).mean() + attention.q_norm.variance_epsilon)
        query, key = attention.q_norm.weight * query / size, held["k"]
        turned = []
        for x, pos in ((query, Q), (key, K)):
            cos, sin = plain.model.rotary_emb(x[None, None], torch.tensor([[pos]]))
            turned.append(apply_rotary_pos_emb(x[None, None, None], x[None, None, None], cos, sin)[0][0, 0, 0])
        expected = float(turned[0] @ turned[1]) * attention.scaling
    found = result.grid("by_query").select(query_writer="L0.mlp_out").values
    assert float(found) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_what_cannot_be_asked_is_refused_with_the_reason():
    run = runner(ByHand("gpt2").model, "attention_score")
    with pytest.raises(InputError, match="no later key"):
        run({**ASKED, "q_pos": 1, "k_pos": 4})
    with pytest.raises(SpecError, match="is not a head"):
        run({**ASKED, "head": "L1.mlp_out"})
