"""Scores of all edges for a curve over sizes, prompt by prompt, and how much their ranking owes to these prompts.

Scores are those of `circuit_search` (EAP, or EAP-IG of the inputs with both its defaults), found again where a circuit
is judged, since a circuit carries the scores of its own edges alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from analyses.bench import Bench
from analyses.circuit import Graph
from analyses.circuit_slopes import Search
from analyses.faithfulness import mean_jaccard
from analyses.metric_choice import LESS_IS_BETTER
from analyses.metrics import Metric
from analyses.pairs import CLEAN, check_pairs
from analyses.statistics import resamples

Scores = Literal["circuit", "eap", "eap_ig"]
DRAWS = 100
"""Bootstrap draws whose circuits are compared pair by pair."""
MOST_BYTES = 512 << 20


def scores_by_prompt(
    bench: Bench, graph: Graph, metric: Metric, method: Scores, steps: int
) -> Float[np.ndarray, "prompt edge"]:
    """The score of every edge, reader by reader as in `graph.edges`; one row, the mean, where they are too many.

    Raises InputError for prompts that do not pair up.
    """
    check_pairs(bench)
    sign = -1.0 if metric.name in LESS_IS_BETTER else 1.0
    total, done, parts = len(bench.batch(CLEAN)), 0, list[np.ndarray]()
    each = 4 * graph.n_edges * total <= MOST_BYTES
    places = np.nonzero(graph.allowed.T)[::-1]
    for pairs in Search(bench, graph, metric, sign).chunks():
        bench.step(done, total, "scores of all edges")
        shares = tuple((number + 1) / steps for number in range(steps))
        found = (pairs.at_clean() if method == "eap" else pairs.along_inputs(shares)).float().cpu().numpy()
        done += len(found)
        listed = found[:, places[0], places[1]]
        parts.append(listed if each else listed.sum(axis=0, keepdims=True, dtype=np.float64))
    return np.concatenate(parts) if each else np.sum(parts, axis=0) / total


def laid_out(graph: Graph, scores: Float[np.ndarray, " edge"]) -> Float[np.ndarray, "writer reader"]:
    """Scores of all edges as an array; −∞ where there is no edge."""
    rank = np.full(graph.allowed.shape, -np.inf)
    rank[np.nonzero(graph.allowed.T)[::-1]] = scores
    return rank


def stability(
    scores: Float[np.ndarray, "prompt edge"], counts: Sequence[int], *, absolute: bool, draws: int = DRAWS
) -> Float[np.ndarray, " size"]:
    """The mean Jaccard overlap of the top edges of bootstrap draws of the prompts, at each size; NaN for one prompt."""
    if len(scores) < 2:
        return np.full(len(counts), np.nan)
    drawn = resamples(len(scores), draws).astype(scores.dtype) @ scores
    order = np.argsort(-np.abs(drawn) if absolute else -drawn, axis=1, kind="stable")
    found = []
    for count in counts:
        held = np.zeros(drawn.shape, dtype=bool)
        np.put_along_axis(held, order[:, :count], True, axis=1)
        found.append(mean_jaccard(held))
    return np.array(found)
