"""How much of a model's behaviour a circuit keeps, as numbers: curves over sizes and their areas; overlap of circuits.

    f(C) = (m(C) − m(empty)) / (m(M) − m(empty))           normalised faithfulness, of means over prompts
    CPR  = ∫ f(C_k) dk          CMD = ∫ |1 − f(C_k)| dk    trapezoid rule over the kept shares k, on the linear scale

Pure NumPy in float64. Intervals redraw prompts, all sizes of a curve together (`analyses.statistics`).

Sources: Mueller et al. 2025, arXiv 2504.13151 (f, CPR, CMD); Wang et al. 2022, arXiv 2211.00593 (|F(M) − F(C)|).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float

from analyses.statistics import PERCENTILES, SAME, Estimate, resamples

SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""The kept shares of edges at which curves are taken (Mueller et al. 2025)."""
Area = Callable[[Float[np.ndarray, "*draw size"], Sequence[float]], Float[np.ndarray, "*draw"]]


def cpr(faithfulness: Float[np.ndarray, "*draw size"], shares: Sequence[float]) -> Float[np.ndarray, "*draw"]:
    """The integrated circuit performance ratio: the area under f over the kept share. It may exceed 1."""
    return np.trapezoid(faithfulness, np.asarray(shares, np.float64), axis=-1)


def cmd(faithfulness: Float[np.ndarray, "*draw size"], shares: Sequence[float]) -> Float[np.ndarray, "*draw"]:
    """The integrated circuit–model distance: the area under |1 − f| over the kept share. 0 is best."""
    return np.trapezoid(np.abs(1.0 - np.asarray(faithfulness)), np.asarray(shares, np.float64), axis=-1)


def area(
    of: Area,
    run: Float[np.ndarray, "prompt size"],
    full: Float[np.ndarray, " prompt"],
    empty: Float[np.ndarray, " prompt"],
    shares: Sequence[float],
) -> Estimate:
    """CPR or CMD of a curve, with its bootstrap interval; NaN with a reason where f is undefined.

    run: the metric of the circuits; full, empty: of the model and of the ablated run.
    """
    if len(shares) < 2:
        return Estimate(np.array(np.nan), reason="undefined: an area needs two sizes or more")
    known = np.isfinite(run).all()
    value = of(_ratio(np.mean(run - empty[:, None], axis=0), np.mean(full - empty)), shares)
    if not known or np.isnan(value):
        why = "clean and ablated differ by less than 1e-6" if known else "some sizes have not been measured"
        return Estimate(np.array(np.nan), reason=f"undefined: {why}")
    if len(run) < 2:
        return Estimate(np.array(value))
    weights = resamples(len(run)) / len(run)
    draws = of(_ratio(weights @ (run - empty[:, None]), (weights @ (full - empty))[:, None]), shares)
    draws = draws[np.isfinite(draws)]
    low, high = np.percentile(draws, PERCENTILES) if len(draws) else (np.nan, np.nan)
    return Estimate(np.array(value), np.array(low), np.array(high))


def _ratio(over: np.ndarray, under: np.ndarray | float) -> np.ndarray:
    defined = np.abs(np.broadcast_to(under, over.shape)) >= SAME
    return np.divide(over, under, out=np.full(over.shape, np.nan), where=defined)


def jaccard(a: Bool[np.ndarray, "*member"], b: Bool[np.ndarray, "*member"]) -> float:
    """Intersection over union of two sets given by membership; NaN for two empty ones."""
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else float("nan")


def mean_jaccard(sets: Bool[np.ndarray, "set member"]) -> float:
    """The mean over all pairs of sets; NaN for fewer than two, pairs of empty sets left out."""
    held = np.asarray(sets, np.float64)
    both = held @ held.T
    union = both.diagonal()[:, None] + both.diagonal()[None] - both
    upper = np.triu_indices(len(held), k=1)
    some = union[upper] > 0
    return float(np.mean(both[upper][some] / union[upper][some])) if some.any() else float("nan")


def shares_of(sizes: Sequence[float], n_edges: int) -> tuple[int, ...]:
    """How many edges each kept share is: rounded to the nearest, at least one."""
    return tuple(max(1, round(share * n_edges)) for share in sizes)
