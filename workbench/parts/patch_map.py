"""The map of the Patch page as it fills: both runs in words, cells, the strongest, what an estimate is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import html

from analyses.grid import Coord, Grid
from analyses.result import Result
from workbench.figures import auto
from workbench.figures.ablation import CellMap, reach_of, strongest
from workbench.figures.intervals import Bounds, bounds_of, is_companion, outside, range_of
from workbench.figures.numbers import UNIT_WORDS, number, whole
from workbench.figures.patching import estimate_against_exact, patch_cells
from workbench.figures.table import is_signed
from workbench.figures.theme import ThemeName
from workbench.parts.ablation_cells import NONE_OUTSIDE, cells, list_item
from workbench.parts.empty import sentence
from workbench.parts.graph import graph
from workbench.parts.patch_request import Asked, edits_at, side_of
from workbench.parts.results_detail import DRAWN_CELLS
from workbench.urls import State

SHOWN_CELLS = 10
MOST_CELLS = 8000
"""Above this many cells a map is drawn as one picture, which cannot be clicked."""
POSITIONS = ("pos", "q_pos", "k_pos")
USUAL = "usual"
NO_MAPS = ("agreement", "control")
"""What is said in words beside the map."""
TILES = {
    "metric_clean": "Clean run",
    "metric_corrupt": "Corrupt run",
    "total_effect": "Clean minus corrupt",
    "total": "Sum of all parts",
}
GRIDS = {
    "recovered": "Recovered",
    "metric_run": "Metric of each run",
    "estimate": "Estimate",
    "estimate_effect": "Estimated effect",
    "exact": "Patched for real",
    "effect": "Effect",
    "direct": "Direct effect",
    "ablation": "Measured ablation",
    "repair": "Self-repair",
    "others": "What is not in the map",
    "indirect_effect": "Indirect effect",
}
MEANING = {
    "recovered": "0 is the corrupt run, 1 the clean one; values beyond are real.",
    "estimate": "An estimate: the first-order change over clean − corrupt.",
    "exact": "The cells that were patched for real, on the same scale as the estimate.",
    "indirect_effect": "How much of the answer one restored clean state brings back.",
    "repair": "How much less is lost by ablation than the direct effect: what later parts make up for.",
}


def maps_of(result: Result, main: str) -> dict[str, str]:
    """The maps that a result offers beside its main one, by name, with their titles."""
    names = [
        grid.name
        for grid in result.grids.values()
        if grid.dims and "prompt" not in grid.dims and grid.name not in NO_MAPS
        and not is_companion(grid, result.grids)
    ]  # fmt: skip
    names.sort(key=lambda name: name != main)
    return {name: GRIDS.get(name, name.replace("_", " ")) for name in names}


def drawn(
    grid: Grid, asked: Asked, n_layers: int, *, grids: Mapping[str, Grid] | None = None, theme: ThemeName = "light"
) -> Any:
    """The map of a grid and its strongest cells. grids: of its result, without which it is still filling."""
    beside = grids or {}
    strings, bounds = strings_of(grid, asked), bounds_of(grid, beside)
    control = range_of("control", beside) if grid.name == asked.method.grid else None
    hidden = control is not None and asked.state.hide_inside
    shown_in_list = outside(grid, control) if control is not None and hidden else grid
    listed = strongest_list(shown_in_list, asked, n_layers, strings, hidden=hidden)
    size = grid.values.size
    if size > DRAWN_CELLS or (size > MOST_CELLS and grids is None):
        later = "when all are measured" if grids is None else "by a program: the export has them"
        picture: Any = html.P(f"{whole(size)} cells can be drawn {later}.", className="wb-muted")
    elif size > MOST_CELLS:
        figure = auto.figure(grid, title="", tokens=strings or None, theme=theme, beside=beside)
        picture = graph("pat-picture", figure, height=520)
    else:
        shown = patch_cells(grid, strings=strings, bounds=bounds, control=control)
        picture = _cells(grid.name, shown, asked, n_layers, strings)
    said = (MEANING.get(grid.name, ""), _range_words(control, beside.get("control")), _many_words(bounds))
    words = " ".join(filter(None, said))
    return html.Div(
        [
            html.P(words, className="wb-muted"),
            *([_grey(asked.state)] if control else []),
            html.Div([picture, listed], className="abl-map-and-list"),
        ],
        className="pat-map",
    )


def _range_words(control: Bounds | None, draws: Grid | None) -> str:
    """draws: the same patch at random parts, where those are what the map is compared with."""
    of = "the cells" if draws is None else f"{whole(draws.values.size)} random parts that are not on the map"
    return f"The middle 95 % of {of} run from {control.text()}." if control else ""


def _many_words(bounds: Bounds | None) -> str:
    """What the many intervals of a map are worth together, as its grids say it."""
    said = [part for part in bounds.low.about.split("; ") if "without correction" in part] if bounds else []
    return f"{sentence(said[0])}." if said else ""


def _grey(state: State) -> Any:
    """The switch that takes the colour from what any part of the map does."""
    name = {"type": "pat-set", "name": "hide_inside"}
    return dmc.Switch(id=name, label="Grey the cells inside that range", checked=state.hide_inside, size="sm")


def strings_of(grid: Grid, asked: Asked) -> Sequence[str]:
    """The tokens along a position axis, where all prompts share them; none otherwise."""
    axis = next((dim for dim in grid.dims if dim in POSITIONS), None)
    return side_of(asked, axis).strings[0] if axis and len(asked.batch) == 1 else ()


def _cells(name: str, picture: CellMap, asked: Asked, n_layers: int, strings: Sequence[str]) -> Any:
    targets = [
        [";".join(edits_at(asked, picture.at(row, col), n_layers)) for col in range(len(picture.levels[row]))]
        for row in range(len(picture.rows))
    ]
    clicks = any(any(row) for row in targets)
    return cells(
        "pat-map",
        picture,
        label=f"{GRIDS.get(name, name)} of each cell of the map",
        name=_names(picture, strings),
        action="toggle" if clicks else "none",
        targets=targets if clicks else (),
        say="Click a cell to add the edit that it stands for to the tray." if clicks else "",
        grey=asked.state.hide_inside,
    )


def _names(picture: CellMap, strings: Sequence[str]) -> list[str]:
    """What the cells of each column are called, with {layer} … to be filled in."""
    first = {dim: f"{{{dim}}}" for dim in picture.row_keys[0]} if picture.row_keys else {}
    if not picture.col_dim:
        return [name_of(first, strings)]
    if picture.col_dim == "unit":
        return [name_of({**first, "unit": "{unit}"}, ()) for _ in picture.cols]
    return [name_of({**first, picture.col_dim: key}, strings) for key in picture.col_keys[0]]


def name_of(at: Mapping[str, Coord], strings: Sequence[str]) -> str:
    """What a cell is called: "head 3.2", "layer 3, “·John” at 9", "MLP 5"."""
    words = []
    layer = at.get("layer")
    inner = next((dim for dim in ("head", "kv_head", "unit", "expert") if dim in at), None)
    if inner:
        titles = {"kv_head": "key/value head", "unit": "neuron"}
        words.append(f"{titles.get(inner, inner)} {layer}.{at[inner]}")
    elif layer is not None:
        words.append(f"layer {layer}")
    for dim in (*POSITIONS, "position"):
        if dim in at:
            place = at[dim]
            token = f"“{strings[int(place)]}” at {place}" if strings and str(place).isdigit() else f"position {place}"
            words.append({"q_pos": "query ", "k_pos": "key "}.get(dim, "") + token)
    words += [str(at[dim]) for dim in ("sender", "component", "measure") if dim in at]
    return ", ".join(words)


def strongest_list(grid: Grid, asked: Asked, n_layers: int, strings: Sequence[str], *, hidden: bool = False) -> Any:
    """The ten cells farthest from the baseline, as a list: what the map says, for every reader.

    hidden: whether the grid is without the cells inside the control's range.
    """
    reach, signed = reach_of(grid) or 1.0, is_signed(grid)
    items = []
    for row in strongest(grid, SHOWN_CELLS):
        value = float(row.pop("value"))
        level = (value - (grid.baseline or 0.0)) / reach
        edits = edits_at(asked, row, n_layers)
        text = number(value, signed=signed)
        name = name_of(row, strings)
        plain = html.Li([html.Span(name, className="abl-item-name"), html.Span(text, className="wb-mono")])
        items.append(list_item(edits, "", name, text, level) if edits else plain)
    empty = [html.Li(NONE_OUTSIDE if hidden else "Nothing measured yet.", className="wb-muted")]
    title = "Strongest" if grid.baseline in (None, 0.0) else f"Farthest from {number(grid.baseline)}"
    return html.Div([html.H3(title), html.Ol(items or empty, className="abl-list", id="pat-strongest")])


def tiles(result: Result, metric: str) -> Any:
    """Both runs' metric with its interval, and what an estimate is worth. metric: its title."""
    found = [
        _tile(title, result.grids[name], result.grids, name) for name, title in TILES.items() if name in result.grids
    ]
    return html.Div([html.H3(metric, className="pat-metric"), *found, *_agreement(result)], className="abl-tiles")


