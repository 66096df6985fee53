"""One result whole: its numbers, its figures, what it was made of, and the way to make it again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dash import dcc, html

from analyses.analysis import sentence
from analyses.grid import Grid
from analyses.result import Result
from workbench.export.circuit import has_circuit
from workbench.export.model_files import model_forms
from workbench.figures import auto
from workbench.figures.intervals import bounds_of, is_companion, parent, range_of
from workbench.figures.numbers import UNIT_WORDS, number, seconds, size, whole
from workbench.figures.table import is_signed, top_cells
from workbench.figures.theme import ThemeName
from workbench.parts.empty import sentence as in_words
from workbench.parts.export_menu import export_menu, figure_buttons
from workbench.parts.graph import graph
from workbench.parts.panel import panel
from workbench.parts.results_links import page_link
from workbench.parts.results_list import delete_button, note_box, when

if TYPE_CHECKING:
    from workbench.results import ResultCard

DRAWN_CELLS = 400_000
HEIGHTS = {1: 340, 2: 480}
TOP = 10
TITLES = {
    "kl": "KL divergence",
    "metric_clean": "Metric, clean run",
    "prob": "Probability",
    "prob_ablated": "Next token, ablated",
    "prob_clean": "Next token, clean",
    "pattern_shift": "Attention that moved",
    "metric_corrupt": "Metric, corrupt run",
    "metric_run": "Metric of each patched run",
    "estimate": "Estimate of patching",
    "estimate_effect": "Estimate of patching, in units of the metric",
    "exact": "Estimate against what was patched for real",
    "agreement": "Agreement of the estimate with patching",
    "reliability_accuracy": "Reliability",
}


def detail(result: Result, card: ResultCard, theme: ThemeName) -> list[Any]:
    """The panels of an open result."""
    return [
        header(result, card),
        *([scalars(result)] if any(not grid.dims for grid in result.grids.values()) else []),
        *(
            figure_panel(result, grid, theme)
            for grid in result.grids.values()
            if grid.dims and not is_companion(grid, result.grids)
        ),
        made_of(result),
    ]


def header(result: Result, card: ResultCard) -> Any:
    """The sentence, the note, and what can be done."""
    link = page_link(result.experiment)
    opener = [dcc.Link(link[1], href=link[0], className="wb-button wb-primary")] if link else []
    menu = export_menu(card.id, circuit=has_circuit(result), models=model_forms(result))
    tools = html.Div([*opener, _compare(card.id), menu, delete_button(card.id)], className="wb-tools")
    facts = f"{card.model} · {when(card.created)} · {seconds(card.seconds)}"
    about = [facts, *([" ", html.Span("saved", className="wb-tag")] if card.saved else [])]
    return panel(sentence(result.experiment), note_box(card), tools=tools, about=about, id="res-open")


def _compare(result_id: str) -> Any:
    changes = json.dumps({"open": "", "beside": result_id})
    return html.A(
        "Compare with another",
        href="/results",
        className="wb-button",
        **{"data-wb-nav": "/results", "data-wb-set": changes},
    )


def scalars(result: Result) -> Any:
    """The grids that are one number, each with its interval, and the ranges of controls."""
    rows = []
    for grid in (grid for grid in result.grids.values() if not grid.dims):
        if not is_companion(grid, result.grids):
            rows.append(_scalar(title_of(grid), grid, value_text(grid), interval_text(grid, result.grids)))
        elif grid.name.endswith("_low") and not _has_number(grid, result.grids):
            rows.append(_range(grid, result.grids))
    return panel("Numbers", html.Table(html.Tbody(rows), className="res-numbers wb-number"), id="res-numbers")


def _scalar(title: str, grid: Grid, value: str, interval: str) -> Any:
    cells = [
        html.Th(title, scope="row", title=grid.about),
        html.Td(value, className="wb-mono"),
        html.Td(UNIT_WORDS[grid.unit], className="wb-muted"),
    ]
    return html.Tr([*cells, html.Td(interval, className="wb-muted")] if interval else cells)


def _has_number(end: Grid, grids: Mapping[str, Grid]) -> bool:
    """Whether the number whose interval ends here is in the same table."""
    number_of = grids.get(parent(end) or "")
    return number_of is not None and not number_of.dims


def _range(grid: Grid, grids: Mapping[str, Grid]) -> Any:
    """The row of a range that belongs to no number, such as a control's."""
    name = parent(grid) or grid.name
    bounds = range_of(name, grids)
    return _scalar(f"{in_words(name)} range", grid, bounds.text() if bounds else "", "")


