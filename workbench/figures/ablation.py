"""Cells of an ablation: a Grid of effects as rows and columns that a page can draw and a reader can hear.

Pure: Grids in, frozen values out. Colours are chosen where the theme is known; here a cell has only a level, its place
in the shared range (−1…1 for effects about their baseline, 0…1 for shares).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from analyses.grid import Coord, Grid
from hooks.errors import SpecError
from workbench.figures.intervals import Bounds, inside
from workbench.figures.numbers import UNIT_WORDS, number
from workbench.figures.table import is_signed

WIDTH_OF_UNITS = 64
POSITIONS = ("pos", "q_pos", "k_pos")
COL_NAMES = {"unit": "neuron", "q_pos": "query", "k_pos": "key", "kv_head": "key/value head"}
UNMEASURED = "not measured"
Scale = Literal["signed", "share"]


@dataclass(frozen=True)
class CellMap:
    """A picture of cells in rows and columns, all in one range.

    rows, cols: labels as shown. row_keys: for each row the coordinates that its cells share; col_dim: the axis along
    the columns ("" where there is one column); col_keys: its coordinate in each cell. levels: places in the range (None
    where nothing was measured). texts: the numbers as read. reach: the value at level 1. inside: which cells lie in the
    range of a control, for a page to grey; none where there is no control. baseline: the value at level 0.
    """

    rows: tuple[str, ...]
    cols: tuple[str, ...]
    row_name: str
    col_name: str
    row_keys: tuple[Mapping[str, Coord], ...]
    col_dim: str
    col_keys: tuple[tuple[Coord, ...], ...]
    levels: tuple[tuple[float | None, ...], ...]
    texts: tuple[tuple[str, ...], ...]
    scale: Scale
    reach: float
    unit: str
    inside: tuple[tuple[bool, ...], ...] = ()
    baseline: float = 0.0

    @property
    def low(self) -> str:
        """The low end of the colour bar."""
        return number(self.baseline - self.reach, signed=True) if self.scale == "signed" else "0"

    @property
    def high(self) -> str:
        """The high end of the colour bar."""
        return number(self.baseline + self.reach, signed=self.scale == "signed")

    @property
    def measured(self) -> int:
        """How many cells have a value."""
        return sum(level is not None for row in self.levels for level in row)

    def at(self, row: int, col: int) -> dict[str, Coord]:
        """The coordinates of one cell by axis."""
        here = {self.col_dim: self.col_keys[row][col]} if self.col_dim else {}
        return {**self.row_keys[row], **here}


@dataclass(frozen=True)
class TokenRow:
    """One next token before and after: probabilities, and the widths of their bars in one scale (0…1)."""

    token: str
    id: int | None
    before: float
    after: float
    before_width: float
    after_width: float

    @property
    def change(self) -> float:
        return self.after - self.before


def scale_of(grid: Grid) -> Scale:
    """Changes about a baseline are signed; everything else is a share of the range from 0."""
    return "signed" if is_signed(grid) else "share"


def reach_of(*grids: Grid) -> float:
    """The largest distance from the baseline in any of the grids: the shared range of maps that are compared."""
    return max((float(np.abs(_known(grid) - (grid.baseline or 0.0)).max(initial=0.0)) for grid in grids), default=0.0)


def cell_map(
    grid: Grid,
    *,
    strings: Sequence[str] = (),
    reach: float | None = None,
    bounds: Bounds | None = None,
    control: Bounds | None = None,
) -> CellMap:
    """The picture of a grid over (layer, head), (layer, kv_head), (layer,), (layer, unit) or (layer, pos).

    strings: token texts for a `pos` axis. reach: a range shared with other maps (default: the grid's own). bounds: the
    interval of each cell, which joins its text. control: the range inside which cells are marked. Neurons come in rows
    of 64, whose label says the layer and the first neuron. Raises SpecError for grids of other axes.
    """
    if not grid.dims or len(grid.dims) > 2:
        raise SpecError(f"grid '{grid.name}' has {len(grid.dims)} axes.", "A map of cells has one or two.")
    first, col_dim = grid.dims[0], grid.dims[1] if len(grid.dims) == 2 else ""
    keys = tuple(grid.coords[col_dim]) if col_dim else (0,)
    width = WIDTH_OF_UNITS if col_dim == "unit" else len(keys)
    starts = range(0, len(keys), width)
    scale, span = scale_of(grid), reach_of(grid) if reach is None else reach
    levels, texts = _lines(grid, scale, span, bounds)
    within = inside(grid, control).reshape(len(levels), -1).tolist() if control else None
    spans = [(row, start) for row in range(len(grid.coords[first])) for start in starts]
    return CellMap(
        rows=tuple(_row_label(grid.coords[first][row], keys[start], col_dim) for row, start in spans),
        cols=_col_labels(col_dim, keys, width, strings),
        row_name=f"{first}.first neuron" if col_dim == "unit" else first,
        col_name=COL_NAMES.get(col_dim, col_dim if col_dim != "pos" else "token" if strings else "position"),
        row_keys=tuple({first: grid.coords[first][row]} for row, _ in spans),
        col_dim=col_dim,
        col_keys=tuple(keys[start : start + width] for _, start in spans),
        levels=tuple(levels[row][start : start + width] for row, start in spans),
        texts=tuple(texts[row][start : start + width] for row, start in spans),
        scale=scale,
        reach=span,
        unit=UNIT_WORDS[grid.unit],
        inside=tuple(tuple(within[row][start : start + width]) for row, start in spans) if within else (),
        baseline=grid.baseline or 0.0,
    )


def blank(name: str, coords: Mapping[str, Sequence[Coord]], unit: str) -> Grid:
    """A grid in which nothing has been measured yet."""
    shape = tuple(len(labels) for labels in coords.values())
    held = {dim: tuple(labels) for dim, labels in coords.items()}
    spec: Any = unit
    missing = np.zeros(shape, dtype=bool)
    return Grid(name, np.zeros(shape, np.float32), tuple(coords), held, spec, 0.0, "not measured yet", missing)


def strongest(grid: Grid, count: int = 10) -> list[dict[str, Any]]:
    """The `count` cells farthest from the baseline, as records with coordinates and `value`; zeros are left out."""
    return [row for row in grid.top(count) if row["value"] != (grid.baseline or 0.0)]


def token_rows(before: Grid, after: Grid, count: int = 12) -> list[TokenRow]:
    """The likeliest next tokens of two runs, likeliest before first, with bars in one scale.

    Raises SpecError where the grids do not hold the same tokens in the same order.
    """
    if before.dims != ("token",) or tuple(before.coords["token"]) != tuple(after.coords["token"]):
        raise SpecError("the two distributions do not hold the same tokens.", "Run the ablation again.")
    tokens, ids = before.coords["token"], before.coords.get("id", (None,) * len(before.coords["token"]))
    rows = list(zip(tokens, ids, before.values.tolist(), after.values.tolist(), strict=True))
    kept = sorted(rows, key=lambda row: -max(row[2:]))[:count]
    largest = max((max(row[2:]) for row in kept), default=0.0) or 1.0
    return [
        TokenRow(str(token), None if id is None else int(id), a, b, a / largest, b / largest)
        for token, id, a, b in sorted(kept, key=lambda row: -row[2])
    ]


def difference(left: Grid, right: Grid) -> Grid | None:
    """`right` minus `left`, cell by cell, or None where their axes, coordinates or units differ."""
    same = left.dims == right.dims and left.unit == right.unit
    if not same or any(tuple(left.coords[dim]) != tuple(right.coords[dim]) for dim in left.dims):
        return None
    valid = None
    if left.valid is not None or right.valid is not None:
        valid = _valid(left) & _valid(right)
    values = np.asarray(right.values, np.float32) - np.asarray(left.values, np.float32)
    values = values if valid is None else np.where(valid, values, np.float32(0))
    about = f"{left.name}: the second result minus the first"
    return Grid("difference", values, left.dims, left.coords, left.unit, 0.0, about, valid)


def _valid(grid: Grid) -> np.ndarray:
    return np.ones(grid.values.shape, dtype=bool) if grid.valid is None else np.asarray(grid.valid, dtype=bool)


def _known(grid: Grid) -> np.ndarray:
    values = np.asarray(grid.values, np.float64)
    return values if grid.valid is None else values[np.asarray(grid.valid, dtype=bool)]


def _col_labels(dim: str, keys: tuple[Coord, ...], width: int, strings: Sequence[str]) -> tuple[str, ...]:
    if dim == "unit":
        return tuple(str(offset) for offset in range(min(width, len(keys))))
    if dim in POSITIONS and strings:
        return tuple(strings[int(key)] for key in keys)
    return tuple(str(key) for key in keys) if dim else ("",)


def _row_label(label: Coord, first: Coord, col_dim: str) -> str:
    return f"{label}.{first}" if col_dim == "unit" else str(label)


def _lines(
    grid: Grid, scale: Scale, reach: float, bounds: Bounds | None
) -> tuple[list[tuple[float | None, ...]], list[tuple[str, ...]]]:
    """Levels and texts, one line per entry of the first axis."""
    rows = len(grid.coords[grid.dims[0]])
    values = np.asarray(grid.values, np.float64).reshape(rows, -1)
    valid = _valid(grid).reshape(rows, -1)
    levels, texts = [], []
    for line, known in zip(values, valid, strict=True):
        pairs = [(float(value), bool(here)) for value, here in zip(line, known, strict=True)]
        levels.append(tuple(_level(value - (grid.baseline or 0.0), reach) if here else None for value, here in pairs))
        texts.append(tuple(number(value, signed=scale == "signed") if here else UNMEASURED for value, here in pairs))
    return levels, texts if bounds is None else _with_intervals(texts, bounds)


def _with_intervals(texts: list[tuple[str, ...]], bounds: Bounds) -> list[tuple[str, ...]]:
    """ "+1.23 (+0.81 to +1.6)", where there is an interval."""
    shape = bounds.low.values.shape
    ends = [bounds.text(index) for index in np.ndindex(shape)]
    lines = [ends[start : start + len(ends) // len(texts)] for start in range(0, len(ends), len(ends) // len(texts))]
    return [
        tuple(f"{text} ({end})" if end else text for text, end in zip(line, more, strict=True))
        for line, more in zip(texts, lines, strict=True)
    ]


def _level(distance: float, reach: float) -> float:
    return 0.0 if reach == 0 else round(max(-1.0, min(1.0, float(distance) / reach)), 3)
