"""Patching as pictures: any map as rows and columns of cells, an estimate against what was measured, a pair of prompts.

Pure: Grids and token lists in, frozen values and figures out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import plotly.graph_objects as go

from analyses.grid import Coord, Grid
from workbench.figures import theme as themes
from workbench.figures import tokens as token_text
from workbench.figures.ablation import CellMap, cell_map
from workbench.figures.intervals import Bounds
from workbench.figures.numbers import number
from workbench.figures.table import axis_title, unit_title

LAYERED = 3
"""Axes of a map whose first two share the rows: layer and head, with positions as columns."""


@dataclass(frozen=True)
class Pairing:
    """One place of a pair of prompts: its position, both tokens ("" where a prompt has ended), whether they differ."""

    at: int
    clean: str
    corrupt: str
    differs: bool


def aligned(
    clean: Sequence[str], corrupt: Sequence[str], clean_ids: Sequence[int], corrupt_ids: Sequence[int]
) -> tuple[Pairing, ...]:
    """Two prompts token by token; they differ where their ids do. The longer one's rest stands alone."""
    length = max(len(clean), len(corrupt))
    return tuple(
        Pairing(
            at,
            clean[at] if at < len(clean) else "",
            corrupt[at] if at < len(corrupt) else "",
            at >= min(len(clean), len(corrupt)) or clean_ids[at] != corrupt_ids[at],
        )
        for at in range(length)
    )


def patch_cells(
    grid: Grid, *, strings: Sequence[str] = (), bounds: Bounds | None = None, control: Bounds | None = None
) -> CellMap:
    """The picture of a map with one to three axes; of three, the first two share the rows ("3.5" is layer 3, head 5).

    strings: token texts for a position axis. bounds: the interval of each cell, which joins its text.
    control: the range inside which cells are marked.
    """
    if len(grid.dims) < LAYERED:
        return cell_map(grid, strings=strings, bounds=bounds, control=control)
    first, second, _ = grid.dims
    pairs = [(one, two) for one in grid.coords[first] for two in grid.coords[second]]
    whole = None if bounds is None else Bounds(_flat(bounds.low, pairs), _flat(bounds.high, pairs))
    picture = cell_map(_flat(grid, pairs), strings=strings, bounds=whole, control=control)
    keys: tuple[Mapping[str, Coord], ...] = tuple({first: one, second: two} for one, two in pairs)
    name = f"{axis_title(first)}.{axis_title(second)}"
    return replace(picture, row_keys=keys, row_name=name)


def _flat(grid: Grid, pairs: Sequence[tuple[Coord, Coord]]) -> Grid:
    """A map of three axes with the first two as one."""
    first, second, last = grid.dims
    shape = (len(pairs), len(grid.coords[last]))
    rows = f"{first}.{second}"
    return replace(
        grid,
        values=np.asarray(grid.values).reshape(shape),
        valid=None if grid.valid is None else np.asarray(grid.valid).reshape(shape),
        dims=(rows, last),
        coords={rows: tuple(f"{one}.{two}" for one, two in pairs), last: grid.coords[last]},
    )


def estimate_against_exact(
    estimate: Grid, exact: Grid, *, title: str = "", theme: themes.ThemeName = "light"
) -> go.Figure:
    """The estimate of each cell that was patched for real, against what patching gave, beside the line of agreement."""
    known = np.ones(exact.values.shape, dtype=bool) if exact.valid is None else np.asarray(exact.valid, dtype=bool)
    if estimate.valid is not None:
        known = known & np.asarray(estimate.valid, dtype=bool)
    places = np.argwhere(known)
    x, y = (np.asarray(grid.values, np.float64)[known] for grid in (exact, estimate))
    ends = [float(min(x.min(initial=0.0), y.min(initial=0.0))), float(max(x.max(initial=0.0), y.max(initial=0.0)))]
    figure = go.Figure()
    line = {"color": themes.role("line-strong", theme), "dash": "dot", "width": 1}
    figure.add_scatter(x=ends, y=ends, mode="lines", line=line, hoverinfo="skip")
    figure.add_scatter(
        x=x,
        y=y,
        mode="markers",
        marker={"color": themes.role("accent", theme), "size": 8},
        hovertext=[
            f"{_place(exact, place)}<br>measured <b>{number(float(one), signed=True)}</b>"
            f"<br>estimate <b>{number(float(two), signed=True)}</b>"
            for place, one, two in zip(places, x, y, strict=True)
        ],
        hovertemplate="%{hovertext}<extra></extra>",
    )
    figure.update_layout(template=themes.template(theme), title_text=token_text.text(title), showlegend=False)
    figure.update_xaxes(title_text=f"measured ({unit_title(exact)})")
    figure.update_yaxes(title_text=f"estimate ({unit_title(estimate)})")
    return figure


def _place(grid: Grid, place: np.ndarray) -> str:
    labels = zip(grid.dims, place.tolist(), strict=True)
    return ", ".join(f"{axis_title(dim)} {token_text.text(str(grid.coords[dim][at]))}" for dim, at in labels)
