"""Pictures of attention: what reaches the browser equals what was computed."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from analyses.grid import Grid
from workbench.figures import attention


def random_patterns(layers: int, heads: int, tokens: int, seed: int = 0) -> np.ndarray:
    """Causal attention patterns [layer head q k]."""
    scores = np.random.default_rng(seed).normal(0, 2, (layers, heads, tokens, tokens))
    scores = np.where(np.tril(np.ones((tokens, tokens), dtype=bool)), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return (weights / weights.sum(-1, keepdims=True)).astype(np.float32)


def grid_of(values: np.ndarray, *, baseline: float | None = None, valid: np.ndarray | None = None) -> Grid:
    places = tuple(range(values.shape[0]))
    coords = {"q_pos": places, "k_pos": places}
    return Grid("pattern", values, ("q_pos", "k_pos"), coords, "attention", baseline, valid=valid)


def decoded(data: bytes) -> tuple[dict, np.ndarray]:
    """The header and the tiles, read as the browser reads them."""
    (length,) = struct.unpack_from("<I", data)
    header = json.loads(data[4 : 4 + length])
    shape = (header["layers"], header["heads"], header["side"], header["side"])
    return header, np.frombuffer(data, np.uint8, offset=4 + length).reshape(shape)


def test_a_short_prompt_keeps_one_pixel_per_cell() -> None:
    patterns = random_patterns(3, 4, 14)
    header, tiles = decoded(attention.mosaic(patterns).encode())
    assert (header["side"], header["joined"], header["note"]) == (14, 1, "")
    assert np.abs(tiles / 255 - patterns).max() <= 0.5 / 255 + 1e-6


def test_the_header_leaves_the_pixels_on_a_four_byte_boundary() -> None:
    data = attention.mosaic(random_patterns(1, 1, 3)).encode()
    assert struct.unpack_from("<I", data)[0] % 4 == 0


@pytest.mark.parametrize("tokens", [33, 64, 100, 512])
def test_a_reduced_tile_stays_small_and_says_what_a_pixel_is(tokens: int) -> None:
    mosaic = attention.mosaic(random_patterns(1, 2, tokens))
    assert mosaic.tiles.shape[-1] <= attention.SIDE
    assert f"{tokens} × {tokens}" in mosaic.note() and str(mosaic.joined) in mosaic.note()


def test_joined_tokens_keep_each_rows_sum() -> None:
    pattern = random_patterns(1, 1, 70)[0, 0]
    joined = attention.join_tokens(pattern, 3)
    assert joined.shape == (24, 24)
    np.testing.assert_allclose(joined.sum(-1), 1.0, atol=1e-5)


def test_joining_is_the_mean_over_queries_of_the_sum_over_keys() -> None:
    pattern = np.arange(25, dtype=np.float32).reshape(5, 5)
    # Blocks of two and a rest of one; the corner block holds the single cell 24.
    expected = [
        [(0 + 1 + 5 + 6) / 2, (2 + 3 + 7 + 8) / 2, (4 + 9) / 2],
        [(10 + 11 + 15 + 16) / 2, (12 + 13 + 17 + 18) / 2, (14 + 19) / 2],
        [20 + 21, 22 + 23, 24],
    ]
    np.testing.assert_allclose(attention.join_tokens(pattern, 2), expected)


def test_a_diagonal_stripe_stays_visible_at_512_tokens() -> None:
    previous = np.eye(512, k=-1, dtype=np.float32)
    tiles = attention.mosaic(previous[None, None]).tiles[0, 0]
    assert np.diag(tiles).min() > 200


def test_one_token_makes_one_pixel() -> None:
    header, tiles = decoded(attention.mosaic(np.ones((2, 3, 1, 1), np.float32)).encode())
    assert header["side"] == 1 and tiles.shape == (2, 3, 1, 1) and (tiles == 255).all()


def test_hiding_the_first_token_stretches_colours_and_says_how_far() -> None:
    pattern = np.zeros((1, 1, 10, 10), np.float32)
    pattern[0, 0, :, 0] = 0.9
    pattern[0, 0, 1:, 1] = 0.1
    mosaic = attention.mosaic(pattern, hide_first=True)
    assert mosaic.top == pytest.approx(0.1)
    assert (mosaic.tiles[0, 0, :, 0] == 0).all()
    assert (mosaic.tiles[0, 0, 1:, 1] == 255).all()
    assert not mosaic.clipped


def test_hiding_the_first_token_leaves_the_given_pattern_alone() -> None:
    pattern = random_patterns(1, 1, 5)
    before = pattern.copy()
    attention.mosaic(pattern, hide_first=True)
    np.testing.assert_array_equal(pattern, before)


def test_a_weight_beyond_the_stretched_range_is_announced() -> None:
    pattern = np.full((1, 1, 32, 32), 0.01, np.float32)
    pattern[0, 0, 3, 2] = 1.0
    mosaic = attention.mosaic(pattern, hide_first=True)
    assert mosaic.clipped and mosaic.top < 0.1


def test_the_overview_reads_one_layer_at_a_time() -> None:
    seen: list[int] = []

    def layers():
        for number, layer in enumerate(random_patterns(4, 2, 6)):
            seen.append(number)
            yield layer

    assert attention.mosaic(layers()).tiles.shape == (4, 2, 6, 6)
    assert seen == [0, 1, 2, 3]


def test_the_map_holds_exactly_the_values() -> None:
    pattern = random_patterns(1, 1, 9)[0, 0]
    (trace,) = attention.head_figure(grid_of(pattern), ("t",) * 9, "light", "attention").data
    np.testing.assert_array_equal(trace.z, pattern)
    assert (trace.zmin, trace.zmax) == (0.0, 1.0)


def test_queries_run_downwards_and_both_axes_have_names() -> None:
    layout = attention.head_figure(grid_of(np.eye(4, dtype=np.float32)), tuple("abcd"), "light", "attention").layout
    assert tuple(layout.yaxis.range) == (3.5, -0.5)
    assert "query" in layout.yaxis.title.text and "key" in layout.xaxis.title.text


def test_every_label_is_literal_and_none_is_blank() -> None:
    strings = ("<s>", "<b>x</b>", "<br>", "&lt;", "↵", "··", "<script>alert(1)</script>")
    layout = attention.head_figure(grid_of(np.eye(7, dtype=np.float32)), strings, "light", "attention").layout
    for labels in (layout.xaxis.ticktext, layout.yaxis.ticktext):
        assert len(labels) == 7
        assert all(label.strip() and "<" not in label for label in labels)
    assert layout.xaxis.ticktext[0] == "&lt;s&gt;" and layout.xaxis.ticktext[3] == "&amp;lt;"


def test_equal_tokens_keep_their_own_tick() -> None:
    layout = attention.head_figure(grid_of(np.eye(3, dtype=np.float32)), ("a", "b", "a"), "light", "attention").layout
    assert tuple(layout.xaxis.tickvals) == (0, 1, 2)
    assert tuple(layout.xaxis.ticktext) == ("a", "b", "a")


def test_crowded_axes_label_every_nth_token() -> None:
    strings = tuple(f"t{i}" for i in range(100))
    places, labels = attention.axis_ticks(strings)
    assert len(places) <= attention.LABELS
    assert labels == [f"t{place}" for place in places]
    assert len(set(np.diff(places))) == 1


def test_hiding_the_first_key_changes_colours_but_no_value() -> None:
    pattern = np.array([[1, 0, 0], [0.9, 0.1, 0], [0.7, 0.1, 0.2]], np.float32)
    figure = attention.head_figure(grid_of(pattern), tuple("abc"), "light", "attention", hide_first=True)
    np.testing.assert_array_equal(figure.data[0].z, pattern)
    assert figure.data[0].zmax == pytest.approx(0.2)
    (cover,) = figure.layout.shapes
    assert (cover.x0, cover.x1) == (-0.5, 0.5)


def test_a_difference_is_symmetric_about_zero() -> None:
    values = np.array([[0.0, 0.0], [-0.3, 0.1]], np.float32)
    trace = attention.head_figure(grid_of(values, baseline=0.0), ("a", "b"), "dark", "difference").data[0]
    assert (trace.zmin, trace.zmax) == (pytest.approx(-0.3), pytest.approx(0.3))


def test_no_difference_still_has_a_range() -> None:
    trace = attention.head_figure(grid_of(np.zeros((2, 2), np.float32)), ("a", "b"), "dark", "difference").data[0]
    assert (trace.zmin, trace.zmax) == (-1.0, 1.0)


def test_masked_scores_are_blank_and_do_not_stretch_the_range() -> None:
    values = np.array([[2.0, 0.0], [-1.0, 0.5]], np.float32)
    valid = np.array([[True, False], [True, True]])
    trace = attention.head_figure(grid_of(values, valid=valid), ("a", "b"), "light", "scores").data[0]
    assert np.isnan(trace.z[0, 1]) and np.isfinite(trace.z).sum() == 3
    assert (trace.zmin, trace.zmax) == (-2.0, 2.0)


def test_c33_a_very_long_prompt_is_drawn_reduced_at_the_right_places() -> None:
    tokens = attention.LARGEST_MAP + 10
    pattern = np.eye(tokens, dtype=np.float32)
    figure = attention.head_figure(grid_of(pattern), ("t",) * tokens, "light", "attention")
    trace = figure.data[0]
    assert trace.z.shape == (tokens // 2, tokens // 2) and figure.layout.meta["joined"] == 2
    assert (trace.x0, trace.dx) == (0.5, 2)
    assert len(figure.to_json()) < 5_000_000


def test_c33_a_512_token_map_is_sent_whole_and_stays_below_five_megabytes() -> None:
    figure = attention.head_figure(grid_of(random_patterns(1, 1, 512)[0, 0]), ("t",) * 512, "light", "attention")
    assert figure.data[0].z.shape == (512, 512)
    assert len(figure.to_json()) < 5_000_000


def test_the_strongest_cells_in_order_with_their_tokens() -> None:
    pattern = np.array([[1, 0, 0], [0.6, 0.4, 0], [0.2, 0.7, 0.1]], np.float32)
    rows = attention.strongest(grid_of(pattern), tuple("abc"), 3)
    assert [(row.query, row.key, row.value) for row in rows] == [
        ("a", "a", 1.0),
        ("c", "b", pytest.approx(0.7)),
        ("b", "a", pytest.approx(0.6)),
    ]


def test_the_strongest_cells_leave_a_hidden_first_key_out() -> None:
    pattern = np.array([[1, 0], [0.9, 0.1]], np.float32)
    rows = attention.strongest(grid_of(pattern), ("a", "b"), hide_first=True)
    assert [(row.q, row.k) for row in rows] == [(1, 1)]


def test_the_strongest_differences_are_the_largest_in_size() -> None:
    values = np.array([[0.0, 0.0], [-0.5, 0.2]], np.float32)
    rows = attention.strongest(grid_of(values, baseline=0.0), ("a", "b"))
    assert [row.value for row in rows] == [pytest.approx(-0.5), pytest.approx(0.2)]
