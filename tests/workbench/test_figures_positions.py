"""The picture of scores by distance."""

from __future__ import annotations

import numpy as np

from analyses.grid import Grid
from workbench.figures.positions import ALONE, OBSERVED, distance_curve


def curve(values: list[float], valid: list[bool] | None = None) -> Grid:
    at = tuple(range(len(values)))
    known = None if valid is None else np.array(valid)
    return Grid("profile", np.array(values), ("distance",), {"distance": at}, "nat", 0.0, valid=known)


def test_both_curves_stand_over_their_distances_and_are_named() -> None:
    figure = distance_curve(curve([0.0, -1.0, -2.0]), curve([0.0, 0.5, -0.5]), "light")
    named = {trace.name: trace for trace in figure.data}
    assert list(named) == [OBSERVED, ALONE]
    assert list(named[ALONE].x) == [0, 1, 2] and list(named[ALONE].y) == [0.0, -1.0, -2.0]
    assert list(named[OBSERVED].y) == [0.0, 0.5, -0.5]
    assert "nats" in figure.layout.yaxis.title.text and "query − key" in figure.layout.xaxis.title.text


def test_the_same_curve_is_drawn_once() -> None:
    figure = distance_curve(curve([0.0, -1.0]), curve([0.0, -1.0]), "dark")
    assert [trace.name for trace in figure.data] == [ALONE]


def test_a_distance_that_never_occurs_is_a_gap_and_not_a_zero() -> None:
    figure = distance_curve(curve([0.0, -1.0, 0.0], [True, True, False]), curve([0.0, 0.0, 0.0]), "light")
    assert np.isnan(figure.data[-1].y[2]) and figure.data[-1].y[1] == -1.0
