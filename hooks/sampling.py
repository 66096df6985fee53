"""Choosing the next token from logits: greedy, or drawn after temperature, top-k and top-p."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from hooks.spec import Spec


class Sampling(Spec):
    """How a token is chosen.

    greedy: take the most probable one; the other fields then say nothing. temperature: divides the logits. top_k: keep
    the k most probable tokens (None: all). top_p: of these keep the smallest set whose probability reaches p. seed: of
    the draws; step n of every prompt uses the n-th number of it, so more steps only add to a continuation.
    Source: Holtzman et al. 2019, arXiv 1904.09751 (top-p); Fan et al. 2018, arXiv 1805.04833 (top-k).
    """

    greedy: bool = True
    temperature: float = Field(default=1.0, gt=0.0, le=100.0)
    top_k: int | None = Field(default=None, ge=1)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    seed: int = 0

    def generator(self) -> torch.Generator:
        """A fresh source of draws."""
        return torch.Generator().manual_seed(self.seed)


@dataclass(frozen=True, eq=False)
class Choice:
    """One token taken, and what else could have been.

    token: its id. prob: its probability by the model itself, softmax of the logits in float32; sampled: the one it was
    drawn with. entropy: of the model's own distribution, in nats. ids, logits, probs, sampling [rank]: the tokens that
    the model finds most probable, their logits, their probabilities, and those that a draw had.
    """

    token: int
    prob: float
    sampled: float
    entropy: float
    ids: Int[Tensor, " rank"]
    logits: Float[Tensor, " rank"]
    probs: Float[Tensor, " rank"]
    sampling: Float[Tensor, " rank"]


def sampling_distribution(logits: Float[Tensor, " d_vocab"], sampling: Sampling) -> Float[Tensor, " d_vocab"]:
    """The probabilities that a token is drawn with: temperature first, then top-k, then top-p, in float64.

    Equal logits rank by id, so exactly k tokens pass top-k. Greedy choice is the distribution that holds one token.
    """
    if sampling.greedy:
        return torch.zeros(logits.shape, dtype=torch.float64).index_fill(0, logits.float().argmax()[None], 1.0)
    ranked = logits.double().sort(descending=True, stable=True)
    probs = (ranked.values / sampling.temperature).softmax(-1)
    if sampling.top_k is not None:
        probs[sampling.top_k :] = 0.0
        probs = probs / probs.sum()
    if sampling.top_p < 1.0:
        # The token that reaches p belongs to the set.
        probs[probs.cumsum(-1) - probs >= sampling.top_p] = 0.0
    return torch.zeros_like(probs).scatter(0, ranked.indices, probs / probs.sum())


def choose(
    logits: Float[Tensor, " d_vocab"], sampling: Sampling, generator: torch.Generator, alternatives: int
) -> Choice:
    """The next token after a position with these logits, with the top `alternatives` beside it.

    A draw inverts the distribution function, most probable token first, at one uniform number: it depends on the seed
    and the step alone, never on the device.
    """
    logits = logits.float().cpu()
    uniform = torch.rand((), dtype=torch.float64, generator=generator)
    drawn = sampling_distribution(logits, sampling)
    order = drawn.argsort(descending=True, stable=True)
    reached = int(torch.searchsorted(drawn[order].cumsum(-1), uniform, right=True))
    token = int(order[min(reached, int((drawn > 0).sum()) - 1)])
    log_probs = logits.log_softmax(-1)
    probs = log_probs.exp()
    ids = logits.sort(descending=True, stable=True).indices[:alternatives]
    return Choice(
        token,
        float(probs[token]),
        float(drawn[token]),
        # A token of probability 0 adds 0, not 0 · −∞.
        float(torch.special.entr(probs.double()).sum()),
        ids,
        logits[ids],
        probs[ids],
        drawn[ids].float(),
    )
