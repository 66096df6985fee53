"""Faithfulness over circuit size: the curve with its interval, and the band that random circuits of equal size take."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from analyses.grid import Grid
from workbench.figures import theme as themes
from workbench.figures.intervals import Bounds, bounds_of
from workbench.figures.numbers import number, percent, whole
from workbench.figures.tokens import text

SIZE, RANDOM = "size", "random"
FAINT = 0.22


def is_curve(grid: Grid) -> bool:
    """Whether a grid is over the share of edges kept."""
    return grid.dims == (SIZE,)


def curve(
    grid: Grid, *, title: str = "", theme: themes.ThemeName = "light", beside: Mapping[str, Grid] | None = None
) -> go.Figure:
    """A grid over `size` as a line, its interval as a band, and that of random circuits where `beside` has them."""
    grids, figure = beside or {}, go.Figure()
    control = grids.get(RANDOM)
    if control is not None and control is not grid and control.coords[SIZE] == grid.coords[SIZE]:
        figure.add_traces(_drawn(control, bounds_of(control, grids), "random circuits", "muted", theme))
    figure.add_traces(_drawn(grid, bounds_of(grid, grids), grid.name.replace("_", " "), "accent", theme))
    figure.update_layout(template=themes.template(theme), title_text=text(title))
    sizes = [float(size) for size in grid.coords[SIZE]]
    labels = {"tickvals": sizes, "ticktext": [percent(size) for size in sizes]}
    figure.update_xaxes(title_text="share of edges kept", type="log", **labels)
    figure.update_yaxes(title_text=f"{grid.name.replace('_', ' ')} ({grid.unit})")
    for level in (0.0, 1.0):
        figure.add_hline(y=level, line={"color": themes.role("line-strong", theme), "width": 1, "dash": "dot"})
    return figure


def _drawn(grid: Grid, bounds: Bounds | None, name: str, role: str, theme: themes.ThemeName) -> list[go.Scatter]:
    """The band, if there is one, under the line."""
    x = np.array(grid.coords[SIZE], dtype=float)
    known = np.ones(len(x), bool) if grid.valid is None else np.asarray(grid.valid)
    y = np.where(known, np.asarray(grid.values, dtype=float), np.nan)
    line = {"color": themes.role(role, theme), "width": 2, "dash": "dash" if role == "muted" else "solid"}
    hover = [_words(grid, bounds, name, place) for place in range(len(x))]
    drawn = go.Scatter(
        x=x,
        y=y,
        mode="lines+markers",
        name=name,
        line=line,
        hovertext=hover,
        hovertemplate="%{hovertext}<extra></extra>",
    )
    if bounds is None:
        return [drawn]
    there = known & bounds.known
    band = go.Scatter(
        x=np.concatenate([x[there], x[there][::-1]]),
        y=np.concatenate([bounds.high.values[there], bounds.low.values[there][::-1]]),
        fill="toself", mode="none", fillcolor=themes.role(role, theme), opacity=FAINT, hoverinfo="skip",
        showlegend=False,
    )  # fmt: skip
    return [band, drawn]


def _words(grid: Grid, bounds: Bounds | None, name: str, place: int) -> str:
    interval = bounds.text((place,)) if bounds else ""
    edges = grid.coords.get("edges")
    size = f"{percent(float(grid.coords[SIZE][place]))} of the edges"
    kept = f", {whole(int(edges[place]))} after pruning" if edges else ""
    value = number(float(grid.values[place]), signed=True)
    return f"{text(name)}<br>{size}{kept}<br><b>{value}</b>" + (f" ({interval})" if interval else "")
