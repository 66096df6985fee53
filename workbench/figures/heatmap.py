"""Maps: a grid of two axes as one heat map with a colour bar, named axes and escaped labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from analyses.grid import Grid
from workbench.figures import theme as themes
from workbench.figures import tokens as token_text
from workbench.figures.intervals import Bounds
from workbench.figures.numbers import number
from workbench.figures.table import axis_title, is_signed, unit_title

POSITIONS = ("pos", "q_pos", "k_pos")
DIGITS = 4
MOST_LABELS, MOST_NUMBERS = 48, 20
STEPS = [scale * 10**power for power in range(9) for scale in (1, 2, 5)]


def heatmap(
    grid: Grid,
    *,
    title: str = "",
    tokens: Sequence[str] | None = None,
    theme: themes.ThemeName = "light",
    limits: tuple[float, float] | None = None,
    flip: bool = False,
    bounds: Bounds | None = None,
) -> go.Figure:
    """The map of a grid with two axes, the first downwards.

    tokens: display strings for position axes. limits: a range shared with other maps; else symmetric about the baseline
    for signed values, 0 … 1 for shares, the data's range for the rest. flip: the first axis upwards.
    bounds: the interval of each cell, said on hover.
    """
    rows, columns = grid.dims
    low, high = limits or span(grid)
    values = np.where(grid.valid, grid.values, np.nan) if grid.valid is not None else grid.values
    figure = go.Figure(
        go.Heatmap(
            z=np.asarray(values, dtype=np.float32),
            zmin=low,
            zmax=high,
            colorscale=colours(grid, theme),
            hoverongaps=False,
            text=_hover(grid, tokens, bounds),
            hovertemplate="%{text}<extra></extra>",
            colorbar=bar(grid),
            xgap=1 if grid.values.shape[1] <= 64 else 0,
            ygap=1 if grid.values.shape[0] <= 64 else 0,
        )
    )
    if grid.valid is not None:
        figure.add_trace(_missing(grid, grid.valid, theme))
    figure.update_layout(template=themes.template(theme), title_text=token_text.text(title), showlegend=False)
    figure.update_xaxes(**_axis(grid, columns, tokens), showgrid=False, zeroline=False, constrain="domain")
    figure.update_yaxes(
        **_axis(grid, rows, tokens), showgrid=False, zeroline=False, autorange=True if flip else "reversed"
    )
    return figure


def span(grid: Grid) -> tuple[float, float]:
    """The range of the colours: symmetric about the baseline where signed, 0 … 1 for shares, else the data's own."""
    known = grid.values if grid.valid is None else grid.values[grid.valid]
    if is_signed(grid):
        baseline = float(grid.baseline or 0.0)
        reach = float(np.abs(known - baseline).max(initial=0.0)) or 1.0
        return baseline - reach, baseline + reach
    if grid.unit in ("prob", "attention", "fraction"):
        return 0.0, 1.0
    low, high = float(known.min(initial=0.0)), float(known.max(initial=0.0))
    return (low, high) if high > low else (low, low + 1.0)


def colours(grid: Grid, theme: themes.ThemeName) -> list[tuple[float, str]]:
    """The colour scale of the kind of quantity that a grid holds."""
    if is_signed(grid) or grid.unit == "activation":
        return themes.scale(themes.diverging(theme))
    ramp = themes.sequential(theme)
    return themes.scale(ramp[::-1] if grid.unit == "rank" else ramp)


def bar(grid: Grid) -> dict[str, Any]:
    """The colour bar, titled with the unit."""
    return {
        "title": {"text": unit_title(grid), "side": "right", "font": {"size": 12}},
        "thickness": 12,
        "outlinewidth": 0,
        "tickfont": {"size": 12},
        "len": 1.0,
        "ypad": 0,
    }


def _axis(grid: Grid, dim: str, tokens: Sequence[str] | None) -> dict[str, Any]:
    labels = axis_labels(grid, dim, tokens)
    across = dim == grid.dims[-1]
    worded = any(not label.isdigit() for label in labels)
    angle = (-60 if worded else 0) if across else None
    return {
        "title_text": axis_title(dim),
        **ticks(labels, most=MOST_LABELS if worded or not across else MOST_NUMBERS),
        "tickfont": {"family": themes.MONO, "size": 12 if len(labels) <= 32 else 11},
        "tickangle": angle,
    }


def ticks(labels: Sequence[str], *, most: int) -> dict[str, Any]:
    """At most `most` of the labels, evenly chosen by a round step, as plotly's tick settings."""
    step = next(step for step in STEPS if -(-len(labels) // step) <= most)
    places = list(range(0, len(labels), step))
    return {"tickmode": "array", "tickvals": places, "ticktext": [labels[place] for place in places]}


def axis_labels(grid: Grid, dim: str, tokens: Sequence[str] | None) -> list[str]:
    """What stands at each index of an axis: the token at a position or rank, else the coordinate itself."""
    coords = grid.coords[dim]
    named = grid.coords.get("token", ())
    if dim in ("rank", "pos") and len(named) == len(coords):
        return token_text.labels([str(token) for token in named])
    if tokens is not None and dim in POSITIONS:
        return [token_text.label(tokens[int(at)]) if int(at) < len(tokens) else str(at) for at in coords]
    return [token_text.label(str(at)) for at in coords]


def _hover(grid: Grid, tokens: Sequence[str] | None, bounds: Bounds | None = None) -> list[list[str]]:
    rows, columns = grid.dims
    names = {dim: _names(grid, dim, tokens) for dim in (rows, columns)}
    signed, unit = is_signed(grid), unit_title(grid)

    def words(i: int, j: int) -> str:
        value = number(float(grid.values[i, j]), signed=signed, digits=DIGITS)
        return f"{names[rows][i]}<br>{names[columns][j]}<br><b>{value}</b> {unit}{interval_line(bounds, (i, j))}"

    height, width = grid.values.shape
    return [[words(i, j) for j in range(width)] for i in range(height)]


def interval_line(bounds: Bounds | None, index: tuple[int, ...]) -> str:
    """The interval of a cell as a further line of its hover; "" where there is none."""
    text = bounds.text(index, digits=DIGITS) if bounds else ""
    return f"<br>95 % interval {text}" if text else ""


def _names(grid: Grid, dim: str, tokens: Sequence[str] | None) -> list[str]:
    labels = axis_labels(grid, dim, tokens)
    if tokens is not None and dim in POSITIONS:
        return [f"{axis_title(dim)} {at} {label}" for at, label in zip(grid.coords[dim], labels, strict=True)]
    return [f"{axis_title(dim)} {label}" for label in labels]


def _missing(grid: Grid, valid: np.ndarray, theme: themes.ThemeName) -> go.Scatter:
    """Strokes over the cells that hold no value."""
    row, column = np.nonzero(~valid)
    return go.Scatter(
        x=column,
        y=row,
        mode="markers",
        marker={"symbol": "line-ne-open", "size": 9, "color": themes.role("missing", theme), "line": {"width": 1.5}},
        hovertemplate=f"no value: {token_text.text(grid.about) or 'not measured'}<extra></extra>",
    )
