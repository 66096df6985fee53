"""Statistics over prompts: means, ratios of means and their bootstrap intervals; ranges over parts; agreement of maps.

A mean over prompts is a sample from what other prompts would have given. The bootstrap redraws as many prompts as there
are, with replacement, 1,000 times from a fixed seed, and takes the mean of each draw; the interval is the 2.5th to the
97.5th percentile of these means (Efron 1979; percentile method). Prompts are what is redrawn, never heads or layers,
and one set of draws serves every cell of a map, so that cells can be compared draw by draw. One prompt has no interval.

A control range is something else: percentiles over parts, of effects that are means already. It says what a part of
this kind does when it is chosen without a reason.

Pure NumPy in float64. Undefined numbers are NaN here and come with their reason; nothing is clipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

DRAWS = 1000
SEED = 0
PERCENTILES = (2.5, 97.5)
CHANCE = 0.05
"""Share of 95 % intervals that miss a true value of 0."""
SAME = 1e-6
"""Below this distance of clean from corrupt a recovery is undefined."""
CELLS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class Estimate:
    """A statistic of each cell with its interval, float64; NaN where undefined, and `reason` says why.

    low, high: None where there are fewer than two prompts.
    """

    value: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    reason: str = ""

    def where(self, known: np.ndarray) -> Estimate:
        """The same with the cells that are not `known` undefined."""
        if known.all():
            return self
        low, high = (None if end is None else np.where(known, end, np.nan) for end in (self.low, self.high))
        return Estimate(np.where(known, self.value, np.nan), low, high, self.reason)


@lru_cache(maxsize=32)
def resamples(prompts: int, draws: int = DRAWS, seed: int = SEED) -> np.ndarray:
    """How often each prompt is in each draw [draw prompt]; every row sums to `prompts`. Read-only and shared."""
    chosen = np.random.default_rng(seed).integers(0, prompts, size=(draws, prompts))
    rows = np.arange(draws)[:, None] * prompts
    counts = np.bincount((rows + chosen).ravel(), minlength=draws * prompts).reshape(draws, prompts)
    counts = counts.astype(np.float64)
    counts.setflags(write=False)
    return counts


def mean(
    values: np.ndarray, valid: np.ndarray | None = None, *, draws: int = DRAWS, seed: int = SEED, interval: bool = True
) -> Estimate:
    """The mean over the first axis (prompt) of each cell, with its bootstrap interval.

    valid: True where a prompt has a value; means are over those, and draws in which a cell has none are left out. For a
    difference of two runs give the paired differences: a difference of means over shared draws is the same number. For
    an accuracy give 1 and 0; where all prompts agree, its interval has no width.
    """
    values = np.asarray(values, dtype=np.float64)
    if valid is None:
        return ratio_of_means(values, np.ones(len(values)), draws=draws, seed=seed, interval=interval)
    return ratio_of_means(
        np.where(valid, values, 0.0), np.asarray(valid, np.float64), draws=draws, seed=seed, interval=interval
    )


def ratio_of_means(
    over: np.ndarray,
    under: np.ndarray,
    *,
    least: float = 0.0,
    draws: int = DRAWS,
    seed: int = SEED,
    interval: bool = True,
) -> Estimate:
    """mean(over) / mean(under) over the first axis (prompt), the two redrawn together.

    over: [prompt ...cells]; under: the same, or one value per prompt [prompt] for all cells. A ratio is NaN where
    |mean(under)| is at most `least`; draws in which it is are left out of the interval.
    """
    over, under = np.asarray(over, np.float64), np.asarray(under, np.float64)
    cells, prompts = over.shape[1:], over.shape[0]
    over, under = over.reshape(prompts, -1), under.reshape(prompts, -1)
    value = _ratio(over.mean(axis=0), under.mean(axis=0), least)
    if prompts < 2 or not interval:
        return Estimate(value.reshape(cells))
    weights = resamples(prompts, draws, seed) / prompts
    bounds = np.full((2, over.shape[1]), np.nan)
    shared = under.shape[1] == 1
    below = weights @ under if shared else None
    for start in range(0, over.shape[1], CELLS_AT_ONCE):
        part = slice(start, start + CELLS_AT_ONCE)
        # Cells first: each cell's draws lie together in memory, which halves the time of the percentiles.
        above = over[:, part].T @ weights.T
        divisor = below.T if below is not None else under[:, part].T @ weights.T
        bounds[:, part] = _percentiles(_ratio(above, np.broadcast_to(divisor, above.shape), least))
    bounds[:, np.isnan(value)] = np.nan
    return Estimate(value.reshape(cells), bounds[0].reshape(cells), bounds[1].reshape(cells))


def recovered(
    run: np.ndarray,
    clean: np.ndarray,
    corrupt: np.ndarray,
    *,
    draws: int = DRAWS,
    seed: int = SEED,
    interval: bool = True,
) -> Estimate:
    """(run − corrupt) / (clean − corrupt) of the means over prompts: 0 as the corrupt run, 1 as the clean run.

    run: [prompt ...cells]; clean, corrupt: [prompt]. The ratio of means, unbounded; NaN with a reason where the means
    of clean and corrupt are closer than 1e-6. Zhang, Nanda 2024, arXiv 2309.16042; Heimersheim, Nanda 2024, 2404.15255.
    """
    run, clean, corrupt = (np.asarray(values, np.float64) for values in (run, clean, corrupt))
    under = clean - corrupt
    over = run - corrupt.reshape(-1, *(1,) * (run.ndim - 1))
    # "Closer than 1e-6", where ratio_of_means asks for the largest distance that is undefined.
    found = ratio_of_means(over, under, least=np.nextafter(SAME, 0.0), draws=draws, seed=seed, interval=interval)
    return Estimate(found.value, found.low, found.high, _doubts(mean(under, draws=draws, seed=seed)))


def _doubts(apart: Estimate) -> str:
    """What is wrong with dividing by clean − corrupt; "" where nothing is."""
    if abs(float(apart.value)) < SAME:
        return "undefined: clean and corrupt differ by less than 1e-6"
    if apart.low is not None and apart.high is not None and apart.low <= 0.0 <= apart.high:
        return "unreliable: the interval of clean − corrupt, by which it is divided, includes 0"
    return ""


def recovered_each(run: np.ndarray, clean: np.ndarray, corrupt: np.ndarray) -> np.ndarray:
    """The recovery of every prompt by itself [prompt ...cells]; NaN for prompts whose clean and corrupt do not differ.

    Its mean over prompts is another, unstable quantity: one prompt with clean near corrupt can decide it.
    """
    run, clean, corrupt = (np.asarray(values, np.float64) for values in (run, clean, corrupt))
    shape = (len(run), *(1,) * (run.ndim - 1))
    over = run - corrupt.reshape(shape)
    return _ratio(over, np.broadcast_to((clean - corrupt).reshape(shape), over.shape), np.nextafter(SAME, 0.0))


def control_range(effects: np.ndarray) -> tuple[float, float]:
    """The 2.5th and 97.5th percentile of the effects of parts: a range over parts, not an interval of any of them.

    NaN where fewer than two effects are known; unknown ones are not finite.
    """
    known = np.asarray(effects, np.float64).ravel()
    known = known[np.isfinite(known)]
    if len(known) < 2:
        return float("nan"), float("nan")
    low, high = np.percentile(known, PERCENTILES)
    return float(low), float(high)


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation of two maps over all cells; NaN where either is the same everywhere."""
    x, y = (np.asarray(values, np.float64).ravel() for values in (x, y))
    # A constant leaves rounding noise after its mean is taken out, so constancy is asked of the values themselves.
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    x, y = x / np.abs(x).max(), y / np.abs(y).max()
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1.0, 1.0))


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's correlation: Pearson's of the ranks, tied values sharing the mean of their ranks."""
    return pearson(ranks(x), ranks(y))


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, smallest first, ties as the mean of the ranks they take; flat."""
    _, group, sizes = np.unique(np.asarray(values, np.float64).ravel(), return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    return ((2 * last - sizes + 1) / 2.0)[group.ravel()]


def top_overlap(x: np.ndarray, y: np.ndarray, k: int) -> float:
    """Share of the `k` cells farthest from 0 in `x` that are among those in `y`; of equal ones the first counts."""
    x, y = (np.abs(np.asarray(values, np.float64)).ravel() for values in (x, y))
    k = min(k, len(x))
    if k < 1:
        return float("nan")
    tops = [set(np.argsort(-values, kind="stable")[:k].tolist()) for values in (x, y)]
    return len(tops[0] & tops[1]) / k


def outside(values: np.ndarray, low: np.ndarray | float, high: np.ndarray | float) -> int:
    """How many values lie outside their range; unknown ones (NaN) do not count."""
    return int(((values < low) | (values > high)).sum())


def _ratio(over: np.ndarray, under: np.ndarray, least: float) -> np.ndarray:
    defined = np.abs(under) > least
    return np.divide(over, under, out=np.full(over.shape, np.nan), where=defined)


def _percentiles(draws: np.ndarray) -> np.ndarray:
    """[2 cell] of [cell draw], interpolated between neighbours; draws that are NaN are left out."""
    if np.isnan(draws).any():
        bounds = np.full((2, len(draws)), np.nan)
        some = ~np.isnan(draws).all(axis=1)
        bounds[:, some] = np.nanpercentile(draws[some], PERCENTILES, axis=1)
        return bounds
    # np.percentile gives the same numbers; a plain sort of rows that lie together in memory is several times faster.
    places = np.array(PERCENTILES) / 100 * (draws.shape[1] - 1)
    below = np.floor(places).astype(int)
    above = np.minimum(below + 1, draws.shape[1] - 1)
    ordered = np.sort(draws, axis=1)
    share = places - below
    return (ordered[:, below] * (1 - share) + ordered[:, above] * share).T
