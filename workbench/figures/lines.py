"""One axis: bars for named things (tokens, layers), a line for positions; a single number as large type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from analyses.grid import Grid
from workbench.figures import theme as themes
from workbench.figures import tokens as token_text
from workbench.figures.heatmap import DIGITS, MOST_LABELS, MOST_NUMBERS, axis_labels, interval_line, ticks
from workbench.figures.intervals import Bounds
from workbench.figures.numbers import number
from workbench.figures.table import axis_title, is_signed, unit_title


def bars(
    grid: Grid,
    *,
    title: str = "",
    tokens: Sequence[str] | None = None,
    theme: themes.ThemeName = "light",
    limits: tuple[float, float] | None = None,
    bounds: Bounds | None = None,
) -> go.Figure:
    """A grid with one axis as bars; token axes lie down, so that their labels read. bounds: intervals as error bars."""
    (dim,) = grid.dims
    labels = axis_labels(grid, dim, tokens)
    values = np.asarray(grid.values if grid.valid is None else np.where(grid.valid, grid.values, np.nan), np.float32)
    places = np.arange(len(labels))
    lying = dim in ("token", "rank") or any(isinstance(at, str) for at in grid.coords[dim])
    figure = go.Figure(
        go.Bar(
            x=values if lying else places,
            y=places if lying else values,
            orientation="h" if lying else "v",
            marker={"color": _colours(grid, values, theme), "line": {"width": 0}},
            hovertext=_hover(grid, dim, labels, values, bounds),
            hovertemplate="%{hovertext}<extra></extra>",
        )
    )
    if bounds is not None:
        figure.update_traces({"error_x" if lying else "error_y": _error_bars(bounds, values, theme)})
    figure.update_layout(
        template=themes.template(theme), title_text=token_text.text(title), bargap=0.25, showlegend=False
    )
    named = _named_axis(dim, labels, lying)
    measured = {"title_text": unit_title(grid), "range": list(limits) if limits else None}
    figure.update_yaxes(**({**named, "autorange": "reversed"} if lying else measured))
    figure.update_xaxes(**(measured if lying else named))
    return figure


def _colours(grid: Grid, values: np.ndarray, theme: themes.ThemeName) -> str | list[str]:
    if not is_signed(grid):
        return themes.role("accent", theme)
    baseline = grid.baseline or 0.0
    return [themes.role("positive" if value > baseline else "negative", theme) for value in values]


def _error_bars(bounds: Bounds, values: np.ndarray, theme: themes.ThemeName) -> dict[str, Any]:
    above, below = bounds.reaches(values)
    bar = {"color": themes.role("muted", theme), "thickness": 1.5, "width": 3}
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, **bar}


def _hover(grid: Grid, dim: str, labels: Sequence[str], values: np.ndarray, bounds: Bounds | None = None) -> list[str]:
    signed, unit = is_signed(grid), unit_title(grid)
    phrases = []
    for place, (at, label, value) in enumerate(zip(grid.coords[dim], labels, values, strict=True)):
        name = label if isinstance(at, str) or str(at) == label else f"{at} {label}"
        text = number(float(value), signed=signed, digits=DIGITS)
        phrases.append(f"{axis_title(dim)} {name}<br><b>{text}</b> {unit}{interval_line(bounds, (place,))}")
    return phrases


def _named_axis(dim: str, labels: Sequence[str], lying: bool) -> dict[str, Any]:
    worded = any(not label.isdigit() for label in labels)
    return {
        "title_text": axis_title(dim),
        **ticks(labels, most=MOST_LABELS if worded or lying else MOST_NUMBERS),
        "tickangle": None if lying else -60 if worded else 0,
        "tickfont": {"family": themes.MONO},
        "showgrid": False,
    }


def single(
    grid: Grid, *, title: str = "", theme: themes.ThemeName = "light", bounds: Bounds | None = None
) -> go.Figure:
    """A grid without axes: one number, large, with its unit and its interval."""
    interval = bounds.text() if bounds else ""
    figure = go.Figure()
    figure.add_annotation(
        text=number(float(grid.values), signed=is_signed(grid)),
        showarrow=False,
        x=0.5,
        y=0.55,
        xref="paper",
        yref="paper",
        font={"size": 40, "family": themes.MONO, "color": themes.role("text", theme)},
    )
    figure.add_annotation(
        text=f"{unit_title(grid)} (95 % interval {interval})" if interval else unit_title(grid),
        showarrow=False,
        x=0.5,
        y=0.3,
        xref="paper",
        yref="paper",
        font={"size": 14, "color": themes.role("muted", theme)},
    )
    figure.update_layout(template=themes.template(theme), title_text=token_text.text(title))
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return figure
