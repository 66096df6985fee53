"""What a head writes: against the plain model's own weights and activations."""

from __future__ import annotations

import pytest
import torch

from hooks.errors import SiteMissing, SpecError
from tests.analyses.by_hand import HEADS, WIDTH, ByHand
from tests.analyses.pairs import ANSWERS, CLEAN, FOILS, runner

LAYER, HEAD, TOP = 1, 2, 5
ASKED = {"head": f"L{LAYER}.z[head={HEAD}]", "top_k": TOP, "per_prompt": True}


def logits_of_write(by_hand, ids, pos):
    """What the head's write at a position adds to each logit, the final norm's scale held, by plain arithmetic."""
    _, seen = by_hand.run(ids, reads=[("z", LAYER), ("resid_post", 2)])
    module = by_hand._edge("z", LAYER)[0]
    out = (module.weight if by_hand.variant == "gpt2" else module.weight.T).detach().unflatten(0, (HEADS, WIDTH))
    write, stream = seen["z", LAYER][0, pos, HEAD] @ out[HEAD], seen["resid_post", 2][0, pos]
    with torch.no_grad():
        if by_hand.variant == "gpt2":
            norm = by_hand.model.transformer.ln_f
            normed = norm.weight * (write - write.mean()) / torch.sqrt(stream.var(unbiased=False) + norm.eps)
        else:
            norm = by_hand.model.model.norm
            normed = norm.weight * write / torch.sqrt((stream**2).mean() + norm.variance_epsilon)
        return by_hand.model.get_output_embeddings().weight @ normed


@pytest.mark.parametrize("variant", ["gpt2", "llama"])
@pytest.mark.parametrize("pos", [None, 3])
def test_the_tokens_are_those_of_the_write_through_the_frozen_end(variant, pos):
    by_hand = ByHand(variant)
    result = runner(by_hand.model, "head_writes")({**ASKED, **({} if pos is None else {"pos": pos})})
    made = torch.stack([logits_of_write(by_hand, ids, -1 if pos is None else pos) for ids in CLEAN])
    for name, sign in (("promoted", 1), ("suppressed", -1)):
        best = torch.topk(sign * made.mean(0), TOP).indices
        grid = result.grid(f"{name}_by_prompt")
        assert grid.dims == ("prompt", "node", "rank")
        assert grid.values[:, 0] == pytest.approx(made[:, best].numpy(), rel=1e-4, abs=1e-4)
        assert result.grid(name).values[0] == pytest.approx(made[:, best].mean(0).numpy(), rel=1e-4, abs=1e-4)
    if pos is None:
        expected = [float(row[ANSWERS[n]] - row[FOILS[n]]) for n, row in enumerate(made)]
        assert result.grid("direct_effect_by_prompt").values == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_heads_that_are_normed_together_and_parts_that_are_no_heads_are_refused():
    with pytest.raises(SiteMissing, match="normed together"):
        runner(ByHand("gemma2").model, "head_writes")(ASKED)
    with pytest.raises(SpecError, match="is not a head"):
        runner(ByHand("gpt2").model, "head_writes")({"head": "L1.mlp_out"})
