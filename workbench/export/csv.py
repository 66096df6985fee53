"""Grids as tidy CSV: one row per cell, axis names as columns. Text that a spreadsheet would run is escaped, reversibly.

The rule: a text cell that begins with `=`, `+`, `-`, `@`, a tab, a carriage return or an apostrophe gets one apostrophe
in front. To read it back, drop one leading apostrophe from text cells that have one (`unescape`). Numbers stay numbers.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from analyses.grid import Coord, Grid
from analyses.result import Result

RISKY = ("=", "+", "-", "@", "\t", "\r", "'")


def escape(cell: str) -> str:
    """`cell` as a spreadsheet may hold it without running it."""
    return f"'{cell}" if cell.startswith(RISKY) else cell


def unescape(cell: str) -> str:
    """The text that `escape` was given."""
    return cell.removeprefix("'")


def grid_csv(grid: Grid) -> str:
    """One grid: its axes as columns, its further labels beside them, then `value` (empty where missing)."""
    rows = ((*coords, value) for coords, value in _cells(grid))
    return _write((*columns(grid), "value"), rows)


def columns(grid: Grid) -> tuple[str, ...]:
    """The axes of a grid, then its further labels."""
    return (*grid.dims, *grid.further())


def result_csv(result: Result) -> str:
    """All grids in one table: `grid`, every axis that any grid has, `value`, `unit`; an axis a grid lacks is empty."""
    grids = result.grids.values()
    axes = tuple(dict.fromkeys(name for grid in grids for name in columns(grid)))
    return _write(("grid", *axes, "value", "unit"), itertools.chain.from_iterable(_rows(grid, axes) for grid in grids))


def tokens_csv(result: Result) -> str:
    """The tokens as fed: input set, prompt, position, id, text with visible whitespace."""
    rows = (
        (name, prompt, pos, token_id, escape(text))
        for name, prompts in result.provenance.tokens.items()
        for prompt, ids in enumerate(prompts)
        for pos, (token_id, text) in enumerate(zip(ids, result.provenance.strings[name][prompt], strict=True))
    )
    return _write(("input", "prompt", "pos", "id", "text"), rows)


def _rows(grid: Grid, axes: Sequence[str]) -> Iterator[tuple[object, ...]]:
    for coords, value in _cells(grid):
        at = dict(zip(columns(grid), coords, strict=True))
        yield (escape(grid.name), *(at.get(axis, "") for axis in axes), value, grid.unit)


def _cells(grid: Grid) -> Iterator[tuple[tuple[Coord, ...], str]]:
    """Coordinates and value of every cell, as they are written."""
    names = columns(grid)
    further = grid.further()
    axes = itertools.product(*(map(_written, grid.coords[name]) for name in grid.dims))
    beside = zip(*(map(_written, further[name]) for name in names[len(grid.dims) :]), strict=True)
    places = ((*at, *more) for at, more in zip(axes, beside, strict=True)) if further else axes
    # The text of a float32 is the shortest that reads back to the same float32.
    values = np.asarray(grid.values, dtype=np.float32).ravel().astype(str)
    if grid.valid is not None:
        values = np.where(np.asarray(grid.valid).ravel(), values, "")
    return zip(places, values.tolist(), strict=True)


def _written(at: Coord) -> Coord:
    return escape(at) if isinstance(at, str) else at


def _write(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    out = io.StringIO(newline="")
    # RFC 4180 ends lines with CR LF; with LF alone a carriage return inside a cell would go unquoted.
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()
