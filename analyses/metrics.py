"""Metrics: what is measured on the logits, one number per prompt, before any mean is taken.

All take logits in float32. `answers` and `foils` are token ids per prompt; sets of answers are reduced inside a prompt:
logit differences by the mean over the set, probabilities by the sum. Definitions: docs/analyses.md, "Metrics".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from analyses.grid import Unit
from hooks.errors import InputError
from hooks.tokens import TokenBatch

MetricName = Literal["logit_diff", "logprob", "prob", "kl", "loss", "rank"]


@dataclass(frozen=True, eq=False)
class Target:
    """What logits are measured against: the batch with answers, and the clean run's logits of the same prompts."""

    batch: TokenBatch
    clean: Float[Tensor, "batch pos d_vocab"]


@dataclass(frozen=True)
class Metric:
    """A metric. everywhere: it needs the logits of all positions, not of the answer position alone."""

    name: MetricName
    title: str
    unit: Unit
    needs: tuple[str, ...]
    compute: Callable[[Float[Tensor, "batch pos d_vocab"], Target], Float[Tensor, " batch"]]
    everywhere: bool = False

    def check(self, batch: TokenBatch) -> None:
        """Raises InputError when the prompts lack answers or foils that this metric needs."""
        for need in self.needs:
            if not getattr(batch, need):
                raise InputError(
                    f"{self.title} needs {need}: one token per prompt.",
                    f'Add "{need}" to the inputs, such as " Mary", or choose the metric kl or loss.',
                )


def _per_prompt(logits: Tensor, ids: tuple[tuple[int, ...], ...], reduce: str) -> Tensor:
    """Values of `logits` [batch d_vocab] at each prompt's ids, reduced over the ids."""
    rows = [row[list(chosen)] for row, chosen in zip(logits, ids, strict=True)]
    return torch.stack([row.mean() if reduce == "mean" else row.sum() for row in rows])


def logit_diff(logits: Float[Tensor, "batch pos d_vocab"], target: Target) -> Float[Tensor, " batch"]:
    """logit(answer) − logit(foil), in logits. Wang et al. 2022, arXiv 2211.00593."""
    last = logits[:, -1]
    return _per_prompt(last, target.batch.answers, "mean") - _per_prompt(last, target.batch.foils, "mean")


def prob(logits: Float[Tensor, "batch pos d_vocab"], target: Target) -> Float[Tensor, " batch"]:
    """Probability of the answer (of all answers together)."""
    return _per_prompt(logits[:, -1].softmax(-1), target.batch.answers, "sum")


def logprob(logits: Float[Tensor, "batch pos d_vocab"], target: Target) -> Float[Tensor, " batch"]:
    """Natural logarithm of the probability of the answer (of all answers together), in nats."""
    last = logits[:, -1].log_softmax(-1)
    rows = [row[list(chosen)].logsumexp(0) for row, chosen in zip(last, target.batch.answers, strict=True)]
    return torch.stack(rows)


def kl(logits: Float[Tensor, "batch pos d_vocab"], target: Target) -> Float[Tensor, " batch"]:
    """KL divergence of the changed run from the clean run, in nats; the clean run comes first. arXiv 2304.14997."""
    clean, changed = target.clean[:, -1].log_softmax(-1), logits[:, -1].log_softmax(-1)
    return (clean.exp() * (clean - changed)).sum(-1)


def rank(logits: Float[Tensor, "batch pos d_vocab"], target: Target) -> Float[Tensor, " batch"]:
    """Number of tokens with a strictly larger logit than the (best) answer; 0 is the top."""
    last = logits[:, -1]
    best = torch.stack([row[list(chosen)].max() for row, chosen in zip(last, target.batch.answers, strict=True)])
    return (last > best[:, None]).sum(-1).float()


def loss(logits: Float[Tensor, "batch pos d_vocab"], target: Target) -> Float[Tensor, " batch"]:
    """Mean over predicted positions of −log p(next token), in nats."""
    ids, mask = target.batch.ids.to(logits.device), target.batch.mask.to(logits.device)
    if min(target.batch.lengths) < 2:
        raise InputError("loss needs prompts of at least two tokens.", "Use a longer prompt or another metric.")
    chosen = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
    predicted = mask[:, 1:].float()
    return -(chosen * predicted).sum(-1) / predicted.sum(-1)


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric("logit_diff", "logit difference", "logit", ("answers", "foils"), logit_diff),
            Metric("logprob", "log-probability", "nat", ("answers",), logprob),
            Metric("prob", "probability", "prob", ("answers",), prob),
            Metric("kl", "KL divergence", "nat", (), kl),
            Metric("loss", "loss", "nat", (), loss, everywhere=True),
            Metric("rank", "rank", "rank", ("answers",), rank),
        )
    }
)
