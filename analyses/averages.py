"""Means over prompts as grids, with their bootstrap intervals and the per-prompt values beside them.

Every analysis that takes a mean over prompts makes its grids here: `averaged` for a mean, `recoveries` for a recovery
(a ratio of means), `control` for the range that parts chosen at random take. A grid NAME comes with

    NAME_low, NAME_high   95 % bootstrap interval over prompts, same axes; where there are two prompts or more
    NAME_by_prompt        the value of each prompt, with `prompt` as the first axis; with per_prompt=True

and whatever is undefined is masked by `valid`, with the reason in `about`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analyses import statistics
from analyses.grid import Coord, Grid, Unit
from analyses.statistics import Estimate

METHOD = f"95 % bootstrap interval over {{}} prompts ({statistics.DRAWS:,} draws, percentiles 2.5–97.5)"
ONE_PROMPT = "one prompt: no interval"


def averaged(
    name: str,
    by_prompt: np.ndarray,
    dims: tuple[str, ...],
    coords: Mapping[str, tuple[Coord, ...]],
    unit: Unit,
    *,
    baseline: float | None = None,
    about: str = "",
    per_prompt: bool = False,
    valid: np.ndarray | None = None,
    interval: bool = True,
    null: bool = True,
) -> tuple[Grid, ...]:
    """The grid `name`, the mean of `by_prompt` (first axis: prompt) in float64, its interval, its per-prompt values.

    valid: True where a prompt has a value; a cell's mean is over the prompts that have one. A cell with a value that is
    not a number (an expression may divide by 0) has no mean. interval: False for what is no effect or score but an
    activation, such as attention, and while a map is still filling. null: whether a part that does nothing scatters
    about `baseline`, so that intervals which miss it by chance are counted; False for what cannot fall below it, such
    as a KL divergence.
    """
    values = np.asarray(by_prompt, dtype=np.float64)
    given = np.ones(values.shape, dtype=bool) if valid is None else valid
    odd = given & ~np.isfinite(values)
    estimate = statistics.mean(np.where(odd, 0.0, values), valid, interval=interval)
    estimate = estimate.where(np.asarray(~odd.any(axis=0)))
    if odd.any():
        about += "; undefined for some prompts: not a finite number"
    if interval and len(values) == 1:
        about += f"; {ONE_PROMPT}"
    frame = _Frame(name, dims, coords, unit, baseline)
    grids = [frame.grid("", estimate.value, about), *frame.bounds(estimate, len(values), baseline if null else None)]
    return (*grids, *([frame.by_prompt(np.where(given, values, np.nan), about)] if per_prompt else ()))


def recoveries(
    name: str,
    run: np.ndarray,
    clean: np.ndarray,
    corrupt: np.ndarray,
    dims: tuple[str, ...],
    coords: Mapping[str, tuple[Coord, ...]],
    *,
    baseline: float = 0.0,
    about: str = "",
    per_prompt: bool = False,
    valid: np.ndarray | None = None,
    interval: bool = True,
) -> tuple[Grid, ...]:
    """The grid `name`, (run − corrupt) / (clean − corrupt) of the means over prompts, with its interval; unit fraction.

    run: a metric [prompt ...dims]; clean, corrupt: the same metric [prompt]. valid: False for cells [...dims] that have
    not been measured. baseline: where nothing is done: 0 in a corrupt run (denoising), 1 in a clean one (noising).
    NAME_by_prompt holds each prompt's own ratio, whose mean is another number. Undefined recoveries are masked.
    interval: False while a map is still filling.
    """
    run = np.asarray(run, dtype=np.float64)
    known = np.isfinite(run).all(axis=0) if valid is None else valid & np.isfinite(run).all(axis=0)
    run = np.where(known, run, 0.0)
    estimate = statistics.recovered(run, clean, corrupt, interval=interval).where(known)
    about = "; ".join(filter(None, (about, "ratio of means over prompts", estimate.reason)))
    if len(run) == 1:
        about += f"; {ONE_PROMPT}"
    frame = _Frame(name, dims, coords, "fraction", baseline)
    grids = [frame.grid("", estimate.value, about), *frame.bounds(estimate, len(run), baseline)]
    if not per_prompt:
        return tuple(grids)
    each = np.where(known, statistics.recovered_each(run, clean, corrupt), np.nan)
    alone = "each prompt's own ratio; undefined where its clean and corrupt runs do not differ"
    return (*grids, frame.by_prompt(each, alone))


def control(name: str, effects: np.ndarray, unit: Unit, of: str) -> tuple[Grid, ...]:
    """`NAME_low` and `NAME_high`: the 2.5th and 97.5th percentile of `effects`; none where there is just one.

    effects: means over prompts, NaN where unknown. of: what they are the effects of, such as "270 heads".
    """
    low, high = statistics.control_range(effects)
    if np.isnan(low):
        return ()
    beyond = statistics.outside(effects, low, high)
    about = f"percentile of the effects of {of}: a range over parts, not an interval; outside it: {beyond}"
    bounds = (("low", low, "2.5th"), ("high", high, "97.5th"))
    return tuple(Grid(f"{name}_{end}", np.array(at), (), {}, unit, 0.0, f"{rank} {about}") for end, at, rank in bounds)


@dataclass(frozen=True)
class _Frame:
    """What the grids of one quantity share; values that are NaN are masked."""

    name: str
    dims: tuple[str, ...]
    coords: Mapping[str, tuple[Coord, ...]]
    unit: Unit
    baseline: float | None

    def grid(self, ending: str, values: np.ndarray, about: str) -> Grid:
        return _masked(f"{self.name}{ending}", values, self.dims, self.coords, self.unit, self.baseline, about)

    def by_prompt(self, values: np.ndarray, about: str) -> Grid:
        """The value of each prompt, [prompt ...dims]."""
        coords = {"prompt": tuple(range(len(values))), **self.coords}
        dims = ("prompt", *self.dims)
        return _masked(f"{self.name}_by_prompt", values, dims, coords, self.unit, self.baseline, about)

    def bounds(self, estimate: Estimate, prompts: int, null: float | None) -> list[Grid]:
        """The two ends of an interval, which say how many of a map's intervals miss `null` by chance."""
        low, high = estimate.low, estimate.high
        if low is None or high is None:
            return []
        about, cells = METHOD.format(prompts), int((~np.isnan(low)).sum())
        if null is not None and cells > 1:
            missed = statistics.outside(np.full(low.shape, null), low, high)
            about += (
                f"; {cells:,} cells are looked at, without correction for their number: {missed:,} intervals exclude "
                f"{null:g}, and about {statistics.CHANCE * cells:.0f} would by chance if no part had an effect"
            )
        about = "; ".join(filter(None, (about, estimate.reason)))
        return [self.grid("_low", low, f"low end of the {about}"), self.grid("_high", high, f"high end of the {about}")]


def _masked(
    name: str,
    values: np.ndarray,
    dims: tuple[str, ...],
    coords: Mapping[str, tuple[Coord, ...]],
    unit: Unit,
    baseline: float | None,
    about: str,
) -> Grid:
    known = np.isfinite(values)
    valid = None if known.all() else known
    return Grid(name, np.where(known, values, 0.0), dims, coords, unit, baseline=baseline, about=about, valid=valid)
