"""Pictures of attention: the overview of all heads as 8-bit tiles, and the map of one head as a plotly figure."""

from __future__ import annotations

import json
import math
import struct
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import plotly.graph_objects as go

from analyses.grid import Grid
from workbench.figures import theme as themes
from workbench.figures.tokens import label

SIDE = 32
"""Most pixels along one side of a head's tile in the overview."""
LARGEST_MAP = 640
"""Most cells along one side of a head's map; beyond, neighbours are joined."""
LONGEST_LABEL = 14
LABELS = 28
"""Most token labels that fit along one axis of a head's map."""

Scale = Literal["attention", "weighted", "scores", "difference"]
SIGNED: tuple[Scale, ...] = ("scores", "difference")
TITLES: dict[Scale, str] = {
    "attention": "attention weight",
    "weighted": "weight · ‖v‖",
    "scores": "score before softmax",
    "difference": "edited − clean",
}


@dataclass(frozen=True)
class Mosaic:
    """All heads as 8-bit tiles.

    tiles: [layer head side side], 255 stands for the weight `top`. joined: tokens per pixel along each side (1: every
    cell has its own pixel). clipped: True where larger weights exist that are drawn as `top`. missing: layers without
    this attention, and the reason.
    """

    tiles: np.ndarray
    tokens: int
    joined: int
    top: float
    clipped: bool
    missing: tuple[int, ...] = ()
    reason: str = ""

    def note(self) -> str:
        """What a pixel stands for when tokens were joined, else an empty text."""
        return "" if self.joined == 1 else reduced_note(self.tokens, self.joined)

    def encode(self) -> bytes:
        """Length of a JSON header (4 bytes, little endian), the header, then one byte per pixel."""
        layers, heads, side, _ = self.tiles.shape
        header = {
            "layers": layers,
            "heads": heads,
            "side": side,
            "tokens": self.tokens,
            "joined": self.joined,
            "top": self.top,
            "clipped": self.clipped,
            "note": self.note(),
            "missing": list(self.missing),
            "reason": self.reason,
        }
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 4)
        return struct.pack("<I", len(text)) + text + self.tiles.tobytes()


@dataclass(frozen=True)
class Cell:
    """One cell of a map: positions and display strings of query and key, and the value."""

    q: int
    k: int
    query: str
    key: str
    value: float


def reduced_note(tokens: int, joined: int, *, scores: bool = False) -> str:
    """What a pixel of a reduced picture stands for."""
    side = math.ceil(tokens / joined)
    drawn = f"{tokens} × {tokens} cells drawn as {side} × {side}: a pixel is "
    if scores:
        return f"{drawn}the mean score of {joined} neighbouring queries with {joined} neighbouring keys."
    return f"{drawn}what {joined} neighbouring queries give on average to {joined} neighbouring keys together."


def join_tokens(pattern: np.ndarray, joined: int) -> np.ndarray:
    """[… q k] → [… ceil(q/joined) ceil(k/joined)]: mean over neighbouring queries of the sum over neighbouring keys.

    Weights of a row still sum to what they summed to before, so a reduced pattern keeps its meaning and its range.
    """
    if joined == 1:
        return pattern
    starts = np.arange(0, pattern.shape[-1], joined)
    rows = np.diff(np.append(starts, pattern.shape[-1]))
    sums = np.add.reduceat(np.add.reduceat(pattern, starts, axis=-1), starts, axis=-2)
    return sums / rows[:, None].astype(np.float32)