def interval_text(grid: Grid, grids: Mapping[str, Grid]) -> str:
    """The interval of a number, as words beside it; "" where it has none."""
    bounds = bounds_of(grid, grids)
    text = bounds.text() if bounds else ""
    return f"95 % interval {text}" if text else ""


def title_of(grid: Grid) -> str:
    """A grid's name as words."""
    return TITLES.get(grid.name) or in_words(grid.name.replace("_", " "))


def value_text(grid: Grid) -> str:
    """The one number of a grid without axes."""
    known = grid.valid is None or bool(grid.valid.all())
    return number(float(grid.values) if known else None, signed=is_signed(grid))


def figure_panel(result: Result, grid: Grid, theme: ThemeName) -> Any:
    """A grid's default figure, its exports and its strongest cells as text."""
    tools = figure_buttons(result.id, grid.name)
    name = f"res-grid-{grid.name}"
    if grid.values.size > DRAWN_CELLS:
        words = f"{whole(grid.values.size)} cells are too many to draw here. The bundle holds them as HDF5."
        return panel(title_of(grid), html.P(words, className="wb-muted"), about=grid.about, id=name)
    drawn = graph(
        {"type": "res-graph", "of": grid.name},
        auto.figure(grid, title="", tokens=tokens_of(result), theme=theme, beside=result.grids),
        height=height_of(grid),
    )
    return panel(
        title_of(grid), drawn, text_alternative(grid, tokens_of(result)), tools=tools, about=grid.about, id=name
    )


def height_of(grid: Grid) -> int:
    """Pixels for a grid's figure: more for many rows."""
    rows = grid.values.shape[0]
    # Bars of named things lie, one in each row.
    if len(grid.dims) == 1 and not any(isinstance(label, str) for label in grid.coords[grid.dims[0]]):
        return HEIGHTS[1]
    return max(HEIGHTS.get(len(grid.dims), 560), min(120 + 14 * rows, 720))


def tokens_of(result: Result) -> Sequence[str] | None:
    """The display strings of the only prompt, or of the only clean one; None where there are several, or none."""
    strings = result.provenance.strings
    prompts = strings.get("clean") or [prompt for prompts in strings.values() for prompt in prompts]
    return prompts[0] if len(prompts) == 1 else None


def text_alternative(grid: Grid, tokens: Sequence[str] | None) -> Any:
    """The ten most telling cells as a list that opens."""
    items = [html.Li(phrase) for phrase in top_cells(grid, TOP, tokens=tokens)]
    return html.Details(
        [html.Summary("Strongest cells as text"), html.Ol(items, className="wb-number")], className="res-more"
    )


def made_of(result: Result) -> Any:
    """Provenance, tokens, the experiment as JSON, and how to replay it."""
    provenance = result.provenance
    versions = ", ".join(f"{name} {version}" for name, version in provenance.versions.items())
    facts: Mapping[str, Any] = {
        "Model": f"{result.experiment.model}, from {provenance.source}",
        "Weights": html.Span(provenance.model_hash, className="wb-mono"),
        "Tokenizer": html.Span(provenance.tokenizer_hash, className="wb-mono"),
        "Device": f"{provenance.device}, {provenance.dtype}",
        "Attention": provenance.attention,
        "Seed": str(provenance.seed),
        "Run": f"{when(provenance.started)}, {seconds(provenance.seconds)}, peak {size(provenance.peak_bytes)}",
        "Cache": "activations came from the store" if provenance.from_cache else "computed by forward passes",
        "Versions": versions,
        "Result": html.Span(result.id, className="wb-mono"),
        **({"Warnings": " ".join(provenance.warnings)} if provenance.warnings else {}),
    }
    pairs = [item for name, value in facts.items() for item in (html.Dt(name), html.Dd(value))]
    experiment = json.dumps(result.experiment.to_json(), ensure_ascii=False, indent=2)
    return panel(
        "What it is made of",
        html.Dl(pairs, className="wb-facts-list"),
        *(_prompts(name, prompts) for name, prompts in provenance.strings.items()),
        _folded("Experiment as JSON", html.Pre(experiment, className="res-code", id="res-experiment")),
        html.P(
            ["Check these numbers on any machine: ", html.Code(f"workbench replay {result.id}", className="wb-mono")]
        ),
        id="res-made-of",
    )


def _prompts(name: str, prompts: Sequence[Sequence[str]]) -> Any:
    rows = [html.Li([html.Bdi(token, className="wb-chip", dir="auto") for token in prompt]) for prompt in prompts]
    return _folded(f"Tokens of {name}", html.Ol(rows, className="res-tokens", dir="ltr"))


def _folded(title: str, content: Any) -> Any:
    return html.Details([html.Summary(title), content], className="res-more")
