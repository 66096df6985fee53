"""Numbers as written for a reader."""

from __future__ import annotations

import math

import pytest

from workbench.figures.numbers import number, percent, seconds, short, size, whole


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.0, "1.00"),
        (0.0456, "0.0456"),
        (-0.04561, "−0.0456"),
        (123.4, "123"),
        (1234.5, "1234"),
        (12345.6, "12\u2009346"),
        (1.234e-7, "1.23e−7"),
        (-2e8, "−2.00e8"),
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
    ],
)
def test_three_significant_digits(value: float | None, text: str) -> None:
    assert number(value) == text


def test_effects_carry_their_sign_and_no_effect_has_none() -> None:
    assert number(1.5, signed=True) == "+1.50"
    assert number(-1.5, signed=True) == "−1.50"
    assert number(0.0, signed=True) == "0"


def test_rounding_up_to_a_new_digit_keeps_the_digits_honest() -> None:
    assert number(0.99999) == "1.00"
    assert number(9.9999) == "10.0"
    assert number(0.00009999) == "0.000100"


def test_counts_shares_times_and_sizes() -> None:
    assert whole(134515008) == "134\u2009515\u2009008"
    assert whole(-12345) == "−12\u2009345"
    assert short(134515008) == "135\u2009M"
    assert short(1536) == "1536"
    assert percent(0.4561) == "45.6\u2009%"
    assert seconds(0.42) == "0.4\u2009s"
    assert seconds(12.3) == "12\u2009s"
    assert seconds(185) == "3\u2009min 5\u2009s"
    assert seconds(7260) == "2\u2009h 1\u2009min"
    assert seconds(None) == ""
    assert size(1_240_000_000) == "1.24\u2009GB"
    assert size(17) == "17\u2009B"
