"""The default figure of a grid: chosen by its axes, named, scaled honestly, labelled with the tokens of its cells."""

from __future__ import annotations

import html
import re

import numpy as np
import plotly.graph_objects as go
import pytest

from analyses.grid import Grid
from workbench.figures import auto, table
from workbench.figures.numbers import number

TOKENS = ["<s>", "<b>x</b>", "&lt;", "··", "سلام", "策"]


def effects(rows: int = 3, columns: int = 4, *, valid: np.ndarray | None = None) -> Grid:
    values = np.random.default_rng(0).normal(0, 2, (rows, columns))
    coords = {"layer": tuple(range(rows)), "head": tuple(range(columns))}
    return Grid("effect", values, ("layer", "head"), coords, "logit", 0.0, "not measured yet", valid)


def pattern(n: int = 6) -> Grid:
    values = np.tril(np.random.default_rng(1).random((n, n)))
    values /= values.sum(-1, keepdims=True)
    coords = {"q_pos": tuple(range(n)), "k_pos": tuple(range(n))}
    return Grid("pattern", values, ("q_pos", "k_pos"), coords, "attention")


def heat(figure: go.Figure) -> go.Heatmap:
    return next(trace for trace in figure.data if trace.type == "heatmap")


def test_a_layer_by_head_grid_is_a_map_with_named_axes_and_layer_zero_at_the_top() -> None:
    figure = auto.figure(effects(), title="Effect of each head")
    assert figure.layout.title.text == "Effect of each head"
    assert figure.layout.yaxis.title.text == "layer"
    assert figure.layout.xaxis.title.text == "head"
    assert figure.layout.yaxis.autorange == "reversed"
    assert heat(figure).colorbar.title.text == "logits"


def test_signed_colours_are_symmetric_about_the_baseline() -> None:
    grid = effects()
    drawn = heat(auto.figure(grid, title=""))
    reach = float(np.abs(grid.values).max())
    assert drawn.zmin == pytest.approx(-reach) and drawn.zmax == pytest.approx(reach)


def test_attention_is_drawn_from_zero_to_one_whatever_the_data_hold() -> None:
    drawn = heat(auto.figure(pattern(), title="", tokens=TOKENS))
    assert (drawn.zmin, drawn.zmax) == (0.0, 1.0)


def test_a_shared_range_is_kept() -> None:
    drawn = heat(auto.figure(effects(), title="", limits=(-9, 9)))
    assert (drawn.zmin, drawn.zmax) == (-9, 9)


def test_what_is_drawn_are_the_numbers_of_the_grid() -> None:
    grid = effects()
    assert np.array_equal(np.asarray(heat(auto.figure(grid, title="")).z), grid.values)


def test_every_cell_is_labelled_with_the_tokens_at_its_own_place() -> None:
    grid = pattern()
    figure = auto.figure(grid, title="", tokens=TOKENS)
    drawn = heat(figure)
    rng = np.random.default_rng(2)
    for q, k in rng.integers(0, 6, (50, 2)):
        hover = html.unescape(drawn.text[q][k]).replace("\u2068", "").replace("\u2069", "")
        assert f"query {q} {TOKENS[q]}<br>key {k} {TOKENS[k]}<br>" in hover
        assert f"<b>{number(float(grid.values[q, k]), digits=4)}</b>" in hover
    ticks = [html.unescape(label).strip("\u2068\u2069") for label in figure.layout.xaxis.ticktext]
    assert ticks == TOKENS


def test_no_label_of_a_figure_holds_markup_from_a_token() -> None:
    figure = auto.figure(pattern(), title="<i>title</i>", tokens=TOKENS)
    labels = [*figure.layout.xaxis.ticktext, *figure.layout.yaxis.ticktext, figure.layout.title.text]
    assert not [label for label in labels if re.search(r"<|>", label)]
    assert all(label.strip() for label in labels)


def test_missing_cells_are_marked_and_say_why() -> None:
    valid = np.ones((3, 4), dtype=bool)
    valid[1, 2] = False
    figure = auto.figure(effects(valid=valid), title="")
    assert np.isnan(np.asarray(heat(figure).z)[1, 2])
    (marks,) = [trace for trace in figure.data if trace.type == "scatter"]
    assert (list(marks.x), list(marks.y)) == ([2], [1])
    assert "not measured yet" in marks.hovertemplate


