"""The default figure of any grid, chosen by its axes and unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from analyses.grid import Grid
from workbench.figures import theme as themes
from workbench.figures import tokens as token_text
from workbench.figures.evaluation import reliability
from workbench.figures.heatmap import bar, colours, heatmap, span
from workbench.figures.intervals import bounds_of
from workbench.figures.lines import bars, single
from workbench.figures.patching import estimate_against_exact
from workbench.figures.table import axis_title


def figure(
    grid: Grid,
    *,
    title: str,
    tokens: Sequence[str] | None = None,
    theme: themes.ThemeName = "light",
    limits: tuple[float, float] | None = None,
    beside: Mapping[str, Grid] | None = None,
) -> go.Figure:
    """A figure for `grid`: one number, bars, a map, or small maps side by side for three and four axes.

    tokens: display strings of the prompt, for position axes. limits: a colour or value range shared with other figures.
    beside: the grids of its result, among which the ends of its interval are looked for: error bars, or words in hover.
    """
    own = _own(grid, beside or {}, title, theme)
    if own is not None:
        return own
    bounds = bounds_of(grid, beside or {})
    if not grid.dims:
        return single(grid, title=title, theme=theme, bounds=bounds)
    if len(grid.dims) == 1:
        return bars(grid, title=title, tokens=tokens, theme=theme, limits=limits, bounds=bounds)
    if len(grid.dims) == 2:
        return heatmap(grid, title=title, tokens=tokens, theme=theme, limits=limits, bounds=bounds)
    return mosaic(grid, title=title, theme=theme, limits=limits)


def _own(grid: Grid, beside: Mapping[str, Grid], title: str, theme: themes.ThemeName) -> go.Figure | None:
    """The picture of a grid that says more beside others of its result; None for all other grids."""
    estimate = beside.get("estimate")
    if grid.name == "exact" and estimate is not None and estimate.dims == grid.dims:
        return estimate_against_exact(estimate, grid, title=title, theme=theme)
    if grid.name == "reliability_accuracy" and {"reliability_confidence", "reliability_share"} <= set(beside):
        return reliability(beside, title=title, theme=theme)
    return None


def mosaic(
    grid: Grid, *, title: str, theme: themes.ThemeName = "light", limits: tuple[float, float] | None = None
) -> go.Figure:
    """Small maps of the last two axes: one row per first label, one column per combination of the axes between."""
    values = np.asarray(
        grid.values if grid.valid is None else np.where(grid.valid, grid.values, np.nan), dtype=np.float32
    )
    tiles = (
        values.reshape(-1, 1, *values.shape[-2:])
        if values.ndim == 3
        else values.reshape(values.shape[0], -1, *values.shape[-2:])
    )
    rows, columns, height, width = tiles.shape
    gap = max(1, round(max(height, width) * 0.08))
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), np.nan, dtype=np.float32)
    for i in range(rows):
        for j in range(columns):
            top, left = i * (height + gap), j * (width + gap)
            sheet[top : top + height, left : left + width] = tiles[i, j]
    low, high = limits or span(grid)
    drawn = go.Figure(
        go.Heatmap(z=sheet, zmin=low, zmax=high, colorscale=colours(grid, theme), colorbar=bar(grid), hoverinfo="skip")
    )
    drawn.update_layout(template=themes.template(theme), title_text=token_text.text(title))
    between = [axis_title(dim) for dim in grid.dims[1:-2]]
    inner = f"{axis_title(grid.dims[-2])} × {axis_title(grid.dims[-1])} in each"
    drawn.update_yaxes(**_tile_axis(grid, grid.dims[0], rows, height, gap), autorange="reversed")
    if between:
        drawn.update_xaxes(**_tile_axis(grid, grid.dims[1], columns, width, gap))
        drawn.update_xaxes(title_text=f"{' × '.join(between)} ({inner})")
    else:
        drawn.update_xaxes(title_text=inner, showticklabels=False, showgrid=False, zeroline=False)
    return drawn


def _tile_axis(grid: Grid, dim: str, count: int, size: int, gap: int) -> dict[str, object]:
    labels = [token_text.label(str(at)) for at in grid.coords[dim]]
    whole = len(labels) == count
    return {
        "title_text": axis_title(dim),
        "tickmode": "array",
        "tickvals": [i * (size + gap) + (size - 1) / 2 for i in range(count)] if whole else [],
        "ticktext": labels if whole else [],
        "showgrid": False,
        "zeroline": False,
    }