def _mean_of_neighbours(values: np.ndarray, joined: int) -> np.ndarray:
    """[q k] → [ceil(q/joined) ceil(k/joined)]: mean over the finite cells of each block, NaN where there is none."""
    if joined == 1:
        return values
    known = np.isfinite(values)
    starts = np.arange(0, values.shape[-1], joined)
    sums, counts = (
        np.add.reduceat(np.add.reduceat(cells, starts, axis=-1), starts, axis=-2)
        for cells in (np.where(known, values, 0.0), known.astype(np.float32))
    )
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def mosaic(layers: Iterable[np.ndarray], *, hide_first: bool = False, side: int = SIDE) -> Mosaic:
    """The overview of patterns given layer by layer, each [head q k]; one layer is in memory at a time.

    hide_first leaves the first key out of the picture and stretches the colours to the 99.5th percentile of the pixels
    that remain; the weights themselves are not renormalised.
    """
    reduced, tokens, joined = [], 0, 1
    for pattern in layers:
        tokens = pattern.shape[-1]
        joined = max(1, math.ceil(tokens / side))
        kept = np.array(pattern, dtype=np.float32)
        if hide_first:
            kept[..., 0] = 0.0
        reduced.append(join_tokens(kept, joined))
    stacked = np.stack(reduced)
    largest = float(stacked.max(initial=0.0))
    top = _stretched(stacked) if hide_first else 1.0
    tiles = np.rint(np.clip(stacked / top, 0.0, 1.0) * 255).astype(np.uint8)
    return Mosaic(tiles, tokens, joined, top, clipped=largest > top * 1.005)


def _stretched(values: np.ndarray) -> float:
    """The 99.5th percentile of the positive values, rounded up to two significant digits; 1 where there are none."""
    positive = values[values > 0]
    if not positive.size:
        return 1.0
    top = float(np.quantile(positive, 0.995))
    unit = 10.0 ** (math.floor(math.log10(top)) - 1)
    return min(1.0, round(math.ceil(top / unit - 1e-5) * unit, 12))


def colour_range(values: np.ndarray, scale: Scale, *, hide_first: bool = False) -> tuple[float, float]:
    """The values at both ends of the colour bar. Missing values (NaN) do not count.

    Attention keeps 0…1, unless the first key is hidden: then up to the largest left. Signed values are symmetric.
    """
    shown = values[:, 1:] if hide_first and values.shape[1] > 1 else values
    known = shown[np.isfinite(shown)]
    largest = float(known.max(initial=0.0)) if known.size else 0.0
    if scale in SIGNED:
        reach = float(np.abs(known).max(initial=0.0)) or 1.0
        return -reach, reach
    if scale == "attention" and not hide_first:
        return 0.0, 1.0
    return 0.0, largest or 1.0


def axis_ticks(strings: tuple[str, ...], most: int = LABELS) -> tuple[list[int], list[str]]:
    """Positions and escaped labels of the ticks; long prompts label every n-th token, and hover has them all."""
    step = max(1, math.ceil(len(strings) / most))
    places = list(range(0, len(strings), step))
    return places, [label(strings[place], limit=LONGEST_LABEL) for place in places]


