"""Pictures of neurons: the strongest of each layer as cells, and how one neuron's activations spread."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import plotly.graph_objects as go

from analyses.grid import Grid
from workbench.figures import theme as themes
from workbench.figures.ablation import CellMap, cell_map
from workbench.figures.intervals import bounds_of
from workbench.figures.numbers import number

ROW = 24
CLIP = 95.0
"""The percentile of magnitudes at which colours end where a few neurons are far stronger than all others."""
FAR = 3.0


def reach_of(grid: Grid) -> tuple[float, bool]:
    """The magnitude of the deepest colour, and whether some cells lie beyond it."""
    size = np.abs(grid.values)
    top, usual = float(size.max(initial=0.0)), float(np.percentile(size, CLIP)) if size.size else 0.0
    return (usual, True) if usual and top > FAR * usual else (top, False)


def strips(grid: Grid) -> tuple[CellMap, list[list[str]]]:
    """A ranking over (layer, rank) as rows of cells, and the address of the neuron in each.

    A single layer comes in rows of 24.
    """
    values, names = grid.values, np.array(grid.coords["neuron"], dtype=object).reshape(grid.values.shape)
    said = np.array(_said(grid), dtype=object).reshape(values.shape)
    picture = cell_map(grid, reach=reach_of(grid)[0])
    texts = [
        [f"{name}, {text}" for name, text in zip(*row, strict=True)] for row in zip(said, picture.texts, strict=True)
    ]
    if len(values) > 1 or values.shape[1] <= ROW:
        labels = _sparse(values.shape[1])
        return replace(picture, texts=tuple(map(tuple, texts)), cols=labels, col_name="strongest first"), names.tolist()
    starts = range(0, values.shape[1], ROW)
    cut = [slice(start, start + ROW) for start in starts]
    rows = replace(
        picture,
        rows=tuple(str(start + 1) for start in starts),
        cols=_sparse(ROW),
        row_name="rank",
        col_name="strongest first",
        row_keys=tuple(picture.row_keys[0] for _ in starts),
        col_keys=tuple(picture.col_keys[0][part] for part in cut),
        levels=tuple(picture.levels[0][part] for part in cut),
        texts=tuple(tuple(texts[0][part]) for part in cut),
    )
    return rows, [names[0, part].tolist() for part in cut]


def _sparse(count: int) -> tuple[str, ...]:
    """Every fourth rank, so that the labels fit a narrow screen."""
    return tuple("" if rank % 4 else str(rank) for rank in range(count))


def name_of(address: str) -> str:
    """A neuron in few words: `5.123`, `1.2.4` for an expert's."""
    site, _, inside = address.partition("[")
    units = [item.partition("=")[2] for item in inside.rstrip("]").split(",")]
    stack, _, layer = site.rpartition(".")[0].rpartition("L")
    return ".".join([f"{stack}{layer}", *units])


def _said(grid: Grid) -> list[str]:
    """What each cell is, before its number."""
    names = [f"neuron {name_of(str(name))}" for name in grid.coords["neuron"]]
    if "peak_token" not in grid.coords:
        return names
    places = zip(names, grid.coords["peak_token"], grid.coords["peak_pos"], strict=True)
    return [f"{name} at “{token}” (position {pos})" for name, token, pos in places]


def spread(clean: Grid, edited: Grid | None, theme: themes.ThemeName) -> go.Figure:
    """How often a neuron has which activation, over all tokens of all prompts; the edited run beside it."""
    figure = go.Figure()
    for name, grid, role in (("clean", clean, "accent"), ("edited", edited, "edited")):
        if grid is not None:
            values = grid.values.ravel() if grid.valid is None else grid.values[grid.valid]
            figure.add_trace(
                go.Histogram(x=values, name=name, marker={"color": themes.role(role, theme)}, opacity=0.75, nbinsx=40)
            )
    figure.update_layout(template=themes.template(theme), barmode="overlay", bargap=0.05, showlegend=edited is not None,
                         margin={"t": 8}, legend={"orientation": "h", "y": 1.1})  # fmt: skip
    figure.update_xaxes(title_text="activation")
    figure.update_yaxes(title_text="tokens")
    return figure


def interval_of(result_grids: dict[str, Grid], name: str) -> str:
    """The interval of a number over prompts, "" where there is none."""
    bounds = bounds_of(result_grids[name], result_grids)
    return f"95 % interval {bounds.text()}" if bounds is not None else ""


def words_of(grid: Grid) -> str:
    """A number with its sign."""
    return number(float(grid.values), signed=True)
