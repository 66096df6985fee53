"""Intervals and control ranges in figures and on the Results page: companions of a number, never maps of their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import pytest

from analyses.averages import averaged
from analyses.grid import Grid
from tests.workbench.components import text_of
from tests.workbench.test_results_page_unit import HOSTILE, card, figures, made
from workbench.figures import auto
from workbench.figures.ablation import cell_map
from workbench.figures.intervals import bounds_of, inside, is_companion, outside, range_of
from workbench.figures.prompts import dots
from workbench.parts.results_compare import compare
from workbench.parts.results_detail import detail

LAYERS = {"layer": (0, 1)}


def named(*grids: Grid) -> dict[str, Grid]:
    return {grid.name: grid for grid in grids}


def scalar(name: str, value: float) -> Grid:
    return Grid(name, np.array(value), (), {}, "logit", 0.0)


def interval(missing: bool = False) -> dict[str, Grid]:
    """An effect over two layers, 1 and −2, with the intervals 0.5 to 1.5 and −4 to −1."""
    valid = np.array([True, False]) if missing else None
    ends = {"effect": (1.0, -2.0), "effect_low": (0.5, -4.0), "effect_high": (1.5, -1.0)}
    return named(
        *(
            Grid(name, np.array(values), ("layer",), LAYERS, "logit", 0.0, valid=valid if name != "effect" else None)
            for name, values in ends.items()
        )
    )


def test_ends_belong_to_the_number_of_the_same_axes_and_a_range_without_one_stands_alone() -> None:
    draws = Grid("control", np.zeros(3), ("draw",), {"draw": (0, 1, 2)}, "logit", 0.0)
    grids = {**interval(), **named(draws, scalar("control_low", -1.0), scalar("control_high", 0.5))}
    assert [name for name, grid in grids.items() if not is_companion(grid, grids)] == ["effect", "control"]
    assert bounds_of(grids["effect"], grids) is not None and bounds_of(grids["control"], grids) is None
    found = range_of("control", grids)
    assert found is not None and found.text() == "−1.00 to +0.500"
    assert range_of("effect", grids) is None
    alone = named(scalar("very_low", 1.0))
    assert not is_companion(alone["very_low"], alone)


def test_bars_have_error_bars_that_end_where_the_interval_does() -> None:
    grids = interval()
    (bar,) = auto.figure(grids["effect"], title="", beside=grids).data
    assert bar.error_y.array.tolist() == [0.5, 1.0] and bar.error_y.arrayminus.tolist() == [0.5, 2.0]
    assert "95 % interval +0.5000 to +1.500" in bar.hovertext[0]
    unknown = interval(missing=True)
    (bar,) = auto.figure(unknown["effect"], title="", beside=unknown).data
    assert np.isnan(bar.error_y.array[1]) and "interval" not in bar.hovertext[1]
    (plain,) = auto.figure(grids["effect"], title="").data
    assert plain.error_y.array is None


def test_a_map_says_the_interval_of_a_cell_on_hover_and_a_number_under_itself() -> None:
    values = np.random.default_rng(0).normal(size=(5, 2, 3))
    grids = named(*averaged("effect", values, ("layer", "head"), {**LAYERS, "head": (0, 1, 2)}, "logit", baseline=0.0))
    heat = next(trace for trace in auto.figure(grids["effect"], title="", beside=grids).data if trace.type == "heatmap")
    assert all("95 % interval" in text for row in heat.text for text in row)
    one = named(scalar("effect", 1.0), scalar("effect_low", 0.5), scalar("effect_high", 2.0))
    words = " ".join(note.text for note in auto.figure(one["effect"], title="", beside=one).layout.annotations)
    assert "95 % interval +0.500 to +2.00" in words


def test_the_map_of_effects_marks_what_lies_inside_the_control_range() -> None:
    grids = {**interval(), **named(scalar("control_low", -3.0), scalar("control_high", 0.9))}
    control = range_of("control", grids)
    assert control is not None and inside(grids["effect"], control).tolist() == [False, True]
    left = outside(grids["effect"], control)
    assert left.valid is not None and left.valid.tolist() == [True, False]
    picture = cell_map(grids["effect"], bounds=bounds_of(grids["effect"], grids), control=control)
    assert picture.inside == ((False,), (True,))
    assert picture.texts == (("+1.00 (+0.500 to +1.50)",), ("−2.00 (−4.00 to −1.00)",))
    assert cell_map(grids["effect"]).inside == ()


def test_dots_show_every_prompt_the_mean_its_interval_and_the_control() -> None:
    values = np.array([0.5, np.nan, 2.5])
    figure = dots(values, unit="logits", mean=1.5, interval=(0.5, 2.5), control=(-1.0, 1.0), labels=["a", HOSTILE, "c"])
    (points,) = figure.data
    assert points.x.tolist()[::2] == [0.5, 2.5] and points.y.tolist() == [0, 1, 2]
    bands = {(shape.x0, shape.x1) for shape in figure.layout.shapes}
    assert {(-1.0, 1.0), (0.5, 2.5), (1.5, 1.5), (0.0, 0.0)} == bands
    assert "<script" not in figure.to_json()
    assert isinstance(dots(np.zeros(100), unit="logits", mean=0.0), go.Figure)


@pytest.mark.parametrize("beside", [False, True])
def test_the_results_page_shows_intervals_beside_their_numbers_and_a_control_as_a_range(beside: bool) -> None:
    plain = made()
    more = named(
        scalar("effect_low", -2.25), scalar("effect_high", -0.75), scalar("control_low", -0.5),
        scalar("control_high", 0.25),
        Grid("control", np.array([-0.5, 0.25]), ("draw",), {"draw": (0, 1), "parts": ("a", "b")}, "logit", 0.0),
    )  # fmt: skip
    result = replace(plain, grids={**plain.grids, **more})
    shown = compare(result, result, "light") if beside else detail(result, card(result), "light")
    words = text_of(shown)
    assert "Effect low" not in words and "Control low" not in words
    assert len(figures(shown)) == (9 if beside else 3)
    if not beside:
        assert "95 % interval −2.25 to −0.750" in words
        assert "Control range" in words and "−0.500 to +0.250" in words
