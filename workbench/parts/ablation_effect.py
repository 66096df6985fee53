"""What an ablation did: the change of the metric, the next token before and after, where attention moved."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from dash import html

from analyses.grid import Grid
from analyses.result import Result
from workbench.figures.ablation import TokenRow, cell_map, strongest, token_rows
from workbench.figures.intervals import bounds_of, inside, range_of
from workbench.figures.numbers import UNIT_WORDS, number
from workbench.figures.prompts import dots
from workbench.figures.table import is_signed
from workbench.figures.theme import ThemeName
from workbench.parts.ablation_cells import cells
from workbench.parts.ablation_request import METRICS
from workbench.parts.empty import sentence
from workbench.parts.glossary import term
from workbench.parts.graph import graph
from workbench.parts.panel import panel
from workbench.parts.tray import edited_word

SORTS = {
    "cross_pattern_shift": ("cross-attention", "cross"),
    "encoder_pattern_shift": ("encoder’s attention", "encoder"),
    "vision_pattern_shift": ("image tower’s attention", "vision"),
}
"""The sorts of attention besides the main stack's, in words, and where the Attention page shows them."""
SHOWN_TOKENS = 12
LABEL = 36
ROW_PIXELS, MOST_PIXELS = 22, 720
SHOWN_HEADS = 10


def effect(
    result: Result,
    saving: Any,
    answers: Collection[int] = (),
    foils: Collection[int] = (),
    noun: str = "Next token",
    theme: ThemeName = "light",
) -> list[Any]:
    """The panels of a result of parts ablated together.

    saving: the row that keeps it. answers, foils: ids to mark in the distributions. noun: what these are of.
    """
    compared = [distributions(result, answers, foils, noun)] if "prob_clean" in result.grids else []
    shifts = [shift(grid) for name, grid in result.grids.items() if name.endswith("pattern_shift")]
    return [numbers(result, saving, noun), *_each_prompt(result, theme), *compared, *shifts]


def _each_prompt(result: Result, theme: ThemeName) -> list[Any]:
    """One dot per prompt, where there are several."""
    each = result.grids.get("effect_by_prompt")
    if each is None or len(each.values) < 2:
        return []
    change = result.grid("effect")
    ends = [bounds_of(change, result.grids), range_of("control", result.grids)]
    interval, control = ((float(b.low.values), float(b.high.values)) if b and bool(b.known) else None for b in ends)
    values = each.values if each.valid is None else np.where(each.valid, each.values, np.nan)
    labels = [_label(prompt) for prompt in result.experiment.inputs["clean"].prompts]
    unit = UNIT_WORDS[change.unit]
    figure = dots(values, unit=f"change in {unit}", mean=float(change.values), interval=interval, control=control,
                  labels=labels, theme=theme)  # fmt: skip
    about = "The change of each prompt; their mean as a line with its interval, behind it the range of random parts."
    height = min(96 + ROW_PIXELS * len(values), MOST_PIXELS)
    return [panel("Each prompt", graph("abl-prompts", figure, height=height), about=about, edited=True)]


def _label(prompt: Any) -> str:
    text = " ".join(prompt.split()) if isinstance(prompt, str) else "ids"
    return text if len(text) <= LABEL else f"{text[: LABEL - 1]}…"


def numbers(result: Result, saving: Any, noun: str = "Next token") -> Any:
    """The change of the metric in large type with its clean value, and the KL divergence."""
    asked = result.experiment.params["metric"]
    metric = asked if isinstance(asked, str) else str(asked["expression"])
    change, clean = result.grid("effect"), float(result.grid("metric_clean").values)
    after = clean + float(change.values)
    name = METRICS.get(metric, metric)
    unit = UNIT_WORDS[change.unit]
    lines = [
        html.Span(["clean ", html.Span(number(clean), id="abl-clean", className="wb-mono")]),
        html.Span([" → ablated ", html.Span(number(after), id="abl-after", className="wb-mono")]),
        html.Div(_count(result), id="abl-prompts-count"),
        *_uncertainty(change, result.grids),
    ]
    tiles = [_tile(["Change in ", _metric_term(metric, name)], change, unit, lines, "abl-effect")]
    if metric != "kl" and "kl" in result.grids:
        what = {"Next token": "next-token distribution", "Class": "distribution of classes"}.get(noun, "distribution")
        about = [html.Span(f"of the ablated from the clean {what}")]
        tiles.append(_tile([term("KL divergence")], result.grid("kl"), "nats", about, "abl-kl"))
    return panel("What changed", html.Div(tiles, className="abl-tiles"), saving, edited=True, id="abl-numbers")


def _count(result: Result) -> str:
    """How many prompts a mean is over."""
    count = len(result.experiment.inputs["clean"].prompts)
    return f"mean over {count} prompts" if count > 1 else "1 prompt, so no interval"


def _uncertainty(change: Grid, grids: Mapping[str, Grid]) -> list[Any]:
    """The interval of the change over prompts, and the range of random parts of the same kind, where there are."""
    interval, control = bounds_of(change, grids), range_of("control", grids)
    lines = [html.Div(["95 % interval ", _mono(interval.text())], title=interval.low.about)] if interval else []
    if control:
        where = "inside" if bool(inside(change, control)) else "outside"
        words = ["random parts ", _mono(control.text()), f": {where}"]
        lines.append(html.Div(words, title=control.low.about, id="abl-control"))
    return lines


def _mono(text: str) -> Any:
    return html.Span(text, className="wb-mono")


def _metric_term(metric: str, name: str) -> Any:
    known = {"logit_diff": "logit difference", "logprob": "log-probability", "loss": "loss", "kl": "KL divergence"}
    shown = name[:1].lower() + name[1:] if metric != "kl" else name
    return term(known[metric], shown) if metric in known else shown


