"""The ends of intervals as companions of the number they belong to: found by name, written beside it, drawn as bars.

NAME_low and NAME_high with the axes of NAME are the ends of its interval, and no maps of their own. A low and a high
without such a NAME, as those of a control, are a range of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from analyses.grid import Grid
from workbench.figures.numbers import number
from workbench.figures.table import is_signed

ENDS = ("_low", "_high")


@dataclass(frozen=True, eq=False)
class Bounds:
    """The two ends of an interval of every cell, or of a range."""

    low: Grid
    high: Grid

    @property
    def known(self) -> np.ndarray:
        """Where both ends have a value."""
        return np.asarray(_known(self.low) & _known(self.high))

    def text(self, index: tuple[int, ...] = (), *, digits: int = 3) -> str:
        """An interval as written: "+0.812 to +1.34"; "" where it is undefined."""
        if not self.known[index]:
            return ""
        signed = is_signed(self.low)
        ends = (number(float(end.values[index]), signed=signed, digits=digits) for end in (self.low, self.high))
        return " to ".join(ends)

    def reaches(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How far the ends lie above and below `values`, for error bars; NaN where undefined."""
        above, below = (np.where(self.known, end.values, np.nan) for end in (self.high, self.low))
        return above - values, values - below


def bounds_of(grid: Grid, grids: Mapping[str, Grid]) -> Bounds | None:
    """The interval of a grid among the grids of its result, or None."""
    low, high = (grids.get(f"{grid.name}{end}") for end in ENDS)
    if low is None or high is None or low.dims != grid.dims or high.dims != grid.dims:
        return None
    return Bounds(low, high)


def range_of(name: str, grids: Mapping[str, Grid]) -> Bounds | None:
    """The range called `name`, such as "control": two numbers that belong to no grid of that name and those axes."""
    low, high = (grids.get(f"{name}{end}") for end in ENDS)
    return None if low is None or high is None or low.dims or high.dims else Bounds(low, high)


def is_companion(grid: Grid, grids: Mapping[str, Grid]) -> bool:
    """Whether a grid is one end of an interval or of a range, which is shown beside something else."""
    name = parent(grid)
    if name is None or any(f"{name}{end}" not in grids for end in ENDS):
        return False
    return not grid.dims or (name in grids and grids[name].dims == grid.dims)


def separate(grids: Mapping[str, Grid]) -> tuple[Grid, ...]:
    """The grids that are shown by themselves where every number has its line: all but the ends of maps' intervals."""
    return tuple(grid for grid in grids.values() if not (grid.dims and is_companion(grid, grids)))


def parent(grid: Grid) -> str | None:
    """The name whose end a grid is by its own name; None where it is none."""
    return next((grid.name.removesuffix(end) for end in ENDS if grid.name.endswith(end)), None)


def inside(grid: Grid, control: Bounds) -> np.ndarray:
    """True where an effect lies within a control's range: no stronger than what parts do that nobody picked."""
    within = (grid.values >= float(control.low.values)) & (grid.values <= float(control.high.values))
    return np.asarray(within & _known(grid))


def outside(grid: Grid, control: Bounds) -> Grid:
    """The effects outside a control's range; the others as if they were not known."""
    return replace(grid, valid=_known(grid) & ~inside(grid, control))


def _known(grid: Grid) -> np.ndarray:
    return np.ones(grid.values.shape, dtype=bool) if grid.valid is None else np.asarray(grid.valid, dtype=bool)
