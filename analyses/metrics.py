"""Metrics: what is measured on a model's answers, one number per prompt, before any mean is taken.

All take answers in float32: logits of tokens or classes, one output, or an embedding. `answers` and `foils` are tokens
or classes per prompt; sets of answers are reduced inside a prompt: logit differences by the mean over the set,
probabilities by the sum. `labels` say what is right at each position. Definitions: docs/analyses.md, "Metrics".
All but ranks and accuracies have gradients. `analyses.metric_choice` adds the user's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import cosine_similarity

from analyses.grid import Unit
from hooks.errors import InputError
from hooks.info import ModelInfo
from hooks.tokens import TokenBatch

MetricName = Literal[
    "logit_diff", "logprob", "prob", "kl", "loss", "rank", "cross_entropy", "accuracy",
    "label_loss", "label_prob", "label_accuracy", "value", "squared_error", "embedding_cosine",
    "prob_diff", "cutoff_sharpness", "accuracy_two_way", "kl_everywhere",
]  # fmt: skip
Reduction = Literal["mean", "sum", "logsumexp", "max"]
Output = Literal["choice", "number", "embedding"]
"""What a model answers with: a choice among tokens or classes, one number, or an embedding."""
OUTPUT_WORDS: Mapping[Output, str] = {
    "choice": "a choice among tokens or classes",
    "number": "one number",
    "embedding": "an embedding of the prompt",
}
DEFAULTS: Mapping[Output, MetricName] = {"choice": "logit_diff", "number": "value", "embedding": "embedding_cosine"}


def output_of(info: ModelInfo) -> Output:
    """What a model's answers are."""
    if info.task == "features":
        return "embedding"
    return "number" if info.task == "pairs" or info.d_vocab == 1 else "choice"


def default_metric(info: ModelInfo) -> MetricName:
    """The usual metric of a model's answers."""
    return DEFAULTS[output_of(info)]


@dataclass(frozen=True, eq=False)
class Target:
    """What answers are measured against: the batch with its answers, and the clean run on the same prompts."""

    batch: TokenBatch
    clean: Float[Tensor, "batch pos d_vocab"]

    def rows(self, prompts: slice) -> Target:
        """Some of the prompts."""
        return Target(self.batch.rows(prompts.start, prompts.stop), self.clean[prompts])

    def at_answers(self, logits: Float[Tensor, "batch pos d_vocab"]) -> Float[Tensor, "batch 1 d_vocab"]:
        """`logits` at the answer position of each prompt, which may be all that there are."""
        if logits.shape[1] == 1:
            return logits
        rows = torch.arange(len(self.batch), device=logits.device)
        return logits[rows, torch.tensor(self.batch.answer_at, device=logits.device)][:, None]

    def labels(
        self, like: Float[Tensor, "batch pos d_vocab"]
    ) -> tuple[Float[Tensor, "batch pos"], Bool[Tensor, "batch pos"]]:
        """The label at each position that `like` has, 0 where there is none, and where there is one."""
        width = like.shape[1]
        rows = [[*row, *[None] * (width - len(row))] for row in self.batch.labels]
        values = torch.tensor([[0.0 if label is None else float(label) for label in row] for row in rows])
        given = torch.tensor([[label is not None for label in row] for row in rows])
        return values.to(like.device), given.to(like.device)


@dataclass(frozen=True)
class Metric:
    """A metric. everywhere: it needs the logits of all positions, not of the answer position alone.

    name: a MetricName, or an expression. of: the sort of answer that it is defined on. next_token: it is defined on
    models that predict the next token. foils: how many each prompt needs at least.
    """

    name: str
    title: str
    unit: Unit
    needs: tuple[str, ...]
    compute: Callable[[Float[Tensor, "batch pos d_vocab"], Target], Float[Tensor, " batch"]]
    everywhere: bool = False
    of: Output = "choice"
    next_token: bool = False
    foils: int = 1

    def check(self, batch: TokenBatch, info: ModelInfo) -> None:
        """Raises InputError where the model has no such answers, or the prompts lack what the metric needs."""
        usual = default_metric(info)
        if (output := output_of(info)) != self.of:
            raise InputError(
                f"{self.title} is measured on {OUTPUT_WORDS[self.of]}; {info.name} gives {OUTPUT_WORDS[output]}.",
                f'Use "metric": "{usual}".',
            )
        if self.next_token and info.task not in ("causal", "seq2seq"):
            raise InputError(
                f"{self.title} is measured on next tokens; {info.name} does not predict them.",
                'Use "metric": "cross_entropy" with answers, or "label_loss" with labels.',
            )
        if self.next_token and min(batch.lengths) < 2:
            more = "Give targets" if info.task == "seq2seq" else "Use a longer prompt"
            raise InputError(f"{self.title} needs prompts of at least two tokens.", f"{more} or another metric.")
        for need in self.needs:
            if not getattr(batch, need):
                raise InputError(f"{self.title} needs {need}: {NEEDS[need][0]}.", NEEDS[need][1])
        if "foils" in self.needs and (fewest := min(map(len, batch.foils))) < self.foils:
            raise InputError(
                f"{self.title} needs {self.foils} foils per prompt, in ascending order; one prompt has {fewest}.",
                "Give all the wrong answers, the largest last.",
            )


