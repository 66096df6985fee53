"""Positions in attention: what is left of a head's pattern when content is the same everywhere. Arrays in, arrays out.

A softmax depends only on differences within a row, so scores are compared with the query's own: the score of a distance
d = q − k is s(q, q−d) − s(q, q), the natural logarithm of how much more weight a key at that distance gets than the
query's own position. Shapes: scores and patterns [prompt head q_pos k_pos], visible [prompt head q_pos k_pos] (True
where the model lets a query see a key and both are real tokens).
"""

from __future__ import annotations

import numpy as np

MASKED = -1e4
"""A mask adds the lowest number of its dtype to a score; no real score comes near this."""


def visible_scores(scores: np.ndarray) -> np.ndarray:
    """True where a score is one that the model's softmax sees: neither masked nor infinite."""
    return np.isfinite(scores) & (scores > MASKED)


def scores_of_pattern(pattern: np.ndarray) -> np.ndarray:
    """Scores that give a pattern, up to a constant per row: its natural logarithm, −inf where a weight is 0."""
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(pattern, dtype=np.float64))


def distances(visible: np.ndarray) -> tuple[int, ...]:
    """Distances q − k that occur: from 0 where no query sees a later key, else from the negative ones on."""
    width = visible.shape[-1]
    later = bool((visible & np.triu(np.ones((width, width), dtype=bool), 1)).any())
    return tuple(range(1 - width if later else 0, width))


def distance_profile(scores: np.ndarray, visible: np.ndarray, at: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """[head distance]: mean over prompts and queries of s(q, q−d) − s(q, q), in nats; and where there is a pair."""
    own = np.diagonal(scores, axis1=-2, axis2=-1)
    seen = visible & np.diagonal(visible, axis1=-2, axis2=-1)[..., None]
    relative = np.where(seen, scores - np.where(np.isfinite(own), own, 0.0)[..., None], 0.0)
    sums, counts = np.zeros((scores.shape[1], len(at))), np.zeros((scores.shape[1], len(at)))
    for place, distance in enumerate(at):
        sums[:, place] = np.diagonal(relative, -distance, -2, -1).sum(axis=(0, 2))
        counts[:, place] = np.diagonal(seen, -distance, -2, -1).sum(axis=(0, 2))
    return np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0), counts > 0


def pattern_of_profile(profile: np.ndarray, at: tuple[int, ...], visible: np.ndarray) -> np.ndarray:
    """[prompt head q_pos k_pos]: softmax over the visible keys of the score that a profile gives to their distance."""
    width = visible.shape[-1]
    places = np.clip(np.arange(width)[:, None] - np.arange(width)[None] - at[0], 0, len(at) - 1)
    scores = np.where(visible, profile[:, places][None], -np.inf)
    top = scores.max(axis=-1, keepdims=True)
    weights = np.exp(scores - np.where(np.isfinite(top), top, 0.0))
    total = weights.sum(axis=-1, keepdims=True)
    return np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)


def uniform(visible: np.ndarray) -> np.ndarray:
    """The pattern of a head that knows neither content nor position: the same weight on every visible key."""
    counts = visible.sum(axis=-1, keepdims=True)
    return np.divide(visible, counts, out=np.zeros(visible.shape), where=counts > 0)


def explained(pattern: np.ndarray, other: np.ndarray, visible: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[prompt head]: the share of a pattern that another has too; and which prompts have a query to take it at.

    1 − mean over queries of the total variation distance ½ Σ_k |A[q, k] − B[q, k]|. Only queries that see at least two
    keys count: a query that sees one has the same row whatever the head does.
    """
    choose = visible.sum(axis=-1) > 1
    distance = np.abs(np.asarray(pattern, np.float64) - other).sum(axis=-1) / 2
    counts = choose.sum(axis=-1)
    mean = np.divide((distance * choose).sum(axis=-1), counts, out=np.zeros(counts.shape), where=counts > 0)
    return np.where(counts > 0, 1.0 - mean, 0.0), counts > 0


def cosine_similarity(vectors: np.ndarray) -> np.ndarray:
    """[pos pos]: cosine of the angle between each two rows of [pos d_model]; 0 for a row of zeros."""
    lengths = np.linalg.norm(np.asarray(vectors, np.float64), axis=-1, keepdims=True)
    unit = np.divide(vectors, lengths, out=np.zeros(vectors.shape), where=lengths > 0)
    return np.einsum("id,jd->ij", unit, unit)
