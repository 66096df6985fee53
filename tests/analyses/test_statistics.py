"""Statistics against hand arithmetic, theory and NumPy: intervals, recoveries, ranges, agreement."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from analyses import statistics
from analyses.averages import averaged, control, recoveries

FINITE = st.floats(-100, 100, allow_nan=False, width=32)


# -- intervals


def test_an_interval_is_the_percentiles_of_means_of_redrawn_prompts():
    values = np.random.default_rng(5).normal(size=(9, 3, 2))
    chosen = np.random.default_rng(0).integers(0, 9, size=(1000, 9))
    means = np.array([values[draw].mean(axis=0) for draw in chosen])
    low, high = np.percentile(means, (2.5, 97.5), axis=0)
    found = statistics.mean(values)
    assert found.value == pytest.approx(values.mean(axis=0), abs=1e-12)
    assert found.low == pytest.approx(low, abs=1e-12) and found.high == pytest.approx(high, abs=1e-12)


def test_two_prompts_have_the_interval_that_four_equal_draws_give():
    found = statistics.mean(np.array([0.0, 1.0]))
    assert (float(found.low), float(found.value), float(found.high)) == (0.0, 0.5, 1.0)


def test_one_prompt_has_no_interval():
    found = statistics.mean(np.ones((1, 4)))
    assert found.low is None and found.high is None and found.value.tolist() == [1.0] * 4


@settings(max_examples=25)
@given(arrays.arrays(np.float64, st.tuples(st.integers(2, 12), st.integers(1, 4)), elements=FINITE))
def test_an_interval_of_data_that_are_their_own_mirror_image_contains_their_centre(values):
    centre = 3.0
    mirrored = np.concatenate([centre + values, centre - values])
    found = statistics.mean(mirrored)
    assert found.low is not None and found.high is not None
    assert (found.low <= centre + 1e-9).all() and (found.high >= centre - 1e-9).all()


def test_intervals_of_200_simulated_data_sets_cover_the_truth_about_as_often_as_they_say():
    data = np.random.default_rng(3).normal(loc=1.5, size=(40, 200))
    found = statistics.mean(data)
    assert found.low is not None and found.high is not None
    covered = float(((found.low <= 1.5) & (found.high >= 1.5)).mean())
    assert 0.90 <= covered <= 0.99


@settings(max_examples=25)
@given(st.floats(-5, 5), st.floats(0.1, 5))
def test_intervals_shift_and_scale_with_the_data(shift, scale):
    values = np.random.default_rng(1).normal(size=(7, 2))
    plain, moved = statistics.mean(values), statistics.mean(shift + scale * values)
    assert moved.low == pytest.approx(shift + scale * plain.low, abs=1e-9)
    assert moved.high == pytest.approx(shift + scale * plain.high, abs=1e-9)


def test_all_cells_share_the_draws_so_that_equal_cells_have_equal_intervals_and_differences_are_paired(monkeypatch):
    monkeypatch.setattr(statistics, "CELLS_AT_ONCE", 4)
    values = np.random.default_rng(2).normal(size=(8, 1))
    found = statistics.mean(np.repeat(values, 11, axis=1))
    assert np.ptp(found.low) == pytest.approx(0, abs=1e-12) and np.ptp(found.high) == pytest.approx(0, abs=1e-12)
    constant = statistics.mean((values + 4.0) - values)
    assert constant.low == pytest.approx(4.0) and constant.high == pytest.approx(4.0)


def test_draws_come_from_the_seed_alone_and_hold_every_prompt_equally_often_on_average():
    counts = statistics.resamples(6)
    assert counts.shape == (1000, 6) and (counts.sum(axis=1) == 6).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(6), abs=0.1)
    assert not np.array_equal(counts, statistics.resamples(6, seed=1))
    with pytest.raises(ValueError, match="read-only"):
        counts[0, 0] = 9


def test_missing_values_are_left_out_of_means_and_draws():
    values, valid = np.array([[1.0], [99.0], [3.0]]), np.array([[True], [False], [True]])
    found = statistics.mean(values, valid)
    assert (found.value[0], found.low[0], found.high[0]) == (2.0, 1.0, 3.0)
    nothing = statistics.mean(values, np.zeros((3, 1), dtype=bool))
    assert np.isnan([nothing.value[0], nothing.low[0], nothing.high[0]]).all()


def test_420_cells_of_16_prompts_take_milliseconds():
    values = np.random.default_rng(0).normal(size=(16, 30, 14))
    statistics.mean(values)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        statistics.mean(values)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.3


# -- recovery


def test_a_recovery_is_a_ratio_of_means_and_is_not_clipped():
    clean, corrupt = np.array([4.0, 2.0]), np.array([0.0, 1.0])
    run = np.array([[4.0, 9.0, -2.0], [2.0, 0.0, 0.0]])
    found = statistics.recovered(run, clean, corrupt)
    # Means: clean 3, corrupt 0.5; runs 3, 4.5 and −1.
    assert found.value == pytest.approx([1.0, 4.0 / 2.5, -1.5 / 2.5])
    assert found.value[1] != pytest.approx(np.mean([9.0 / 4.0, -1.0]))
    assert statistics.recovered_each(run, clean, corrupt)[:, 1] == pytest.approx([9.0 / 4.0, -1.0])


def test_numerator_and_denominator_of_a_recovery_are_redrawn_together():
    rng = np.random.default_rng(4)
    clean, corrupt, run = rng.normal(3, 1, 10), rng.normal(0, 1, 10), rng.normal(1, 1, (10, 2))
    chosen = np.random.default_rng(0).integers(0, 10, size=(1000, 10))
    ratios = [
        (run[d].mean(0) - corrupt[d].mean()) / (clean[d].mean() - corrupt[d].mean()) for d in chosen
    ]  # fmt: skip
    found = statistics.recovered(run, clean, corrupt)
    assert found.low == pytest.approx(np.percentile(ratios, 2.5, axis=0), abs=1e-12)
    assert found.high == pytest.approx(np.percentile(ratios, 97.5, axis=0), abs=1e-12)
    whole = statistics.recovered(clean, clean, corrupt)
    assert (whole.value, whole.low, whole.high) == pytest.approx((1.0, 1.0, 1.0))


@pytest.mark.parametrize(("apart", "defined"), [(0.0, False), (9e-7, False), (-9e-7, False), (1.1e-6, True)])
def test_a_recovery_is_undefined_with_a_reason_where_clean_and_corrupt_are_the_same(apart, defined):
    corrupt = np.array([0.0, 0.0])
    found = statistics.recovered(np.ones((2, 1)), corrupt + apart, corrupt)
    assert bool(np.isfinite(found.value).all()) is defined
    assert found.reason.startswith("undefined") is not defined


def test_a_recovery_over_an_unsure_distance_says_that_it_is_unreliable():
    clean, corrupt = np.array([1.0, -0.8, 1.2, -0.9]), np.zeros(4)
    assert statistics.recovered(np.ones((4, 1)), clean, corrupt).reason.startswith("unreliable")
    assert statistics.recovered(np.ones((4, 1)), np.abs(clean), corrupt).reason == ""


# -- ranges and agreement


def test_a_control_range_is_the_percentiles_over_parts():
    assert statistics.control_range(np.arange(41.0)) == (1.0, 39.0)
    assert statistics.control_range(np.array([np.nan, 2.0, np.nan, 4.0])) == pytest.approx((2.05, 3.95))
    assert np.isnan(statistics.control_range(np.array([1.0]))).all()


def test_correlations_of_a_case_done_by_hand():
    x, y = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 1.0, 4.0, 3.0])
    # Deviations −1.5 −0.5 0.5 1.5 and −0.5 −1.5 1.5 0.5: products sum to 3, squares to 5 each.
    assert statistics.pearson(x, y) == pytest.approx(0.6)
    assert statistics.spearman(np.exp(x), y**3) == pytest.approx(0.6)


def test_tied_values_share_the_mean_of_their_ranks():
    assert statistics.ranks(np.array([10.0, 20.0, 10.0, 30.0, 20.0, 20.0])).tolist() == [1.5, 4, 1.5, 6, 4, 4]
    # Ranks 1 2.5 2.5 4 against 1 2 3 4: deviations −1.5 0 0 1.5, products 4.5 over sqrt(4.5 · 5).
    expected = 4.5 / np.sqrt(4.5 * 5)
    assert statistics.spearman(np.array([1.0, 7.0, 7.0, 9.0]), np.arange(4.0)) == pytest.approx(expected)


@settings(max_examples=25)
@given(arrays.arrays(np.float64, st.integers(3, 30), elements=FINITE))
def test_correlation_equals_numpys_and_is_undefined_for_a_constant(x):
    y = np.random.default_rng(0).normal(size=len(x))
    if np.ptp(x) > 1e-3:
        assert statistics.pearson(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-6)
        assert statistics.pearson(x, 2 * x + 1) == pytest.approx(1.0)
    assert np.isnan(statistics.pearson(np.full(len(x), 0.1), y))


def test_overlap_of_the_strongest_cells_counts_both_signs():
    assert statistics.top_overlap(np.array([5.0, -4, 1, 0]), np.array([-9.0, 0, 8, 1]), 2) == 0.5
    assert statistics.top_overlap(np.array([[1.0, -2.0]]), np.array([[-1.0, 2.0]]), 10) == 1.0


# -- as grids


def test_a_mean_comes_with_its_interval_and_says_how_many_cells_were_looked_at():
    values = np.random.default_rng(6).normal(size=(8, 40))
    cells = {"layer": tuple(range(40))}
    grids = averaged("effect", values, ("layer",), cells, "logit", baseline=0.0, per_prompt=True)
    assert [grid.name for grid in grids] == ["effect", "effect_low", "effect_high", "effect_by_prompt"]
    low, high = grids[1].values, grids[2].values
    excluding = int(((low > 0) | (high < 0)).sum())
    assert f"40 cells are looked at, without correction for their number: {excluding} intervals exclude 0" in (
        grids[1].about
    )
    assert "about 2 would by chance" in grids[2].about and "8 prompts" in grids[1].about
    divergence = averaged("kl", np.abs(values), ("layer",), cells, "nat", baseline=0.0, null=False)
    assert "by chance" not in divergence[1].about


def test_a_mean_over_one_prompt_says_that_it_has_no_interval():
    (grid,) = averaged("effect", np.ones((1, 2)), ("layer",), {"layer": (0, 1)}, "logit", about="after minus before")
    assert grid.about == "after minus before; one prompt: no interval"


def test_a_cell_with_a_value_that_is_not_finite_is_masked_and_says_so():
    values = np.array([[1.0, np.inf], [2.0, 3.0]])
    grids = averaged("effect", values, ("layer",), {"layer": (0, 1)}, "logit", per_prompt=True)
    for grid in grids[:3]:
        assert grid.valid is not None and grid.valid.tolist() == [True, False]
    assert "not a finite number" in grids[0].about
    assert grids[3].valid is not None and grids[3].valid.tolist() == [[True, False], [True, True]]


def test_an_undefined_recovery_is_masked_with_its_reason():
    same = np.array([1.0, 1.0])
    grids = recoveries("recovered", np.ones((2, 3)), same, same, ("layer",), {"layer": (0, 1, 2)}, per_prompt=True)
    assert [grid.name for grid in grids] == ["recovered", "recovered_low", "recovered_high", "recovered_by_prompt"]
    assert all(grid.valid is not None and not grid.valid.any() for grid in grids)
    assert "undefined: clean and corrupt differ by less than 1e-6" in grids[0].about
    assert grids[0].to_json()["values"] == [None, None, None]


def test_a_control_range_says_that_it_is_over_parts():
    low, high = control("control", np.arange(41.0), "logit", "41 heads")
    assert (float(low.values), float(high.values)) == (1.0, 39.0)
    assert "41 heads: a range over parts, not an interval; outside it: 2" in low.about
    assert control("control", np.array([1.0]), "logit", "1 head") == ()
