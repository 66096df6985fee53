"""Pictures of evaluations: marks, intervals and rows are those of the grids."""

from __future__ import annotations

import numpy as np
import pytest

from analyses.evaluation_grids import choice_grids
from hooks.errors import SpecError
from workbench.figures import evaluation

RIGHT = np.array([[True, False], [False, True], [True, False]])


def grids(*runs: list[list[float]]) -> dict:
    """An evaluation of three items of two choices, by the probabilities of each run."""
    made = choice_grids(np.log(np.array(runs)), np.ones((3, 2)), RIGHT, bins=10, templates=["<b>", "<b>", "c"])
    return {grid.name: grid for grid in made}


BEFORE = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]
AFTER = [[0.3, 0.7], [0.1, 0.9], [0.6, 0.4]]


def test_scores_stand_before_and_after_with_their_intervals() -> None:
    held = grids(BEFORE, AFTER)
    figure = evaluation.scores(held, ("accuracy", "acc_norm", "loss"))
    before, after = figure.data
    assert list(before.x) == pytest.approx([1, 1]) and list(after.x) == pytest.approx([2 / 3, 2 / 3])
    assert after.error_x.arrayminus[0] == pytest.approx(2 / 3 - float(held["accuracy_low"].values[1]))
    assert before.marker.symbol != after.marker.symbol
    assert list(figure.layout.yaxis.ticktext) == ["accuracy", "accuracy per token"]


def test_group_names_are_never_markup() -> None:
    figure = evaluation.by_template(grids(BEFORE), "accuracy")
    assert list(figure.layout.yaxis.ticktext) == ["&lt;b&gt;", "c"]
    assert "<b>," not in figure.data[0].hovertext[0]


def test_the_reliability_curve_leaves_out_empty_bins() -> None:
    diagonal, curve = evaluation.reliability(grids(BEFORE)).data
    assert list(diagonal.x) == list(diagonal.y) == [0, 1]
    assert list(curve.x) == pytest.approx([0.6, 0.8, 0.9], abs=1e-6)
    assert list(curve.y) == [1, 1, 1]


def test_items_are_listed_by_how_much_they_changed_with_what_was_lost() -> None:
    rows = evaluation.item_changes(grids(BEFORE, AFTER), "prob_right", ["a", "b", "c"])
    assert [(row.prompt, row.turned) for row in rows] == [(0, "lost"), (1, ""), (2, "")]
    assert rows[0].change == pytest.approx(-0.6)
    with pytest.raises(SpecError, match="each item before and after"):
        evaluation.item_changes(grids(BEFORE), "prob_right", ["a", "b", "c"])
