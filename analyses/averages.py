"""Means over prompts as grids, with the per-prompt values beside them when asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from analyses.grid import Coord, Grid, Unit


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
) -> tuple[Grid, ...]:
    """The grid `name`: the mean of `by_prompt` (first axis: prompt) in float64; and `NAME_by_prompt` when asked.

    valid: True where a prompt has a value; a cell's mean is over the prompts that have one.
    """
    values = np.asarray(by_prompt, dtype=np.float64)
    if valid is None:
        mean, known = values.mean(axis=0), None
    else:
        counts = valid.sum(axis=0)
        mean = np.where(valid, values, 0.0).sum(axis=0) / np.maximum(counts, 1)
        known = None if (counts > 0).all() else counts > 0
    shared: dict[str, Any] = {"unit": unit, "baseline": baseline, "about": about}
    grids = [Grid(name, mean, dims, coords, valid=known, **shared)]
    if per_prompt:
        prompts = {"prompt": tuple(range(len(values))), **coords}
        full = None if valid is None or valid.all() else valid
        filled = values if full is None else np.where(full, values, 0.0)
        grids.append(Grid(f"{name}_by_prompt", filled, ("prompt", *dims), prompts, valid=full, **shared))
    return tuple(grids)
