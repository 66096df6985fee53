"""Cells of an ablation as pictures and lists: levels, numbers, tokens, differences, against arithmetic done here."""

from __future__ import annotations

import numpy as np
import pytest

from analyses.grid import Grid
from hooks.errors import SpecError
from workbench.figures.ablation import UNMEASURED, blank, cell_map, difference, reach_of, strongest, token_rows

HEADS = {"layer": (0, 1), "head": (0, 1, 2)}


def effects(
    values: list[list[float]], valid: list[list[bool]] | None = None, name: str = "effect", unit: str = "logit"
) -> Grid:
    mask = None if valid is None else np.array(valid)
    return Grid(name, np.array(values, np.float32), ("layer", "head"), HEADS, unit, 0.0, "", mask)  # type: ignore[arg-type]


def distribution(probs: list[float], tokens: tuple[str, ...] = ("a", "b", "c")) -> Grid:
    coords = {"token": tokens, "id": tuple(range(10, 10 + len(tokens)))}
    return Grid("prob", np.array(probs, np.float32), ("token",), coords, "prob")


def test_levels_are_shares_of_the_largest_effect_and_keep_their_sign() -> None:
    picture = cell_map(effects([[1.0, -4.0, 0.0], [2.0, 0.0, 0.0]]))
    assert picture.scale == "signed"
    assert picture.levels == ((0.25, -1.0, 0.0), (0.5, 0.0, 0.0))
    assert picture.texts[0] == ("+1.00", "−4.00", "0")
    assert (picture.low, picture.high, picture.unit) == ("−4.00", "+4.00", "logits")


def test_a_cell_that_is_not_measured_has_neither_level_nor_number() -> None:
    picture = cell_map(effects([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]], [[True, False, True], [True, True, True]]))
    assert picture.levels[0] == (0.5, None, 0.0)
    assert picture.texts[0][1] == UNMEASURED
    assert picture.measured == 5


def test_a_shared_reach_puts_two_maps_in_one_range() -> None:
    small, large = effects([[1.0, 0, 0], [0, 0, 0]]), effects([[0, 0, -8.0], [0, 0, 0]])
    reach = reach_of(small, large)
    assert reach == 8.0
    assert cell_map(small, reach=reach).levels[0][0] == 0.125


def test_an_effect_on_a_probability_is_signed_too() -> None:
    picture = cell_map(effects([[-0.5, 0, 0], [0.25, 0, 0]], unit="prob"))
    assert (picture.scale, picture.levels[0][0], picture.texts[1][0]) == ("signed", -1.0, "+0.250")


def test_a_share_that_cannot_be_negative_has_no_sign() -> None:
    picture = cell_map(effects([[0.5, 0, 0], [0.25, 0, 0]], name="pattern_shift", unit="fraction"))
    assert (picture.scale, picture.low, picture.high) == ("share", "0", "0.500")
    assert picture.texts[1][0] == "0.250"


def test_neurons_come_in_rows_of_64_that_know_their_layer_and_number() -> None:
    units = tuple(range(130))
    grid = Grid(
        "effect",
        np.arange(130, dtype=np.float32)[None],
        ("layer", "unit"),
        {"layer": (7,), "unit": units},
        "logit",
        0.0,
    )
    picture = cell_map(grid)
    assert picture.rows == ("7.0", "7.64", "7.128")
    assert [len(line) for line in picture.levels] == [64, 64, 2]
    assert picture.at(2, 1) == {"layer": 7, "unit": 129}
    assert picture.texts[2][1] == "+129"


def test_positions_are_labelled_with_their_tokens_and_layers_alone_with_nothing() -> None:
    grid = Grid("effect", np.zeros((1, 2), np.float32), ("layer", "pos"), {"layer": (0,), "pos": (0, 1)}, "logit", 0.0)
    assert cell_map(grid, strings=("When", "·Mary")).cols == ("When", "·Mary")
    layers = Grid("effect", np.zeros(2, np.float32), ("layer",), {"layer": (0, 1)}, "logit", 0.0)
    assert (cell_map(layers).cols, cell_map(layers).at(1, 0)) == (("",), {"layer": 1})


def test_a_map_of_three_axes_is_refused() -> None:
    grid = Grid("x", np.zeros((1, 1, 1)), ("a", "b", "c"), {"a": (0,), "b": (0,), "c": (0,)}, "logit")
    with pytest.raises(SpecError, match="3 axes"):
        cell_map(grid)


def test_a_blank_sweep_has_every_cell_and_no_number() -> None:
    picture = cell_map(blank("effect", {"layer": [0, 1], "head": [0, 1, 2]}, "logit"))
    assert (len(picture.levels), len(picture.levels[0]), picture.measured) == (2, 3, 0)


def test_the_strongest_cells_are_the_farthest_from_zero_and_never_zero() -> None:
    rows = strongest(effects([[1.0, -4.0, 0.0], [2.0, 0.0, 0.0]]))
    assert [(row["layer"], row["head"], row["value"]) for row in rows] == [(0, 1, -4.0), (1, 0, 2.0), (0, 0, 1.0)]


def test_tokens_keep_one_order_and_one_scale_before_and_after() -> None:
    rows = token_rows(distribution([0.5, 0.3, 0.1]), distribution([0.25, 0.3, 0.4]))
    assert [(row.token, row.id) for row in rows] == [("a", 10), ("b", 11), ("c", 12)]
    assert [row.after_width for row in rows] == pytest.approx([0.5, 0.6, 0.8])
    assert rows[0].before_width == 1.0
    assert rows[2].change == pytest.approx(0.3)


def test_a_token_that_rises_is_shown_though_it_was_unlikely_before() -> None:
    rows = token_rows(distribution([0.6, 0.3, 0.01]), distribution([0.6, 0.0, 0.4]), count=2)
    assert [row.token for row in rows] == ["a", "c"]


def test_distributions_over_other_tokens_are_refused() -> None:
    with pytest.raises(SpecError, match="same tokens"):
        token_rows(distribution([0.5, 0.3, 0.1]), distribution([0.5, 0.3, 0.1], ("a", "b", "d")))


def test_a_difference_is_second_minus_first_where_both_are_measured() -> None:
    left = effects([[1.0, 2.0, 3.0], [0, 0, 0]], [[True, False, True], [True, True, True]])
    moved = difference(left, effects([[4.0, 9.0, 1.0], [0, 0, 0]]))
    assert moved is not None and moved.valid is not None
    assert moved.values[0].tolist() == [3.0, 0.0, -2.0]
    assert moved.valid[0].tolist() == [True, False, True]
    assert cell_map(moved).scale == "signed"


def test_grids_of_other_cells_or_units_have_no_difference() -> None:
    assert difference(effects([[0] * 3] * 2), distribution([0.1, 0.2, 0.3])) is None
    assert difference(effects([[0] * 3] * 2), effects([[0] * 3] * 2, unit="nat")) is None
    assert difference(distribution([0.1] * 3), distribution([0.1] * 3, ("a", "b", "d"))) is None
