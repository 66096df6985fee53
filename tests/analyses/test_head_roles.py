"""Roles of heads: every score against plain hooks on plain models, and labels that are thresholds and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hooks.errors import InputError
from tests.analyses.by_hand import HEADS, LAYERS, WIDTH, ByHand, put
from tests.analyses.pairs import CLEAN, CORRUPT, FOILS, difference, runner

# Both prompts hold their answer (id 11, 20), the first one twice.
PROMPTS = [[11, 17, 11, 8, 22, 5], [9, 31, 20, 50, 4, 28]]
ANSWERS = (11, 20)
LAST = len(CLEAN[0]) - 1
SMALL = {"n": 6, "sequences": 2, "per_prompt": True}


@pytest.fixture(scope="module", params=("gpt2", "llama", "gpt_neox"))
def by_hand(request):
    return ByHand(request.param)


@pytest.fixture(scope="module")
def result(by_hand):
    params = {**SMALL, "thresholds": {"name_mover": 1e-9}, "top_k": 20}
    return runner(by_hand.model, "head_roles")(params, clean=PROMPTS, corrupt=CORRUPT)


@pytest.fixture(scope="module")
def gemma():
    """Runs on a model that norms what its heads write together."""
    return runner(ByHand("gemma2").model, "head_roles")


def patterns(by_hand, ids):
    """The plain model's own attention [layer head q k]."""
    with torch.no_grad():
        out = by_hand.model(input_ids=torch.tensor([ids]), output_attentions=True, use_cache=False)
    return torch.stack(out.attentions)[:, 0]


def written_alone(by_hand, token, layer, head):
    """What a head makes of the first MLP's output for one token: norm, V, O by the model's own modules and weights."""
    silent = [("attn_out", 0, torch.zeros_like)]
    _, seen = by_hand.run([token], silent, reads=[("mlp_out", 0)])
    _, heard = by_hand.run([token], [("resid_pre", layer, put(seen["mlp_out", 0]))], reads=[("v", layer)])
    v = heard["v", layer][0, 0]
    module, _ = by_hand._edge("z", layer)
    weight = module.weight if by_hand.variant == "gpt2" else module.weight.T
    return v[head // (HEADS // len(v))] @ weight.unflatten(0, (HEADS, WIDTH))[head]


def rank(by_hand, token, layer, head):
    """How many logits are above and below the token's own, by the plain model's final norm and unembedding."""
    write = written_alone(by_hand, token, layer, head)[None, None]
    logits, _ = by_hand.run([token], [("resid_post", LAYERS - 1, put(write))])
    return int((logits > logits[token]).sum()), int((logits < logits[token]).sum())


def test_attention_to_the_answer_is_the_plain_models(by_hand, result):
    grid = result.grid("attention_to_answer_by_prompt").values
    first, second = (patterns(by_hand, ids)[:, :, LAST] for ids in PROMPTS)
    assert grid[0] == pytest.approx((first[..., 0] + first[..., 2]).numpy(), abs=1e-5)
    assert grid[1] == pytest.approx(second[..., 2].numpy(), abs=1e-5)


def test_copying_and_suppression_are_ranks_of_the_tokens_own_logit(by_hand, result):
    tokens = sorted({*ANSWERS, *FOILS})
    with torch.no_grad():
        for layer, head in ((0, 1), (1, 3), (2, 2)):
            ranks = np.array([rank(by_hand, token, layer, head) for token in tokens])
            expected = (ranks < 20).mean(axis=0)
            found = [result.grid(name).values[layer, head] for name in ("copying", "suppression")]
            assert found == pytest.approx(expected.tolist(), abs=1e-6)


def test_movers_and_suppressors_are_products_of_attention_and_ov(result):
    attention = result.grid("attention_to_answer").values
    for role, share in (("name_mover", "copying"), ("copy_suppression", "suppression")):
        assert result.grid(role).values == pytest.approx(attention * result.grid(share).values, abs=1e-6)


def test_inhibition_is_what_is_lost_through_the_movers_queries(by_hand, result):
    grid = result.grid("s_inhibition")
    movers_named = [(int(layer), int(head)) for layer, head in np.argwhere(result.grid("name_mover").values >= 1e-9)]
    assert ", ".join(f"{layer}.{head}" for layer, head in movers_named) in grid.about
    sites = [("z", layer) for layer in range(LAYERS)]
    losses, whole = {(0, 1): [], (1, 2): []}, []
    for n, (clean, corrupt) in enumerate(zip(PROMPTS, CORRUPT, strict=True)):
        before, seen = by_hand.run(clean, reads=sites)
        _, sent = by_hand.run(corrupt, reads=sites)
        whole.append(difference(before, n))
        for sender, lost in losses.items():
            later = [at for at in movers_named if at[0] > sender[0]]

            def frozen(at, sender=sender, seen=seen, sent=sent):
                def change(x):
                    kept = seen["z", at].clone()
                    if at == sender[0]:
                        kept[:, :, sender[1]] = sent["z", at][:, :, sender[1]]
                    return kept

                return change

            held = [("z", at, frozen(at)) for at in range(LAYERS)]
            _, heard = by_hand.run(clean, held, reads=[("q", layer) for layer, _ in later])
            given = [("q", layer, put(heard["q", layer], head=head, pos=LAST)) for layer, head in later]
            after, _ = by_hand.run(clean, given)
            lost.append(difference(before, n) - difference(after, n))
    for (layer, head), lost in losses.items():
        assert grid.values[layer, head] == pytest.approx(np.mean(lost) / np.mean(whole), rel=1e-4, abs=1e-4)


def test_labels_are_thresholds_which_every_grid_names(result):
    role, movers = result.grid("role"), result.grid("name_mover").values
    labels = np.array(role.coords["role"], dtype=object).reshape(LAYERS, HEADS)
    assert ((movers >= 1e-9) == np.vectorize(lambda words: "name mover" in words)(labels)).all()
    assert ((role.values >= 1) == (labels != "none")).all()
    assert "name mover 1e-09" in role.about and "induction 0.4" in role.about
    assert "threshold for the label: 0.4" in result.grid("previous_token").about


def test_patterns_on_repeated_tokens_are_the_plain_models(by_hand, result):
    drawn = torch.randint(64, (2, 6), generator=torch.Generator().manual_seed(0)).tolist()
    places = {"previous_token": (range(1, 12), 1), "induction": (range(6, 12), 5), "duplicate_token": (range(6, 12), 6)}
    seen = torch.stack([patterns(by_hand, [*row, *row]) for row in drawn])
    for name, (queries, back) in places.items():
        expected = torch.stack([seen[..., q, q - back] for q in queries]).mean(dim=(0, 1))
        assert result.grid(name).values == pytest.approx(expected.numpy(), abs=1e-5)


def test_heads_that_are_normed_together_have_no_ov_and_without_a_mover_nobody_is_inhibited(gemma):
    result = gemma({"n": 6, "sequences": 1}, clean=PROMPTS)
    assert not result.grid("copying").valid.any() and not result.grid("name_mover").valid.any()
    assert result.grid("induction").valid is None
    inhibition = result.grid("s_inhibition")
    assert not inhibition.valid.any() and "no head reaches the name movers' threshold" in inhibition.about


def test_prompts_without_their_answer_have_no_movers(gemma):
    with pytest.raises(InputError, match="no prompt holds its own answer"):
        gemma({"n": 2, "sequences": 1})
