"""Pictures of what positions do: the score by distance, and the pattern to compare with in the same colours."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from analyses.grid import Grid
from workbench.figures import theme as themes
from workbench.figures.attention import head_figure

ALONE, OBSERVED = "positions alone", "real scores, mean"


def distance_curve(profile: Grid, observed: Grid, theme: themes.ThemeName) -> go.Figure:
    """Scores over the distance from query to key: of positions alone, and the mean of the real ones behind it.

    profile, observed: dims (distance,), values relative to distance 0; missing distances leave a gap. Where both
    are the same curve, one is drawn.
    """
    lines = [(observed, OBSERVED, "muted", "dot")] if not np.array_equal(profile.values, observed.values) else []
    lines.append((profile, ALONE, "accent", "solid"))
    traces = [
        go.Scatter(
            x=list(grid.coords["distance"]),
            y=np.asarray(grid.values if grid.valid is None else np.where(grid.valid, grid.values, np.nan), np.float32),
            name=name,
            mode="lines+markers" if len(grid.values) <= 40 else "lines",
            marker={"size": 5},
            line={"color": themes.role(colour, theme), "dash": dash, "width": 2},
            hovertemplate="%{y:.3g} nats at distance %{x}<extra>" + name + "</extra>",
        )
        for grid, name, colour, dash in lines
    ]
    layout = {
        "template": themes.template(theme),
        "margin": {"l": 56, "r": 12, "t": 32, "b": 44},
        "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "font": {"size": 12}},
        "showlegend": True,
        "xaxis": {"title": {"text": "distance: query − key"}, "zeroline": False},
        "yaxis": {"title": {"text": "score against distance 0 (nats)"}, "zeroline": True},
    }
    return go.Figure(traces, layout)


def compared(
    pattern: Grid, strings: tuple[str, ...], theme: themes.ThemeName, *, hide_first: bool = False
) -> go.Figure:
    """The pattern that a head has, drawn as the map beside it: the same axes, the same colours for the same weights."""
    figure = head_figure(pattern, strings, theme, "attention", hide_first=hide_first)
    figure.update_traces(hoverinfo=None, hovertemplate="query %{y} → key %{x}: %{z:.3g}<extra></extra>")
    return figure
