"""A choice among a few that are all in sight, with its name above it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dash_mantine_components as dmc
from dash import html


def switch_field(type: str, name: str, label: str, data: Mapping[str, str], value: str) -> Any:
    """The control `{"type": type, "name": name}`. data: titles by value; the first stands for an unknown value."""
    control = dmc.SegmentedControl(
        id={"type": type, "name": name},
        value=value if value in data else next(iter(data)),
        data=[{"value": key, "label": words} for key, words in data.items()],
    )
    return html.Div([html.Span(label, className="pat-label"), control], role="group", **{"aria-label": label})
