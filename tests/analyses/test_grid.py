"""Grids: named axes, explicit missing values, nothing that is not finite."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analyses.grid import Grid
from hooks.errors import SpecError


def grid(values, valid=None):
    rows, columns = values.shape
    coords = {"layer": tuple(range(rows)), "head": tuple(range(columns))}
    return Grid("effect", values, ("layer", "head"), coords, "logit", 0.0, "about", valid)


@given(
    arrays(np.float32, (3, 4), elements=st.floats(-1e6, 1e6, width=32)),
    arrays(np.bool_, (3, 4)),
)
def test_a_grid_survives_strict_json_with_missing_values_as_null(values, valid):
    first = grid(np.where(valid, values, 0), valid)
    text = json.dumps(first.to_json(), allow_nan=False)
    again = Grid.from_json(json.loads(text))
    assert np.array_equal(again.values, first.values)
    filled = np.where(valid, values, 0)
    expected = [
        [float(value) if known else None for value, known in zip(*row, strict=True)]
        for row in zip(filled, valid, strict=True)
    ]
    assert json.loads(text)["values"] == expected
    assert again.dims == first.dims and again.coords == first.coords


def test_select_drops_the_axis_and_keeps_the_rest():
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    row = grid(values).select(layer=1)
    assert row.dims == ("head",) and row.values.tolist() == [4, 5, 6, 7]
    with pytest.raises(SpecError, match="layer 9"):
        grid(values).select(layer=9)


def test_top_is_by_distance_from_the_baseline_and_skips_missing_cells():
    values = np.array([[1.0, -5.0], [3.0, 9.0]])
    valid = np.array([[True, True], [True, False]])
    assert [(row["layer"], row["head"]) for row in grid(values, valid).top(2)] == [(0, 1), (1, 0)]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_refused(bad):
    with pytest.raises(SpecError, match="not finite"):
        grid(np.array([[bad, 0.0]]))


def test_every_axis_needs_a_name_and_a_label_for_each_index():
    with pytest.raises(SpecError, match="2 axes but 1 names"):
        Grid("x", np.zeros((2, 2)), ("layer",), {"layer": (0, 1)}, "logit")
    with pytest.raises(SpecError, match="3 values, 2 labels"):
        Grid("x", np.zeros(3), ("layer",), {"layer": (0, 1)}, "logit")


def test_records_carry_the_further_labels_of_a_single_axis():
    ranks = Grid("prob", np.array([0.9, 0.1]), ("rank",), {"rank": (0, 1), "token": ("·a", "·b")}, "prob")
    assert list(ranks.records()) == [
        {"rank": 0, "token": "·a", "value": pytest.approx(0.9)},
        {"rank": 1, "token": "·b", "value": pytest.approx(0.1)},
    ]
