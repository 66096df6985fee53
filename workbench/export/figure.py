"""The figure of a grid as it goes into a paper: title, unit, model and date inside the picture."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import plotly.graph_objects as go
import plotly.io

from analyses.analysis import sentence
from analyses.grid import Grid
from analyses.result import Result
from hooks.errors import WorkbenchError
from workbench.export.circuit import circuit_of
from workbench.figures import auto
from workbench.figures.faithfulness import curve, is_curve
from workbench.figures.graph import graph
from workbench.figures.tokens import text

ImageForm = Literal["svg", "png", "pdf"]
WIDTH, HEIGHT, FOOTER = 960, 640, 28


def picture(result: Result, grid: Grid, theme: Literal["light", "dark"] = "light") -> go.Figure:
    """The default figure of one grid of a result, with a footer that says what it is of."""
    title = f"{grid.name}: {sentence(result.experiment)}"
    if is_curve(grid):
        drawn = curve(grid, title=title, theme=theme, beside=result.grids)
    else:
        drawn = auto.figure(grid, title=title, tokens=tokens(result), theme=theme, beside=result.grids)
    return _with_footer(drawn, footer(result, f"unit: {grid.unit}"))


def circuit_picture(result: Result, theme: Literal["light", "dark"] = "light") -> go.Figure:
    """The circuit of a result as a layered graph, with the same footer. Raises SpecError where it holds none."""
    circuit = circuit_of(result).model_dump(mode="json")
    title = f"circuit: {sentence(result.experiment)}"
    return _with_footer(graph(circuit, title=title, theme=theme), footer(result, f"{circuit['size']} edges"))


def _with_footer(drawn: go.Figure, words: str) -> go.Figure:
    bottom = drawn.layout.margin.b or 80
    drawn.update_layout(margin_b=bottom + FOOTER)
    drawn.add_annotation(
        text=text(words), x=0, y=0, xref="paper", yref="paper", xanchor="left", yanchor="top",
        yshift=-bottom, showarrow=False, font_size=11,
    )  # fmt: skip
    return drawn


def footer(result: Result, first: str) -> str:
    """Unit or size, model, day and result id."""
    return " · ".join((first, str(result.experiment.model), result.provenance.started[:10], result.id))


def tokens(result: Result) -> tuple[str, ...] | None:
    """The display strings of the prompt, by position; None where there are several prompts, or none."""
    prompts = [prompt for prompts in result.provenance.strings.values() for prompt in prompts]
    return prompts[0] if len(prompts) == 1 else None


def image(result: Result, grid: Grid | None, form: ImageForm, theme: Literal["light", "dark"] = "light") -> bytes:
    """The figure of a grid, or of the circuit where it is None, as an image. Raises WorkbenchError as `images` does."""
    drawn = circuit_picture(result, theme) if grid is None else picture(result, grid, theme)
    return images([drawn], form)[0]


def images(drawn: Sequence[go.Figure], form: ImageForm) -> list[bytes]:
    """Figures as images, all drawn by one browser, since starting it takes most of the time.

    Raises WorkbenchError where there is no Chromium or no kaleido to draw with.
    """
    if importlib.util.find_spec("kaleido") is None:
        hint = "Install 'mechanistic-workbench[images]', or export as html."
        raise WorkbenchError(f"{form} export needs the package kaleido.", hint)
    from choreographer.errors import BrowserFailedError, ChromeNotFoundError

    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.{form}" for number in range(len(drawn))]
        scale = 2 if form == "png" else 1
        heights = [max(HEIGHT, figure.layout.height or 0) for figure in drawn]
        try:
            plotly.io.write_images(drawn, files, format=form, width=WIDTH, height=heights, scale=scale)
        except (ChromeNotFoundError, BrowserFailedError, RuntimeError) as error:
            raise WorkbenchError(
                f"{form} export needs Chromium or Chrome, and none could be started.",
                "Install the package 'chromium', or export as html, which any browser shows.",
            ) from error
        return [file.read_bytes() for file in files]