_ANSWERS = 'Add "{}" to the inputs, such as " Mary", or choose the metric kl.'
NEEDS: Mapping[str, tuple[str, str]] = {
    "answers": ("one token or class per prompt", _ANSWERS.format("answers")),
    "foils": ("one token or class per prompt", _ANSWERS.format("foils")),
    "labels": ("one per position of each prompt", 'Add "labels" to the inputs, null where nothing is asked.'),
}


@lru_cache(maxsize=64)
def _places(ids: tuple[tuple[int, ...], ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Each prompt's ids [batch most] on a device, and which of them are real; made once for all cells of a sweep."""
    most = max(map(len, ids))
    # They outlive the first call, and what inference mode makes cannot be used for gradients later.
    with torch.inference_mode(False):
        filled = torch.tensor([[*row, *[0] * (most - len(row))] for row in ids], device=device)
        sizes = torch.tensor([len(row) for row in ids], device=device)
        return filled, torch.arange(most, device=device) < sizes[:, None]


def over_ids(
    values: Tensor, ids: tuple[tuple[int, ...], ...], by: Literal["mean", "sum", "logsumexp", "max"]
) -> Tensor:
    """`values` [batch d_vocab] at each prompt's ids, reduced over the ids of a prompt where there are several."""
    places, given = _places(ids, values.device)
    chosen = values.gather(1, places)
    if chosen.shape[1] == 1:
        return chosen[:, 0]
    if by in ("mean", "sum"):
        total = torch.where(given, chosen, 0.0).sum(1)
        return total / given.sum(1) if by == "mean" else total
    real = torch.where(given, chosen, -torch.inf)
    return real.amax(1) if by == "max" else real.logsumexp(1)


def logit_diff(logits: Float[Tensor, "batch pos d_vocab"], target: Target) -> Float[Tensor, " batch"]:
    """logit(answer) − logit(foil), in logits. Wang et al. 2022, arXiv 2211.00593."""
    last = logits[:, -1]
    return over_ids(last, target.batch.answers, "mean") - over_ids(last, target.batch.foils, "mean")


def prob(logits: Float[Tensor, "batch pos d_vocab"], target: Target) -> Float[Tensor, " batch"]:
    """Probability of the answer (of all answers together)."""
    return over_ids(logits[:, -1].softmax(-1), target.batch.answers, "sum")


def prob_diff(logits: Float[Tensor, "batch pos d_vocab"], target: Target) -> Float[Tensor, " batch"]:
    """Probability of all answers together minus that of all foils together. Hanna et al. 2023, arXiv 2305.00586."""
    probs = logits[:, -1].softmax(-1)
    return over_ids(probs, target.batch.answers, "sum") - over_ids(probs, target.batch.foils, "sum")


def cutoff_sharpness(logits: Float[Tensor, "batch pos d_vocab"], target: Target) -> Float[Tensor, " batch"]:
    """p(start + 1) − p(start − 1) where answers ascend from start + 1 and foils up to start. arXiv 2305.00586."""
    probs = logits[:, -1].softmax(-1)
    above = tuple(row[:1] for row in target.batch.answers)
    below = tuple(row[-2:-1] for row in target.batch.foils)
    return over_ids(probs, above, "sum") - over_ids(probs, below, "sum")


def logprob(logits: Float[Tensor, "batch pos d_vocab"], target: Target) -> Float[Tensor, " batch"]:
    """Natural logarithm of the probability of the answer (of all answers together), in nats."""
    return over_ids(logits[:, -1].log_softmax(-1), target.batch.answers, "logsumexp")


def cross_entropy(logits: Float[Tensor, "batch pos d_vocab"], target: Target) -> Float[Tensor, " batch"]:
    """−log p(answer), in nats: the loss of a classifier."""
    return -logprob(logits, target)


def accuracy(logits: Float[Tensor, "batch pos d_vocab"], target: Target) -> Float[Tensor, " batch"]:
    """1 where the token or class with the largest logit is an answer, else 0 (top-1)."""
    places, given = _places(target.batch.answers, logits.device)
    return ((logits[:, -1].argmax(-1)[:, None] == places) & given).any(1).float()


def accuracy_two_way(logits: Float[Tensor, "batch pos d_vocab"], target: Target) -> Float[Tensor, " batch"]:
    """1 where the logit difference of answer and foil is above 0, else 0 (two-way)."""
    return (logit_diff(logits, target) > 0).float()


def kl(logits: Float[Tensor, "batch pos d_vocab"], target: Target) -> Float[Tensor, " batch"]:
    """KL divergence of the changed run from the clean run, in nats; the clean run comes first. arXiv 2304.14997."""
    return _divergence(target.clean[:, -1], logits[:, -1])


def kl_everywhere(logits: Float[Tensor, "batch pos d_vocab"], target: Target) -> Float[Tensor, " batch"]:
    """The mean of the KL divergence from the clean run over all positions of the prompt, padding left out."""
    at = _divergence(target.clean, logits)
    if target.batch.mask.shape[1] != at.shape[1]:
        return at.mean(-1)  # One answer per prompt, at no position.
    real = target.batch.mask.to(logits.device)
    return torch.where(real, at, 0.0).sum(-1) / real.sum(-1)


def _divergence(clean: Tensor, changed: Tensor) -> Tensor:
    before, after = clean.log_softmax(-1), changed.log_softmax(-1)
    return (before.exp() * (before - after)).sum(-1)


def rank(logits: Float[Tensor, "batch pos d_vocab"], target: Target) -> Float[Tensor, " batch"]:
    """Number of tokens or classes with a strictly larger logit than the (best) answer; 0 is the top."""
    last = logits[:, -1]
    best = over_ids(last, target.batch.answers, "max")
    return (last > best[:, None]).sum(-1).float()


def loss(logits: Float[Tensor, "batch pos d_vocab"], target: Target) -> Float[Tensor, " batch"]:
    """Mean over predicted positions of −log p(next token), in nats."""
    ids, mask = target.batch.ids.to(logits.device), target.batch.mask.to(logits.device)
    chosen = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
    predicted = mask[:, 1:].float()
    return -(chosen * predicted).sum(-1) / predicted.sum(-1)


def _over_labels(
    values: Callable[[Tensor, Tensor], Tensor],
) -> Callable[[Float[Tensor, "batch pos d_vocab"], Target], Float[Tensor, " batch"]]:
    """The mean over labelled positions of `values`(logits, labels)."""

    def compute(logits: Float[Tensor, "batch pos d_vocab"], target: Target) -> Float[Tensor, " batch"]:
        labels, given = target.labels(logits)
        return torch.where(given, values(logits, labels), 0.0).sum(-1) / given.sum(-1)

    return compute


def _label_logprobs(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.log_softmax(-1).gather(-1, labels.long()[:, :, None]).squeeze(-1)


label_loss = _over_labels(lambda logits, labels: -_label_logprobs(logits, labels))
label_prob = _over_labels(lambda logits, labels: _label_logprobs(logits, labels).exp())
label_accuracy = _over_labels(lambda logits, labels: (logits.argmax(-1) == labels.long()).float())
squared_error = _over_labels(lambda outputs, labels: (outputs[:, :, 0] - labels) ** 2)


def value(outputs: Float[Tensor, "batch pos 1"], target: Target) -> Float[Tensor, " batch"]:
    """The output itself, of a model that gives one number: at the answer position, or the similarity of a pair."""
    return outputs[:, -1, 0]


def embedding_cosine(embeddings: Float[Tensor, "batch pos d_model"], target: Target) -> Float[Tensor, " batch"]:
    """Cosine of the angle between the embedding and the clean run's; 1 where nothing has changed its direction."""
    return cosine_similarity(embeddings[:, -1], target.clean[:, -1], dim=-1)


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric("logit_diff", "logit difference", "logit", ("answers", "foils"), logit_diff),
            Metric("logprob", "log-probability", "nat", ("answers",), logprob),
            Metric("prob", "probability", "prob", ("answers",), prob),
            Metric("prob_diff", "probability difference", "prob", ("answers", "foils"), prob_diff),
            Metric("cutoff_sharpness", "cutoff sharpness", "prob", ("answers", "foils"), cutoff_sharpness, foils=2),
            Metric("kl", "KL divergence", "nat", (), kl),
            Metric("kl_everywhere", "KL divergence over all positions", "nat", (), kl_everywhere, everywhere=True),
            Metric("loss", "loss", "nat", (), loss, everywhere=True, next_token=True),
            Metric("rank", "rank", "rank", ("answers",), rank),
            Metric("cross_entropy", "cross-entropy", "nat", ("answers",), cross_entropy),
            Metric("accuracy", "accuracy", "fraction", ("answers",), accuracy),
            Metric("accuracy_two_way", "two-way accuracy", "fraction", ("answers", "foils"), accuracy_two_way),
            Metric("label_loss", "loss on labels", "nat", ("labels",), label_loss, everywhere=True),
            Metric("label_prob", "probability of labels", "prob", ("labels",), label_prob, everywhere=True),
            Metric("label_accuracy", "accuracy on labels", "fraction", ("labels",), label_accuracy, everywhere=True),
            Metric("value", "output", "logit", (), value, of="number"),
            Metric("squared_error", "squared error", "activation", ("labels",), squared_error, True, "number"),
            Metric("embedding_cosine", "cosine similarity", "cosine", (), embedding_cosine, of="embedding"),
        )
    }
)