def test_tokens_are_bars_lying_down_from_the_most_probable() -> None:
    grid = Grid("prob", np.array([0.6, 0.3]), ("token",), {"token": ("·<b>", "·the")}, "prob")
    figure = auto.figure(grid, title="Next token")
    (bars,) = figure.data
    assert bars.orientation == "h"
    assert np.array_equal(np.asarray(bars.x), np.array([0.6, 0.3], dtype=np.float32))
    assert list(figure.layout.yaxis.ticktext) == ["·&lt;b&gt;", "·the"]
    assert figure.layout.yaxis.autorange == "reversed"


def test_effects_of_one_axis_take_the_colour_of_their_sign() -> None:
    grid = Grid("effect", np.array([1.0, -1.0]), ("layer",), {"layer": (0, 1)}, "logit", 0.0)
    (bars,) = auto.figure(grid, title="").data
    assert bars.marker.color[0] != bars.marker.color[1]


def test_many_numbers_on_an_axis_are_thinned_by_a_round_step() -> None:
    grid = Grid("effect", np.ones(300), ("pos",), {"pos": tuple(range(300))}, "nat")
    (shown,) = [auto.figure(grid, title="").layout.xaxis.ticktext]
    assert list(shown) == [str(place) for place in range(0, 300, 20)]


def test_bars_of_ranks_are_named_by_their_tokens() -> None:
    grid = Grid("prob", np.array([0.6, 0.3]), ("rank",), {"rank": (0, 1), "token": ("·<b>", "·the")}, "prob")
    figure = auto.figure(grid, title="")
    assert list(figure.layout.yaxis.ticktext) == ["·&lt;b&gt;", "·the"]
    assert figure.data[0].hovertext[0] == "rank 0 ·&lt;b&gt;<br><b>0.6000</b> probability"


def test_a_single_number_is_written_with_its_unit_and_sign() -> None:
    grid = Grid("effect", np.array(-1.234), (), {}, "logit", 0.0)
    words = [note.text for note in auto.figure(grid, title="Effect").layout.annotations]
    assert words == ["−1.23", "logits"]


def test_four_axes_are_small_maps_each_in_its_own_place() -> None:
    values = np.arange(2 * 3 * 4 * 4, dtype=np.float32).reshape(2, 3, 4, 4) / 100
    coords = {"layer": (0, 1), "head": (0, 1, 2), "q_pos": tuple(range(4)), "k_pos": tuple(range(4))}
    figure = auto.figure(Grid("pattern", values, tuple(coords), coords, "attention"), title="")
    sheet = np.asarray(heat(figure).z)
    assert sheet.shape == (2 * 4 + 1, 3 * 4 + 2)
    assert np.array_equal(sheet[5:9, 10:14], values[1, 2])
    assert np.isnan(sheet[4]).all()
    assert list(figure.layout.yaxis.ticktext) == ["0", "1"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_both_themes_have_their_own_ground(theme: str) -> None:
    figure = auto.figure(effects(), title="", theme=theme)  # type: ignore[arg-type]
    ground = figure.layout.template.layout.paper_bgcolor
    assert ground == {"light": "#ffffff", "dark": "#161c1c"}[theme]


def test_the_text_alternative_names_the_strongest_cells_first() -> None:
    grid = Grid(
        "effect",
        np.array([[0.1, -3.0], [2.0, 0.0]]),
        ("layer", "head"),
        {"layer": (0, 1), "head": (0, 1)},
        "logit",
        0.0,
    )
    assert table.top_cells(grid, 2) == ["layer 0, head 1: −3.00", "layer 1, head 0: +2.00"]
    words = table.top_cells(pattern(), 1, tokens=TOKENS)
    assert words == ["query 0 “<s>”, key 0 “<s>”: 1.00"]


def test_table_rows_write_the_number_that_the_grid_holds() -> None:
    grid = effects()
    rows = table.rows(grid)
    assert len(rows) == 12
    assert rows[5]["text"] == number(float(grid.values[1, 1]), signed=True)
