"""Colours and type of the workbench in one place: both themes, the ramps, the CSS variables, the plotly templates.

Ramps are made in OKLab, where equal steps look equally large. No other module holds a colour.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

ThemeName = Literal["light", "dark"]
THEMES: tuple[ThemeName, ...] = ("light", "dark")

SANS = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif'
MONO = 'ui-monospace, "SF Mono", "Cascadia Mono", "JetBrains Mono", "Noto Sans Mono", "DejaVu Sans Mono", monospace'

ROLES: dict[ThemeName, dict[str, str]] = {
    "light": {
        "page": "#f4f6f6",
        "panel": "#ffffff",
        "sunken": "#eef1f1",
        "raised": "#ffffff",
        "line": "#dfe4e4",
        "line-strong": "#85918f",
        "text": "#15201f",
        "muted": "#526160",
        "faint": "#62706f",
        "accent": "#0c6b66",
        "accent-hover": "#095651",
        "accent-soft": "#e0f0ee",
        "on-accent": "#ffffff",
        "ok": "#1c7040",
        "ok-soft": "#e3f3e9",
        "warn": "#8a5a00",
        "warn-soft": "#fbf0d9",
        "bad": "#b3261e",
        "bad-soft": "#fbe7e5",
        "edited": "#9c2f6b",
        "edited-soft": "#f9e8f1",
        "special": "#e7e3f4",
        "special-text": "#4a3d80",
        "positive": "#b35309",
        "negative": "#1f63b0",
        "missing": "#c9d0d0",
        "range": "#b4bcbc",
        "selection": "#0c6b66",
        "shadow": "0 1px 2px rgba(16, 32, 31, 0.08), 0 8px 28px rgba(16, 32, 31, 0.14)",
        "scrim": "rgba(16, 32, 31, 0.28)",
    },
    "dark": {
        "page": "#0e1313",
        "panel": "#161c1c",
        "sunken": "#1e2626",
        "raised": "#1d2424",
        "line": "#2b3535",
        "line-strong": "#6a7a79",
        "text": "#e5ecea",
        "muted": "#a3b1af",
        "faint": "#8a9997",
        "accent": "#5ec8bd",
        "accent-hover": "#7ad6cc",
        "accent-soft": "#17332f",
        "on-accent": "#06211e",
        "ok": "#6bc48d",
        "ok-soft": "#15301f",
        "warn": "#e0b04f",
        "warn-soft": "#352a12",
        "bad": "#f2938b",
        "bad-soft": "#3d1d1b",
        "edited": "#e79ac3",
        "edited-soft": "#3a1d2d",
        "special": "#2e2a47",
        "special-text": "#c9c0f0",
        "positive": "#f0a35e",
        "negative": "#7fb5ee",
        "missing": "#394545",
        "range": "#4a5757",
        "selection": "#5ec8bd",
        "shadow": "0 1px 2px rgba(0, 0, 0, 0.5), 0 10px 32px rgba(0, 0, 0, 0.55)",
        "scrim": "rgba(0, 0, 0, 0.5)",
    },
}
OKABE_ITO: tuple[str, ...] = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")

# Stops in OKLCH (lightness, chroma, hue); the first stop of a sequential ramp is the panel itself.
_SEQUENTIAL: dict[ThemeName, tuple[tuple[float, float, float], ...]] = {
    "light": (
        (0.86, 0.055, 190.0),
        (0.70, 0.095, 192.0),
        (0.53, 0.092, 195.0),
        (0.37, 0.070, 200.0),
        (0.25, 0.045, 205.0),
    ),
    "dark": (
        (0.33, 0.050, 200.0),
        (0.47, 0.080, 196.0),
        (0.63, 0.105, 192.0),
        (0.79, 0.105, 188.0),
        (0.95, 0.050, 185.0),
    ),
}
_DIVERGING: dict[ThemeName, tuple[tuple[tuple[float, float, float], ...], tuple[tuple[float, float, float], ...]]] = {
    "light": (
        ((0.36, 0.130, 255.0), (0.55, 0.150, 252.0), (0.77, 0.085, 248.0)),
        ((0.82, 0.085, 62.0), (0.66, 0.150, 52.0), (0.45, 0.125, 45.0)),
    ),
    "dark": (
        ((0.88, 0.085, 248.0), (0.68, 0.145, 250.0), (0.44, 0.110, 254.0)),
        ((0.44, 0.095, 48.0), (0.68, 0.145, 55.0), (0.90, 0.085, 72.0)),
    ),
}
_NEUTRAL: dict[ThemeName, str] = {"light": "#f1f3f3", "dark": "#232b2b"}


def _oklch(lightness: float, chroma: float, hue: float) -> np.ndarray:
    angle = np.deg2rad(hue)
    return np.array([lightness, chroma * np.cos(angle), chroma * np.sin(angle)])


_LMS = np.array(
    [[1.0, 0.3963377774, 0.2158037573], [1.0, -0.1055613458, -0.0638541728], [1.0, -0.0894841775, -1.2914855480]]
)
_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def _to_rgb(lab: np.ndarray) -> np.ndarray:
    """OKLab colours [n 3] as sRGB bytes [n 3] uint8, clipped to the gamut."""
    linear = ((lab @ _LMS.T) ** 3) @ _RGB.T
    linear = np.clip(linear, 0.0, 1.0)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.round(srgb * 255), dtype=np.uint8)


def _from_hex(colour: str) -> np.ndarray:
    """A `#rrggbb` colour in OKLab [3]."""
    srgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    lms = np.cbrt(linear @ np.linalg.inv(_RGB).T)
    return np.asarray(lms @ np.linalg.inv(_LMS).T)


def _ramp(stops: list[np.ndarray], size: int) -> np.ndarray:
    """`size` colours along the stops, evenly spaced by the way travelled in OKLab: [size 3] uint8."""
    points = np.stack(stops)
    way = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    at = np.linspace(0.0, way[-1], size)
    return _to_rgb(np.stack([np.interp(at, way, points[:, axis]) for axis in range(3)], axis=1))


@cache
def sequential(theme: ThemeName = "light") -> np.ndarray:
    """Attention and probabilities, 0 … 1: from the panel colour to deep, one hue. [256 3] uint8."""
    start = _from_hex(ROLES[theme]["panel"])
    return _ramp([start, *(_oklch(*stop) for stop in _SEQUENTIAL[theme])], 256)


@cache
def diverging(theme: ThemeName = "light") -> np.ndarray:
    """Signed effects: blue (negative) – neutral (no effect, index 128) – orange (positive). [257 3] uint8."""
    below, above = _DIVERGING[theme]
    neutral = _from_hex(_NEUTRAL[theme])
    left = _ramp([*(_oklch(*stop) for stop in below), neutral], 129)
    right = _ramp([neutral, *(_oklch(*stop) for stop in above)], 129)
    return np.concatenate([left, right[1:]])


def scale(ramp: np.ndarray) -> list[tuple[float, str]]:
    """A ramp as a plotly colour scale."""
    last = len(ramp) - 1
    return [(i / last, "rgb({},{},{})".format(*ramp[i])) for i in range(0, len(ramp), 8)] + (
        [] if last % 8 == 0 else [(1.0, "rgb({},{},{})".format(*ramp[last]))]
    )


def role(name: str, theme: ThemeName = "light") -> str:
    """The colour that a role has in a theme, such as `accent`. Raises KeyError for an unknown role."""
    return ROLES[theme][name]


@cache
def template(theme: ThemeName = "light") -> go.layout.Template:
    """The plotly template of a theme: type, grounds, grid lines, hover label."""
    colours = ROLES[theme]
    axis = {
        "gridcolor": colours["line"],
        "linecolor": colours["line-strong"],
        "tickcolor": colours["line-strong"],
        "zerolinecolor": colours["line-strong"],
        "title": {"font": {"size": 13, "color": colours["muted"]}, "standoff": 8},
        "tickfont": {"size": 12, "color": colours["muted"]},
        "automargin": True,
        "ticks": "outside",
        "ticklen": 3,
    }
    return go.layout.Template(
        layout={
            "paper_bgcolor": colours["panel"],
            "plot_bgcolor": colours["panel"],
            "font": {"family": SANS, "size": 13, "color": colours["text"]},
            "title": {
                "font": {"size": 14, "color": colours["text"]},
                "x": 0.0,
                "xanchor": "left",
                "xref": "container",
                "pad": {"l": 12},
            },
            "colorway": list(OKABE_ITO),
            "xaxis": axis,
            "yaxis": axis,
            "margin": {"l": 56, "r": 16, "t": 40, "b": 44},
            "hoverlabel": {
                "bgcolor": colours["raised"],
                "bordercolor": colours["line-strong"],
                "font": {"family": MONO, "size": 12, "color": colours["text"]},
                "align": "left",
            },
            "colorscale": {"sequential": scale(sequential(theme)), "diverging": scale(diverging(theme))},
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": colours["faint"], "activecolor": colours["accent"]},
        }
    )


def css() -> str:
    """Every role as a CSS variable `--wb-ROLE`, for both themes; categories as `--wb-category-N`; the font stacks."""
    blocks = []
    for theme in THEMES:
        lines = [f"  --wb-{name}: {value};" for name, value in ROLES[theme].items()]
        lines += [f"  --wb-neutral: {_NEUTRAL[theme]};", f"  color-scheme: {theme};"]
        selector = ":root" if theme == "light" else ':root[data-mantine-color-scheme="dark"]'
        blocks.append(f"{selector} {{\n" + "\n".join(lines) + "\n}")
    categories = "".join(f"  --wb-category-{number}: {colour};\n" for number, colour in enumerate(OKABE_ITO, start=1))
    blocks.append(f":root {{\n  --wb-sans: {SANS};\n  --wb-mono: {MONO};\n{categories}}}")
    return "\n".join(blocks) + "\n"


def ramps() -> dict[str, Any]:
    """The ramps for drawing on a canvas: `{theme: {"sequential": [r, g, b, …], "diverging": […]}}`, lists of bytes."""
    return {
        theme: {"sequential": sequential(theme).ravel().tolist(), "diverging": diverging(theme).ravel().tolist()}
        for theme in THEMES
    }


def mantine() -> dict[str, Any]:
    """The theme of dash-mantine-components: our accent, type, sizes and radius."""
    light, dark = ROLES["light"], ROLES["dark"]
    shades = _ramp(
        [
            _from_hex(light["accent-soft"]),
            _from_hex(dark["accent"]),
            _from_hex(light["accent"]),
            _from_hex(dark["on-accent"]),
        ],
        10,
    )
    return {
        "primaryColor": "accent",
        "primaryShade": {"light": 6, "dark": 3},
        "colors": {"accent": ["#{:02x}{:02x}{:02x}".format(*shade) for shade in shades]},
        "fontFamily": SANS,
        "fontFamilyMonospace": MONO,
        "defaultRadius": 8,
        "fontSizes": {"xs": "12px", "sm": "13px", "md": "14px", "lg": "16px", "xl": "20px"},
        "spacing": {"xs": "4px", "sm": "8px", "md": "12px", "lg": "16px", "xl": "24px"},
        "headings": {"fontWeight": "600"},
        "respectReducedMotion": True,
    }
