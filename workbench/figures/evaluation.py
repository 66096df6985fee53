"""Evaluations as pictures: scores before and after with their intervals, the reliability curve, what changed per item.

Pure: Grids in, figures and frozen values out. "Before" is drawn in the accent, "after" in the colour of edits, and both
differ in their marks as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from analyses.grid import Grid
from hooks.errors import SpecError
from workbench.figures import theme as themes
from workbench.figures import tokens as token_text
from workbench.figures.numbers import number, percent
from workbench.figures.table import unit_title

MARKS = {"before": ("accent", "circle"), "after": ("edited", "diamond")}
NAMES = {"accuracy": "accuracy", "acc_norm": "accuracy per token", "prob_right": "probability of the right choices",
         "logprob_diff": "log-probability difference", "loss": "loss", "perplexity": "perplexity",
         "ece": "calibration error"}  # fmt: skip
Grids = Mapping[str, Grid]


def scores(grids: Grids, names: Sequence[str], *, title: str = "", theme: themes.ThemeName = "light") -> go.Figure:
    """Scores in one unit, before and after, each with its interval; scores that the result lacks are left out."""
    shown = [name for name in names if name in grids]
    if not shown or len({grids[name].unit for name in shown}) > 1:
        raise SpecError(f"no scores in one unit among {', '.join(names)}.", f"The result has {', '.join(grids)}.")
    labels = [NAMES.get(name, name) for name in shown]
    rows = [{run: _estimate(grids, name, (place,)) for place, run in _runs(grids[name])} for name in shown]
    return _dots(labels, rows, unit_title(grids[shown[0]]), title, theme)


def by_template(grids: Grids, name: str, *, title: str = "", theme: themes.ThemeName = "light") -> go.Figure:
    """One score in every group of items, before and after. Raises SpecError for a result without groups."""
    held = f"{name}_by_template"
    if held not in grids:
        raise SpecError(f"this result has no {name} by template.", "Its items belong to no groups.")
    labels = [str(label) for label in grids[held].coords["template"]]
    rows = [
        {run: _estimate(grids, held, (group, place)) for place, run in _runs(grids[held])}
        for group in range(len(labels))
    ]
    return _dots(labels, rows, unit_title(grids[held]), title, theme)


Estimate = tuple[float, float | None, float | None]


def _runs(grid: Grid) -> list[tuple[int, str]]:
    return [(place, str(run)) for place, run in enumerate(grid.coords["run"])]


def _estimate(grids: Grids, name: str, at: tuple[int, ...]) -> Estimate:
    """The value and its interval, None where the result has none."""
    low, high = (grids.get(f"{name}_{end}") for end in ("low", "high"))
    bounds = [None if grid is None else float(grid.values[at]) for grid in (low, high)]
    return float(grids[name].values[at]), bounds[0], bounds[1]


def _dots(
    labels: Sequence[str], rows: Sequence[Mapping[str, Estimate]], unit: str, title: str, theme: themes.ThemeName
) -> go.Figure:
    """A row per label, a mark per run, a line over its interval."""
    figure = go.Figure()
    runs = list(rows[0])
    for number_of, run in enumerate(runs):
        colour, mark = MARKS[run]
        found = [row[run] for row in rows]
        above = [0.0 if high is None else high - value for value, _, high in found]
        below = [0.0 if low is None else value - low for value, low, _ in found]
        # Runs stand above one another, so that neither interval hides the other.
        places = np.arange(len(labels)) + (0.0 if len(runs) == 1 else 0.3 * number_of - 0.15)
        figure.add_scatter(
            x=[value for value, _, _ in found],
            y=places,
            mode="markers",
            name=run,
            marker={"color": themes.role(colour, theme), "symbol": mark, "size": 9},
            error_x={"type": "data", "array": above, "arrayminus": below, "thickness": 1.5, "width": 3},
            hovertext=[_hover(label, run, one, unit) for label, one in zip(labels, found, strict=True)],
            hovertemplate="%{hovertext}<extra></extra>",
        )
    figure.update_layout(
        template=themes.template(theme), title_text=token_text.text(title), showlegend=len(runs) > 1,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )  # fmt: skip
    figure.update_xaxes(title_text=unit)
    named = {"tickvals": list(range(len(labels))), "ticktext": [token_text.text(label) for label in labels]}
    figure.update_yaxes(**named, autorange="reversed", showgrid=False, zeroline=False)
    return figure


def _hover(label: str, run: str, found: Estimate, unit: str) -> str:
    value, low, high = found
    span = "" if low is None or high is None else f"<br>95 % interval {number(low)} to {number(high)}"
    return f"{token_text.text(label)}, {run}<br><b>{number(value)}</b> {unit}{span}"


def reliability(grids: Grids, *, title: str = "", theme: themes.ThemeName = "light") -> go.Figure:
    """Accuracy against confidence by bin, beside the diagonal of a calibrated model; larger marks hold more items."""
    accuracy, confidence, share = (grids[f"reliability_{name}"] for name in ("accuracy", "confidence", "share"))
    figure = go.Figure()
    line = {"color": themes.role("line-strong", theme), "dash": "dot", "width": 1}
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=line, name="calibrated", hoverinfo="skip")
    for place, run in _runs(accuracy):
        colour, mark = MARKS[run]
        held = np.asarray(share.values[place]) > 0
        x, y, part = (np.asarray(grid.values[place])[held] for grid in (confidence, accuracy, share))
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines+markers",
            name=run,
            line={"color": themes.role(colour, theme), "width": 1.5},
            marker={"symbol": mark, "size": 6 + 16 * np.sqrt(part)},
            hovertext=[_bin_hover(run, *values) for values in zip(x, y, part, strict=True)],
            hovertemplate="%{hovertext}<extra></extra>",
        )
    figure.update_layout(
        template=themes.template(theme), title_text=token_text.text(title), legend={"itemsizing": "constant"}
    )
    figure.update_xaxes(title_text="confidence", range=[0, 1.02])
    figure.update_yaxes(title_text="accuracy", range=[-0.02, 1.02])
    return figure


def _bin_hover(run: str, confidence: float, accuracy: float, share: float) -> str:
    return (
        f"{run}: {percent(float(share))} of the items<br>confidence {number(float(confidence))}, "
        f"accuracy {number(float(accuracy))}"
    )


@dataclass(frozen=True)
class ItemChange:
    """One item before and after the edit. prompt: its number; turned: "lost", "gained" or "" where the hit stayed."""

    prompt: int
    text: str
    template: str
    before: float
    after: float
    turned: str

    @property
    def change(self) -> float:
        return self.after - self.before


def item_changes(
    grids: Grids, name: str, texts: Sequence[str], templates: Sequence[str] = (), *, hits: str = "accuracy"
) -> list[ItemChange]:
    """The value of every item before and after, the largest change first: the rows of a table.

    name: which score, such as prob_right, logprob_diff or loss. hits: the score that says what was lost and gained.
    Raises SpecError for a result without per-item values of two runs.
    """
    held: Any = grids.get(f"{name}_by_prompt")
    if held is None or len(held.coords["run"]) < 2:
        raise SpecError(f"this result has no {name} of each item before and after.", "Run it with edits.")
    values = np.asarray(held.values, np.float64)
    right = grids.get(f"{hits}_by_prompt")
    words = {-1: "lost", 0: "", 1: "gained"}
    turned = [0] * len(values) if right is None else np.sign(right.values[:, 1] - right.values[:, 0]).astype(int)
    rows = [
        ItemChange(item, texts[item], templates[item] if templates else "", before, after, words[int(turned[item])])
        for item, (before, after) in enumerate(values.tolist())
    ]
    return sorted(rows, key=lambda row: -abs(row.change))
