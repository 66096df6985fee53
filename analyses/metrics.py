"""Metrics: what is measured on a model's answers, one number per prompt, before any mean is taken.

All take answers in float32: logits of tokens or classes, one output, or an embedding. `answers` and `foils` are tokens
or classes per prompt; sets of answers are reduced inside a prompt: logit differences by the mean over the set,
probabilities by the sum. `labels` say what is right at each position. Definitions: docs/analyses.md, "Metrics".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
]  # fmt: skip
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

    of: the sort of answer that it is defined on. next_token: it is defined on models that predict the next token.
    """

    name: MetricName
    title: str
    unit: Unit
    needs: tuple[str, ...]
    compute: Callable[[Float[Tensor, "batch pos d_vocab"], Target], Float[Tensor, " batch"]]
    everywhere: bool = False
    of: Output = "choice"
    next_token: bool = False

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


_ANSWERS = 'Add "{}" to the inputs, such as " Mary", or choose the metric kl.'
NEEDS: Mapping[str, tuple[str, str]] = {
    "answers": ("one token or class per prompt", _ANSWERS.format("answers")),
    "foils": ("one token or class per prompt", _ANSWERS.format("foils")),
    "labels": ("one per position of each prompt", 'Add "labels" to the inputs, null where nothing is asked.'),
}


def _per_prompt(values: Tensor, ids: tuple[tuple[int, ...], ...], reduce: Callable[[Tensor, int], Tensor]) -> Tensor:
    """`values` [batch d_vocab] at each prompt's ids, reduced over the ids where there are several."""
    if all(len(chosen) == 1 for chosen in ids):
        return values.gather(1, torch.tensor(ids, device=values.device))[:, 0]
    return torch.stack([reduce(row[list(chosen)], 0) for row, chosen in zip(values, ids, strict=True)])


def logit_diff(logits: Float[Tensor, "batch pos d_vocab"], target: Target) -> Float[Tensor, " batch"]:
    """logit(answer) − logit(foil), in logits. Wang et al. 2022, arXiv 2211.00593."""
    last = logits[:, -1]
    return _per_prompt(last, target.batch.answers, torch.mean) - _per_prompt(last, target.batch.foils, torch.mean)


def prob(logits: Float[Tensor, "batch pos d_vocab"], target: Target) -> Float[Tensor, " batch"]:
    """Probability of the answer (of all answers together)."""
    return _per_prompt(logits[:, -1].softmax(-1), target.batch.answers, torch.sum)


def logprob(logits: Float[Tensor, "batch pos d_vocab"], target: Target) -> Float[Tensor, " batch"]:
    """Natural logarithm of the probability of the answer (of all answers together), in nats."""
    return _per_prompt(logits[:, -1].log_softmax(-1), target.batch.answers, torch.logsumexp)


def cross_entropy(logits: Float[Tensor, "batch pos d_vocab"], target: Target) -> Float[Tensor, " batch"]:
    """−log p(answer), in nats: the loss of a classifier."""
    return -logprob(logits, target)


def accuracy(logits: Float[Tensor, "batch pos d_vocab"], target: Target) -> Float[Tensor, " batch"]:
    """1 where the token or class with the largest logit is an answer, else 0 (top-1)."""
    top = logits[:, -1].argmax(-1).tolist()
    hits = [choice in answers for choice, answers in zip(top, target.batch.answers, strict=True)]
    return torch.tensor(hits, dtype=torch.float32)


def kl(logits: Float[Tensor, "batch pos d_vocab"], target: Target) -> Float[Tensor, " batch"]:
    """KL divergence of the changed run from the clean run, in nats; the clean run comes first. arXiv 2304.14997."""
    clean, changed = target.clean[:, -1].log_softmax(-1), logits[:, -1].log_softmax(-1)
    return (clean.exp() * (clean - changed)).sum(-1)


def rank(logits: Float[Tensor, "batch pos d_vocab"], target: Target) -> Float[Tensor, " batch"]:
    """Number of tokens or classes with a strictly larger logit than the (best) answer; 0 is the top."""
    last = logits[:, -1]
    best = _per_prompt(last, target.batch.answers, torch.amax)
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
            Metric("kl", "KL divergence", "nat", (), kl),
            Metric("loss", "loss", "nat", (), loss, everywhere=True, next_token=True),
            Metric("rank", "rank", "rank", ("answers",), rank),
            Metric("cross_entropy", "cross-entropy", "nat", ("answers",), cross_entropy),
            Metric("accuracy", "accuracy", "fraction", ("answers",), accuracy),
            Metric("label_loss", "loss on labels", "nat", ("labels",), label_loss, everywhere=True),
            Metric("label_prob", "probability of labels", "prob", ("labels",), label_prob, everywhere=True),
            Metric("label_accuracy", "accuracy on labels", "fraction", ("labels",), label_accuracy, everywhere=True),
            Metric("value", "output", "logit", (), value, of="number"),
            Metric("squared_error", "squared error", "activation", ("labels",), squared_error, True, "number"),
            Metric("embedding_cosine", "cosine similarity", "cosine", (), embedding_cosine, of="embedding"),
        )
    }
)
