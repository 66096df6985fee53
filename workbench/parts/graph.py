"""The one way to put a plotly figure on a page: no logo, no button that sends data away."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
from dash import dcc

CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "showSendToCloud": False,
    "displayModeBar": "hover",
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
    "responsive": True,
    "toImageButtonOptions": {"format": "svg"},
}


def graph(
    id: str | dict[str, Any], figure: go.Figure | None = None, *, height: int | None = None, **kw: Any
) -> dcc.Graph:
    """A graph. `height` in pixels is reserved before the figure arrives, so that nothing jumps."""
    style = {"height": height} if height else {}
    config = {**CONFIG, **kw.pop("config", {})}
    return dcc.Graph(id=id, figure=figure or go.Figure(), config=config, style={**style, **kw.pop("style", {})}, **kw)
