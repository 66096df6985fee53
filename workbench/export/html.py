"""A result as one HTML page that works offline: figures, numbers, definitions, tokens, provenance."""

from __future__ import annotations

import json
from typing import Any, Literal

import plotly.graph_objects as go
import plotly.io
from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from analyses.analysis import analysis_named, sentence
from analyses.grid import Grid
from analyses.result import Result
from workbench.export import circuit_report
from workbench.export.circuit import has_circuit
from workbench.export.figure import picture
from workbench.export.names import safe
from workbench.figures import theme as themes
from workbench.figures.intervals import separate

TOP = 20
# Pixels: a row of a map is at least as high as its label.
ROW_HEIGHT, MARGINS, LEAST_HEIGHT = 18, 180, 450
CONFIG = {"displaylogo": False, "showSendToCloud": False, "responsive": True}


def page(result: Result, theme: Literal["light", "dark"] = "light") -> str:
    """The page. It asks no other host for anything, and a content policy inside it forbids that it could."""
    analysis = analysis_named(result.experiment.analysis)
    loader = PackageLoader("workbench.export")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    shared = {
        "result": result,
        "analysis": analysis,
        "sentence": sentence(result.experiment),
        "tokens": _tokens(result),
        "provenance": _provenance(result),
        "experiment": json.dumps(result.experiment.to_json(), indent=1, ensure_ascii=False),
        "css": themes.css(),
        "theme": theme,
    }
    if has_circuit(result):
        # Drawn without plotly, which would be most of the page.
        return environment.get_template("circuit.html").render(**shared, **circuit_report.parts(result, theme))
    grids = [_section(result, grid, theme) for grid in separate(result.grids)]
    return environment.get_template("result.html").render(**shared, grids=grids, plotly=get_plotlyjs())


def figure_page(figure: go.Figure) -> str:
    """One figure as a page of its own, interactive; it wants `plotly.min.js` beside it."""
    return str(plotly.io.to_html(figure, include_plotlyjs="directory", config=CONFIG))


def _section(result: Result, grid: Grid, theme: Literal["light", "dark"]) -> dict[str, Any]:
    """What the page shows of one grid; a single number needs no figure."""
    section = {"grid": grid, "figure": "", "rows": grid.top(TOP), "cells": grid.values.size}
    if not grid.dims:
        return section
    drawn = picture(result, grid, theme)
    if len(grid.dims) == 2:
        drawn.update_layout(height=max(LEAST_HEIGHT, MARGINS + ROW_HEIGHT * grid.values.shape[0]))
    figure = plotly.io.to_html(
        drawn, full_html=False, include_plotlyjs=False, config=CONFIG, div_id=f"figure-{safe(grid.name)}"
    )
    return {**section, "figure": figure}


def _tokens(result: Result) -> list[dict[str, Any]]:
    """Per prompt: which input it belongs to, and its tokens as (position, id, text)."""
    rows = []
    for name, prompts in result.provenance.strings.items():
        for number, strings in enumerate(prompts):
            ids = result.provenance.tokens[name][number]
            fed = list(zip(range(len(ids)), ids, strings, strict=True))
            rows.append({"input": name, "number": number, "tokens": fed})
    return rows


def _provenance(result: Result) -> dict[str, str]:
    """What the numbers depend on, in reading order."""
    provenance = result.provenance
    facts = provenance.model_dump(mode="json", exclude={"tokens", "strings", "versions", "warnings"})
    versions = ", ".join(f"{name} {version}" for name, version in provenance.versions.items())
    return {**{name.replace("_", " "): str(value) for name, value in facts.items()}, "versions": versions}
