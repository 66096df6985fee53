"""Token text in figures shows literally: plotly would read `<b>` and `&lt;` as markup."""

from __future__ import annotations

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.figures import tokens

TROUBLE = ["<s>", "<b>x</b>", "<br>", "&lt;", "↵", "··", "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>']


def shown(label: str) -> str:
    """What plotly draws: entities decoded, no tag left in the label."""
    assert "<" not in label and ">" not in label
    return html.unescape(label)


@pytest.mark.parametrize("token", TROUBLE)
def test_a_label_shows_its_token_literally(token: str) -> None:
    assert shown(tokens.label(token, limit=80)) == token


@given(st.text(min_size=1, max_size=20))
def test_no_text_becomes_a_blank_or_a_tag(token: str) -> None:
    label = tokens.label(token)
    assert shown(label).strip()


def test_there_are_as_many_labels_as_tokens_and_blank_ones_have_a_sign() -> None:
    labels = tokens.labels(["a", "", "  ", "b"])
    assert labels == ["a", "␀", "··", "b"]


def test_a_long_token_is_cut_and_says_so() -> None:
    label = tokens.label("x" * 100, limit=10)
    assert label == "x" * 9 + "…"


def test_cutting_never_splits_an_entity() -> None:
    assert shown(tokens.label("&" * 30, limit=10)) == "&" * 9 + "…"


def test_right_to_left_tokens_are_isolated_so_that_neighbours_keep_their_place() -> None:
    assert tokens.labels(["The", "سلام"]) == ["The", "\u2068سلام\u2069"]


def test_titles_are_escaped_and_stay_on_one_line() -> None:
    assert tokens.text("Zero <b>L3</b>\nof 'x'") == "Zero &lt;b&gt;L3&lt;/b&gt; of 'x'"