def _tile(title: list[Any], grid: Grid, unit: str, lines: list[Any], id: str) -> Any:
    value = number(float(grid.values), signed=is_signed(grid))
    large = html.P([html.Span(value, id=id, className="wb-mono"), html.Span(f" {unit}", className="abl-unit")])
    return html.Div([html.H3(title), large, html.P(lines, className="wb-muted")], className="abl-tile")


def distributions(result: Result, answers: Collection[int], foils: Collection[int], noun: str = "Next token") -> Any:
    """The same tokens or classes clean and ablated, side by side, bars in one scale."""
    before, after = result.grid("prob_clean"), result.grid("prob_ablated")
    rows = token_rows(before, after, SHOWN_TOKENS)
    marks = {**dict.fromkeys(foils, "foil"), **dict.fromkeys(answers, "answer")}
    total = len(before.coords["token"])
    cut = f" The {len(rows)} likeliest of {total}; the export has all." if total > len(rows) else ""
    where = {"Next token": "the next token at the answer position", "Class": "each class"}.get(noun, "the token there")
    about = f"Probability of {where}, bars in one scale.{cut}"
    return panel(noun, side_by_side(rows, marks, noun), about=about, id="abl-distributions")


def side_by_side(
    rows: Sequence[TokenRow], marks: Mapping[int, str], noun: str = "Next token", after: str = "Ablated"
) -> Any:
    """Two tables of the same tokens, clean and edited. marks: words beside ids. after: the edited run’s name."""
    left = _table([_row(row, row.before, row.before_width, marks) for row in rows], "Clean", "abl-clean-table", noun)
    changed = [_row(row, row.after, row.after_width, marks, row.change) for row in rows]
    right = _table(changed, after, "abl-ablated-table", noun)
    return html.Div([left, right], className="abl-dists")


def _table(rows: list[Any], title: str, id: str, noun: str) -> Any:
    edited = title != "Clean"
    mark = [edited_word()] if edited else []
    of = "Class" if noun == "Class" else "Token"
    heads = [html.Th(of, scope="col"), html.Th("", **{"aria-hidden": "true"}), html.Th("Probability", scope="col")]
    heads += [html.Th("Change", scope="col")] if edited else []
    body = html.Table([html.Thead(html.Tr(heads)), html.Tbody(rows)], className="abl-table wb-number", id=id)
    return html.Section([html.H3([title, *mark]), body], className="abl-dist wb-edited" if edited else "abl-dist")


def _row(row: TokenRow, value: float, width: float, marks: Mapping[int, str], change: float | None = None) -> Any:
    mark = marks.get(row.id) if row.id is not None else None
    tag = [" ", html.Span(mark, className="wb-tag")] if mark else []
    bar = html.Div(html.Div(style={"width": f"{100 * width:.2f}%"}), className="abl-token-bar")
    cells = [
        html.Th([html.Bdi(row.token, dir="auto", className="wb-mono"), *tag], scope="row"),
        html.Td(bar, className="abl-bar-cell", **{"aria-hidden": "true"}),
        html.Td(number(value), className="wb-mono"),
    ]
    cells += [] if change is None else [html.Td(number(change, signed=True), className="wb-mono")]
    return html.Tr(cells)


def shift(grid: Grid) -> Any:
    """How far the attention of every head moved; a cell opens that head's difference."""
    moved, (of, where) = later(grid), SORTS.get(grid.name, ("attention", ""))
    label = f"How far the {of} of each head moved: layers as rows, heads as columns"
    picture = cells(
        "abl-shift" + (f"-{where}" if where else ""),
        cell_map(moved),
        label=label,
        name="head {layer}.{head}",
        action="open",
        target="{layer}.{head}" + (f".{where}" if where else ""),
        say="Click a head to see its attention before and after.",
    )
    top = [row for row in strongest(grid, SHOWN_HEADS) if row["value"] > 0]
    items = [html.Li(_opener(row, where)) for row in top] or [html.Li("No head moved.", className="wb-muted")]
    words = html.Div([html.H3("Moved most"), html.Ol(items, className="abl-list")])
    about = "Half the summed absolute difference of each attention row, mean over queries: 0 unmoved, 1 all elsewhere."
    first = moved.coords["layer"][0]
    about += f" No attention moved before layer {first}." if first != grid.coords["layer"][0] else ""
    body = html.Div([picture, words], className="abl-map-and-list")
    place = {"id": "abl-shift-panel" + (f"-{where}" if where else "")}
    return panel(f"{sentence(of)} of later heads", body, about=about, edited=True, **place)


def later(grid: Grid) -> Grid:
    """The layers of a (layer, head) grid from the first that moved; the last layer alone where none did."""
    moved = np.flatnonzero(grid.values.any(axis=1))
    first = int(moved[0]) if len(moved) else len(grid.values) - 1
    coords = {**grid.coords, "layer": tuple(grid.coords["layer"][first:])}
    valid = None if grid.valid is None else grid.valid[first:]
    return replace(grid, values=grid.values[first:], coords=coords, valid=valid)


def _opener(row: dict[str, Any], where: str) -> Any:
    name = f"head {row['layer']}.{row['head']}"
    value = number(row["value"])
    return html.Button(
        [html.Span(name, className="abl-item-name"), html.Span(value, className="abl-item-number wb-mono")],
        type="button",
        className="abl-item",
        **{
            "data-abl-open": f"{row['layer']}.{row['head']}{f'.{where}' if where else ''}",
            "aria-label": f"{name}, {value}: open its attention",
        },
    )
