"""Colours: readable in both themes, ramps that are even, one hue or symmetric, and start where they should."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from workbench.figures import theme as themes
from workbench.figures.theme import ROLES, THEMES, ThemeName


def rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], dtype=float)


def luminance(colour: np.ndarray) -> float:
    """Relative luminance, WCAG 2.2."""
    share = colour / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(rgb(a)), luminance(rgb(b))), reverse=True)
    return (high + 0.05) / (low + 0.05)


TEXTS = ("text", "muted", "faint", "accent", "ok", "warn", "bad", "edited", "positive", "negative")
SOFT = ("accent", "ok", "warn", "bad", "edited")


@pytest.mark.parametrize("theme", THEMES)
def test_text_has_aa_contrast_on_every_ground(theme: ThemeName) -> None:
    roles = ROLES[theme]
    for text, ground in itertools.product(TEXTS, ("page", "panel", "raised")):
        assert contrast(roles[text], roles[ground]) >= 4.5, (text, ground)
    for text in ("text", "muted"):
        assert contrast(roles[text], roles["sunken"]) >= 4.5
    for name in SOFT:
        assert contrast(roles[name], roles[f"{name}-soft"]) >= 4.5, name
    assert contrast(roles["on-accent"], roles["accent"]) >= 4.5
    assert contrast(roles["on-accent"], roles["accent-hover"]) >= 4.5
    assert contrast(roles["special-text"], roles["special"]) >= 4.5


@pytest.mark.parametrize("theme", THEMES)
def test_marks_and_control_edges_have_three_to_one(theme: ThemeName) -> None:
    roles = ROLES[theme]
    for mark in ("line-strong", "accent", "positive", "negative"):
        assert contrast(roles[mark], roles["panel"]) >= 3.0, mark


@pytest.mark.parametrize("theme", THEMES)
def test_zero_attention_has_the_colour_of_the_panel_and_more_is_always_farther_from_it(theme: ThemeName) -> None:
    ramp = themes.sequential(theme)
    assert ramp.shape == (256, 3) and ramp.dtype == np.uint8
    assert np.array_equal(ramp[0], rgb(ROLES[theme]["panel"]))
    light = np.array([luminance(colour) for colour in ramp.astype(float)])
    steps = np.diff(light)
    assert np.all(steps <= 0) if theme == "light" else np.all(steps >= 0)


@pytest.mark.parametrize("theme", THEMES)
def test_attention_is_even_to_the_eye(theme: ThemeName) -> None:
    """CIE lightness, which the ramp was not made with, never changes more than three times its mean step."""
    y = np.array([luminance(colour) for colour in themes.sequential(theme)[::8].astype(float)])
    lightness = np.where(y > 0.008856, 116 * np.cbrt(y) - 16, 903.3 * y)
    steps = np.abs(np.diff(lightness))
    assert steps.max() < 3 * steps.mean()
    assert steps.min() > steps.mean() / 3


@pytest.mark.parametrize("theme", THEMES)
def test_effects_are_blue_below_neutral_at_and_orange_above_the_baseline(theme: ThemeName) -> None:
    ramp = themes.diverging(theme).astype(int)
    assert len(ramp) == 257
    neutral = ramp[128]
    assert neutral.max() - neutral.min() <= 10
    for below in ramp[:100]:
        assert below[2] > below[0]
    for above in ramp[157:]:
        assert above[0] > above[2]
    distance = np.linalg.norm(ramp - neutral, axis=1)
    assert distance[0] > 100 and distance[-1] > 100
    assert np.all(np.diff(distance[128:]) >= -3) and np.all(np.diff(distance[:129]) <= 3)


def test_css_gives_every_role_in_both_themes() -> None:
    light, dark = themes.css().split(':root[data-mantine-color-scheme="dark"]')
    for name in ROLES["light"]:
        assert f"--wb-{name}: {ROLES['light'][name]};" in light
        assert f"--wb-{name}: {ROLES['dark'][name]};" in dark
    assert set(ROLES["light"]) == set(ROLES["dark"])


def test_ramps_for_the_canvas_hold_the_same_bytes() -> None:
    ramps = themes.ramps()
    assert ramps["dark"]["sequential"][-3:] == themes.sequential("dark")[-1].tolist()
    assert len(ramps["light"]["diverging"]) == 3 * 257


def test_a_plotly_scale_begins_and_ends_with_the_ramp() -> None:
    ramp = themes.diverging("light")
    scale = themes.scale(ramp)
    assert scale[0] == (0.0, "rgb({},{},{})".format(*ramp[0]))
    assert scale[-1] == (1.0, "rgb({},{},{})".format(*ramp[-1]))
    assert (0.5, "rgb({},{},{})".format(*ramp[128])) in scale
