"""What wrote the answer: the strip by layer, the map of heads, the strongest parts, and what the numbers leave out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import html

from analyses.result import Result
from workbench.figures import direct
from workbench.figures.ablation import CellMap, cell_map, reach_of
from workbench.figures.intervals import bounds_of
from workbench.figures.numbers import number
from workbench.figures.theme import ThemeName
from workbench.parts.ablation_cells import cells, list_item
from workbench.parts.empty import sentence
from workbench.parts.graph import graph

STRIP = 300


def drawn(
    id: str, result: Result, prompt: int | None, n_layers: int, theme: ThemeName, *, beside: Sequence[Result] = ()
) -> list[Any]:
    """The pictures of one run. prompt: None for the mean over several. beside: runs that share the ranges."""
    parts = direct.parts_of(result.grids, prompt)
    sums = direct.by_layer(parts, n_layers)
    others = [direct.by_layer(direct.parts_of(other.grids, prompt), n_layers) for other in beside]
    figure = direct.strip(sums, of=measure(result), limits=direct.limits_of(sums, *others), theme=theme)
    return [
        total(id, result, prompt),
        graph(f"{id}-strip", figure, height=STRIP),
        *(html.P(words, className="wb-muted") for words in caveats(result)),
        html.Div([_heads(id, result, prompt, beside), _list(id, parts)], className="abl-map-and-list"),
    ]


def measure(result: Result) -> str:
    """What the addends sum to."""
    return "logit difference" if result.experiment.inputs["clean"].foils else "logit of the answer"


def total(id: str, result: Result, prompt: int | None) -> Any:
    """The sum of all addends, as a number."""
    value = html.Span(number(direct.total_of(result.grids, prompt), signed=True), id=f"{id}-total", className="wb-mono")
    return html.P(["All parts sum to ", value, f" logits: the {measure(result)}."], className="direct-total")


def caveats(result: Result) -> list[str]:
    """What a reader of this run should know: a soft cap, writes that are no sum, sums that do not hold."""
    grid = result.grids["effect"]
    said = [part for part in grid.about.split("; ") if "no sum of" in part]
    if "soft cap" in grid.about:
        cap = grid.about.split("soft cap of ")[1].split(" ")[0]
        said.append(f"the model caps its logits at {cap}; these numbers are from before the cap")
    said += [note for note in result.provenance.warnings if "do not sum" in note]
    return [f"{sentence(words)}." for words in said]


def _heads(id: str, result: Result, prompt: int | None, beside: Sequence[Result]) -> Any:
    grid = direct.heads_of(result.grids, prompt)
    if grid is None:
        return html.Div(html.P("There is no map of heads: attention is listed whole.", className="wb-muted"))
    maps = [other for one in beside if (other := direct.heads_of(one.grids, prompt)) is not None]
    bounds = bounds_of(grid, result.grids) if prompt is None else None
    picture = cell_map(grid, reach=reach_of(grid, *maps), bounds=bounds)
    shown = cells(f"{id}-heads", picture, label="Direct effect of each head", name="head {layer}.{head}",
                  action="toggle", targets=_targets(picture),
                  say="Click a head to zero it: it joins the edits.")  # fmt: skip
    return html.Div([html.H3("Heads"), shown])


def _targets(picture: CellMap) -> list[list[str]]:
    return [
        ["zero:L{layer}.z[head={head}]".format(**picture.at(row, col)) for col in range(len(picture.levels[row]))]
        for row in range(len(picture.rows))
    ]


def _list(id: str, parts: Sequence[direct.Written]) -> Any:
    """The strongest parts; each that can be edited is a button that does it."""
    largest = max((abs(part.value) for part in parts), default=0.0) or 1.0
    items = []
    for part in direct.strongest(parts):
        text = number(part.value, signed=True)
        if part.part:
            items.append(list_item([f"zero:{part.part}"], "", part.name, text, part.value / largest))
        else:
            items.append(html.Li([html.Span(part.name), html.Span(text, className="wb-mono")], className="lens-plain"))
    return html.Div([html.H3("Strongest"), html.Ol(items, className="abl-list", id=f"{id}-strongest")])