def _tile(title: str, grid: Grid, grids: Mapping[str, Grid], name: str) -> Any:
    bounds = bounds_of(grid, grids)
    interval = [html.P(f"95 % interval {bounds.text()}", className="wb-muted")] if bounds and bounds.text() else []
    value = html.Span(number(float(grid.values), signed=is_signed(grid)), id=f"pat-{name.replace('_', '-')}")
    shown = html.P([value, html.Span(f" {UNIT_WORDS[grid.unit]}", className="abl-unit")], className="pat-value wb-mono")
    return html.Div([html.H4(title, title=grid.about), shown, *interval], className="abl-tile pat-tile")


def _agreement(result: Result) -> list[Any]:
    """Correlations of the estimate with what was patched for real."""
    grid = result.grids.get("agreement")
    if grid is None:
        return []
    known = (
        grid.values
        if grid.valid is None
        else [v if ok else None for v, ok in zip(grid.values, grid.valid, strict=True)]
    )
    exact = result.grids["exact"]
    count = exact.values.size if exact.valid is None else int(exact.valid.sum())
    words = [
        html.Div([f"{_measure(str(name))} ", html.Span(number(None if v is None else float(v)), className="wb-mono")])
        for name, v in zip(grid.coords[grid.dims[0]], known, strict=True)
    ]
    note = html.Div(f"over {whole(count)} cells patched for real", className="wb-muted")
    title = html.H4("Agreement of the estimate with patching", title=grid.about)
    return [html.Div([title, *words, note], className="abl-tile pat-tile", id="pat-agreement")]


