"""Position only: what stands beside the map of positions alone, and what is said of it."""

from __future__ import annotations

from typing import Any

from dash import html

from analyses.grid import Grid
from analyses.result import Result
from workbench.figures.heatmap import heatmap
from workbench.figures.numbers import number
from workbench.figures.positions import compared, distance_curve
from workbench.figures.theme import ThemeName
from workbench.parts.graph import graph

PLACES = ("The attention it has", "Score by distance")
SIMILARITY = "How alike the position embeddings are"
HEIGHT = 340
"""Pixels of each figure; `.attn-beside-room` in assets/attention.css keeps as much."""


def placeholder() -> Any:
    """The room of the figures before they are there, so that nothing jumps."""
    rooms = html.Div([_figure(title, None) for title in PLACES], className="attn-beside")
    return [html.P(className="attn-share"), rooms]


def beside(result: Result, layer: int, head: int, strings: tuple[str, ...], theme: ThemeName, hide_first: bool) -> Any:
    """The real pattern in the same colours, the score by distance, and the share of the one in the other, in words."""
    pattern = result.grid("pattern").select(layer=layer, head=head)
    profile, observed = (result.grid(name).select(layer=layer, head=head) for name in ("profile", "profile_observed"))
    figures = [
        _figure(PLACES[0], graph("attn-real", compared(pattern, strings, theme, hide_first=hide_first), height=HEIGHT)),
        _figure(PLACES[1], graph("attn-curve", distance_curve(profile, observed, theme), height=HEIGHT)),
    ]
    if "position_similarity" in result.grids:
        drawn = heatmap(result.grid("position_similarity"), tokens=strings, theme=theme)
        figures.append(_figure(SIMILARITY, graph("attn-similarity", drawn, height=HEIGHT)))
    return [
        html.P(share_in_words(result, layer, head), id="attn-share", className="attn-share"),
        html.Div(figures, className="attn-beside"),
    ]


def _figure(title: str, drawn: Any) -> Any:
    return html.Section([html.H3(title), html.Div(className="attn-beside-room") if drawn is None else drawn])


def share_in_words(result: Result, layer: int, head: int) -> list[Any]:
    """How much of a head's attention positions give, with what attention that is spread evenly would give."""
    share, even = (
        _value(result.grid(name).select(layer=layer, head=head)) for name in ("explained", "explained_uniform")
    )
    if share is None or even is None:
        return ["This prompt has no query that sees two keys: there is nothing to explain."]
    return [
        html.Strong(number(share), className="wb-number"),
        " of this head’s attention on this prompt is what positions alone give. Attention that is spread evenly over "
        "the visible tokens would give ",
        html.Span(number(even), className="wb-number"),
        ".",
    ]


def _value(grid: Grid) -> float | None:
    return None if grid.valid is not None and not grid.valid.all() else float(grid.values)