def head_figure(
    grid: Grid,
    strings: tuple[str, ...],
    theme: themes.ThemeName,
    scale: Scale,
    *,
    hide_first: bool = False,
    keys: tuple[str, ...] | None = None,
) -> go.Figure:
    """The map of one head: keys along x, queries downwards, a colour bar with its quantity.

    strings: the tokens. keys: those of the keys, where they are another stack's: the encoder's in cross-attention.

    grid: dims (q_pos, k_pos); missing cells stay blank. Hover is drawn by the page from the same values, so that it can
    show full tokens as plain text. Hiding the first key covers its column and changes colours, never values.
    """
    values = np.where(grid.valid, grid.values, np.nan) if grid.valid is not None else grid.values
    low, high = colour_range(values, scale, hide_first=hide_first)
    joined = 1 if keys is not None else max(1, math.ceil(len(strings) / LARGEST_MAP))
    ramp = themes.diverging(theme) if scale in SIGNED else themes.sequential(theme)
    heatmap = go.Heatmap(
        z=_mean_of_neighbours(values, joined) if scale == "scores" else join_tokens(values, joined),
        x0=(joined - 1) / 2,
        dx=joined,
        y0=(joined - 1) / 2,
        dy=joined,
        zmin=low,
        zmax=high,
        colorscale=themes.scale(ramp),
        colorbar=_bar(scale),
        hoverinfo="none",
    )
    (places, labels), (key_places, key_labels) = axis_ticks(strings), axis_ticks(keys or strings)
    ends, key_ends = len(strings) - 0.5, len(keys or strings) - 0.5
    turned = len(keys or strings) > 6
    angle = -90 if turned else 0
    room, below = _room(strings, places), _room(keys or strings, key_places)
    names = ("key: attended to", "query: attends from")
    names = names if keys is None else ("key: source token", "query: target token")
    layout = {
        "template": themes.template(theme),
        # Fixed, since measuring the labels in the browser costs plotly a second pass over the whole figure.
        "margin": {"l": room + 32, "r": 72, "t": 28, "b": (below if turned else 16) + 32},
        "meta": {"joined": joined, "scale": scale, "low": low, "high": high},
        "shapes": [_cover(len(strings), theme)] if hide_first else [],
        "xaxis": {
            **_axis(key_places, key_labels),
            "title": {"text": names[0]},
            "range": [-0.5, key_ends],
            "tickangle": angle,
        },
        "yaxis": {
            **_axis(places, labels),
            "title": {"text": names[1]},
            "range": [ends, -0.5],
            **({"scaleanchor": "x"} if keys is None else {}),
        },
    }
    return go.Figure(heatmap, layout)  # fmt: skip


def _room(strings: tuple[str, ...], places: list[int]) -> int:
    """Pixels that the longest label takes in the monospace font; characters of East Asian scripts take two cells."""
    cells = [
        sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in strings[place][:LONGEST_LABEL])
        for place in places
    ]
    return math.ceil(max(cells, default=1) * 7.3) + 4


def _bar(scale: Scale) -> dict[str, object]:
    small = {"size": 12}
    title = {"text": TITLES[scale], "side": "right", "font": small}
    return {
        "title": title,
        "tickfont": small,
        "thickness": 10,
        "outlinewidth": 0,
        "ypad": 0,
        "ticklabeloverflow": "allow",
    }


def _axis(places: list[int], labels: list[str]) -> dict[str, object]:
    return {
        "tickmode": "array",
        "tickvals": places,
        "ticktext": labels,
        "tickfont": {"family": themes.MONO, "size": 12 if len(places) <= 20 else 11},
        "showgrid": False,
        "zeroline": False,
        "automargin": False,
        "constrain": "domain",
        "ticks": "",
    }


def _cover(tokens: int, theme: themes.ThemeName) -> dict[str, object]:
    """A shape over the first key's column."""
    return {
        "type": "rect",
        "x0": -0.5,
        "x1": 0.5,
        "y0": -0.5,
        "y1": tokens - 0.5,
        "line": {"width": 0},
        "fillcolor": themes.role("panel", theme),
        "layer": "above",
        "name": "first token hidden",
    }


def strongest(
    grid: Grid, strings: tuple[str, ...], n: int = 10, *, hide_first: bool = False, keys: tuple[str, ...] | None = None
) -> list[Cell]:
    """The `n` largest cells that are not zero (largest in size for differences): the map in words.

    keys: the tokens of the keys, where they are not those of the queries.
    """
    valid = np.ones(grid.values.shape, dtype=bool) if grid.valid is None else grid.valid.copy()
    if hide_first:
        valid[:, 0] = False
    shown = replace(grid, values=np.where(valid, grid.values, 0.0), valid=valid)
    rows = shown.top(n, by="signed" if grid.baseline is None else "absolute")
    places = [(grid.coords["q_pos"].index(row["q_pos"]), grid.coords["k_pos"].index(row["k_pos"])) for row in rows]
    return [
        Cell(q, k, strings[q], (keys or strings)[k], float(row["value"]))
        for (q, k), row in zip(places, rows, strict=True)
        if row["value"] != 0.0
    ]