def _measure(name: str) -> str:
    return {"pearson": "Pearson’s r", "spearman": "Spearman’s ρ"}.get(name, name)


def agreement_figure(result: Result, theme: ThemeName) -> Any:
    """Estimate against measured, for the cells that were patched for real; None without them."""
    estimate, exact = result.grids.get("estimate"), result.grids.get("exact")
    if estimate is None or exact is None:
        return None
    figure = graph("pat-scatter", estimate_against_exact(estimate, exact, theme=theme), height=320)
    return html.Details(
        [html.Summary("Estimate against measured, cell by cell"), figure], open=True, className="pat-more"
    )


def switch(maps: Mapping[str, str], shown: str, usual: str) -> Any:
    """Which map of the result is shown; nothing where there is one. usual: the one that the address need not name."""
    values = {name: USUAL if name == usual else name for name in maps}
    control = dmc.SegmentedControl(
        id={"type": "pat-set", "name": "shown"},
        value=values[shown],
        data=[{"value": values[name], "label": words} for name, words in maps.items()],
        size="xs",
    )
    return html.Div(control, hidden=len(maps) < 2, className="pat-switch-maps")


def undefined(grid: Grid, result: Result) -> str:
    """Why no recovery is defined, in words; "" where some are."""
    if grid.valid is None or grid.valid.any() or "metric_corrupt" not in result.grids:
        return ""
    clean, corrupt = (number(float(result.grids[f"metric_{run}"].values)) for run in ("clean", "corrupt"))
    return (
        f"Recovery is undefined: the clean run gives {clean} and the corrupt run {corrupt}, too close together for "
        "a share of their difference to mean anything. Choose another corrupt prompt, answer or metric; "
        "the metric of each run is still shown."
    )
