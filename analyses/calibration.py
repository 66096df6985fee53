"""Calibration of multiple choice: does a model that is 80 % sure of its choice turn out right 80 % of the time?

Arrays in, arrays out. log_probs [item choice] with −inf where an item has fewer choices; right [item choice] bool.
The confidence of an item is the largest probability among its choices, after softmax over the summed log-probabilities.
Expected calibration error over M bins of equal width, bin m holding confidences in (m/M, (m+1)/M] (Naeini et al. 2015;
Guo et al. 2017, arXiv 1706.04599):

    ECE = Σ_m n_m / N · |accuracy(m) − mean confidence(m)|
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int


def probabilities(log_probs: Float[np.ndarray, "item choice"]) -> Float[np.ndarray, "item choice"]:
    """Softmax over each item's choices."""
    raised = np.exp(log_probs - log_probs.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def hits(
    scores: Float[np.ndarray, "item choice"], right: Bool[np.ndarray, "item choice"]
) -> Float[np.ndarray, " item"]:
    """1 where the choice with the largest score is right, else 0; of equal scores the first is chosen."""
    return right[np.arange(len(scores)), scores.argmax(axis=-1)].astype(np.float64)


def bins_of(confidence: Float[np.ndarray, " item"], bins: int) -> Int[np.ndarray, " item"]:
    """The bin of each confidence: m where it lies in (m/bins, (m+1)/bins]."""
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)


@dataclass(frozen=True, eq=False)
class Reliability:
    """By bin: how many items [bin], their mean confidence and their accuracy [bin], 0 where there are none."""

    count: Float[np.ndarray, "*draw bin"]
    confidence: Float[np.ndarray, "*draw bin"]
    accuracy: Float[np.ndarray, "*draw bin"]

    @property
    def error(self) -> Float[np.ndarray, "*draw"]:
        """The expected calibration error."""
        share = self.count / self.count.sum(axis=-1, keepdims=True)
        return (share * np.abs(self.accuracy - self.confidence)).sum(axis=-1)


def reliability(
    confidence: Float[np.ndarray, " item"],
    hit: Float[np.ndarray, " item"],
    bins: int,
    weights: Float[np.ndarray, "*draw item"] | None = None,
) -> Reliability:
    """The reliability curve. weights: how often each item counts, for resampled sets; once without."""
    weights = np.ones(len(confidence)) if weights is None else weights
    member = np.eye(bins)[bins_of(confidence, bins)]
    count = weights @ member
    there = np.maximum(count, 1e-300)
    return Reliability(count, (weights * confidence) @ member / there, (weights * hit) @ member / there)
