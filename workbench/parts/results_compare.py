"""Two results beside each other: the same grids in one range, and their difference where the cells are the same."""

from __future__ import annotations

import json
from typing import Any

from dash import html

from analyses.analysis import sentence
from analyses.grid import Grid
from analyses.result import Result
from workbench.figures import auto
from workbench.figures.ablation import difference
from workbench.figures.heatmap import span
from workbench.figures.intervals import is_companion
from workbench.figures.numbers import UNIT_WORDS, number
from workbench.figures.theme import ThemeName
from workbench.parts.graph import graph
from workbench.parts.panel import panel
from workbench.parts.results_detail import DRAWN_CELLS, height_of, title_of, tokens_of, value_text
from workbench.parts.results_list import when

LETTERS = ("A", "B")


def compare(left: Result, right: Result, theme: ThemeName) -> list[Any]:
    """The panels of a comparison; A is the open result, B the one beside it."""
    shared = [name for name, grid in left.grids.items() if name in right.grids and not is_companion(grid, left.grids)]
    numbers = [name for name in shared if not left.grids[name].dims and not right.grids[name].dims]
    maps = [name for name in shared if left.grids[name].dims and right.grids[name].dims]
    panels = [heads(left, right)]
    if numbers:
        panels.append(number_table([(left.grids[name], right.grids[name]) for name in numbers]))
    panels += [_maps(left, right, name, theme) for name in maps]
    if not shared:
        words = "These two results have no grid of the same name, so there is nothing to set side by side."
        panels.append(panel("Nothing in common", html.P(words, className="wb-muted")))
    return panels


def heads(left: Result, right: Result) -> Any:
    """Which two results, by letter."""
    columns = [
        html.Div([html.H3(letter), html.P(sentence(result.experiment)), html.P(_facts(result), className="wb-muted")])
        for letter, result in zip(LETTERS, (left, right), strict=True)
    ]
    swap = _link("Swap", {"open": right.id, "beside": left.id})
    return panel(
        "Compare",
        html.Div(columns, className="res-pair"),
        tools=[swap, _link("Open A", {"beside": ""})],
        id="res-compare",
    )


def _facts(result: Result) -> str:
    return f"{result.experiment.model} · {when(result.provenance.started)}"


def _link(text: str, changes: dict[str, str]) -> Any:
    return html.A(
        text,
        href="/results",
        className="wb-button",
        **{"data-wb-nav": "/results", "data-wb-set": json.dumps(changes)},
    )


def number_table(pairs: list[tuple[Grid, Grid]]) -> Any:
    """Grids without axes: A, B, and B minus A."""
    head = html.Tr([html.Th("", scope="col"), *(html.Th(text, scope="col") for text in ("A", "B", "B − A", "Unit"))])
    rows = [html.Tr(_cells(a, b)) for a, b in pairs]
    body = html.Table([html.Thead(head), html.Tbody(rows)], className="res-numbers wb-number")
    return panel("Numbers", body, id="res-compare-numbers")


def _cells(left: Grid, right: Grid) -> list[Any]:
    moved = difference(left, right)
    change = "–" if moved is None else number(float(moved.values), signed=True)
    texts = [value_text(left), value_text(right), change]
    return [
        html.Th(title_of(left), scope="row"),
        *(html.Td(text, className="wb-mono") for text in texts),
        html.Td(UNIT_WORDS[left.unit], className="wb-muted"),
    ]


def _maps(left: Result, right: Result, name: str, theme: ThemeName) -> Any:
    a, b = left.grids[name], right.grids[name]
    if max(a.values.size, b.values.size) > DRAWN_CELLS:
        return panel(title_of(a), html.P("Too many cells to draw here; export both as bundles.", className="wb-muted"))
    # Recoveries of denoising and of noising begin at 0 and at 1: one scale has no middle for both.
    one_range = a.unit == b.unit and a.baseline == b.baseline
    low, high = zip(span(a), span(b), strict=True)
    limits = (min(low), max(high)) if one_range else None
    figures = [_figure("A", left, a, theme, limits), _figure("B", right, b, theme, limits)]
    moved = difference(a, b)
    if moved is not None:
        figures.append(_figure("B − A", left, moved, theme, None))
    words = "A and B share one range." if limits else ""
    why = "" if moved is not None else " Their cells are not the same, so there is no difference to draw."
    return panel(
        title_of(a), html.Div(figures, className="res-pair"), about=(words + why).strip(), id=f"res-both-{name}"
    )


def _figure(title: str, result: Result, grid: Grid, theme: ThemeName, limits: tuple[float, float] | None) -> Any:
    drawn = auto.figure(grid, title="", tokens=tokens_of(result), theme=theme, limits=limits, beside=result.grids)
    id = {"type": "res-graph", "of": f"{title} {grid.name}"}
    return html.Div([html.H3(title), graph(id, drawn, height=height_of(grid))])
