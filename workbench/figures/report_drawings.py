"""Drawings of a report as SVG text: a circuit's graph, a faithfulness curve, a head's attention. No script draws them.

Colours are classes that the report's style sheet fills from the theme; only an attention map, which is a picture, holds
colours of its own. Texts are escaped here.
"""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from analyses.grid import Grid
from workbench.figures import theme as themes
from workbench.figures.faithfulness import RANDOM, SIZE
from workbench.figures.graph import LONGEST_LABEL, MOST_EDGES, Drawn, beside, layout, shortened, strongest
from workbench.figures.intervals import Bounds, bounds_of
from workbench.figures.numbers import number, percent, whole

WIDTH, ROW, MARGIN = 960, 46, 34
NODE_HEIGHT, LETTER = 18, 7.0
THINNEST, WIDEST = 0.5, 5.5
CURVE_WIDTH, CURVE_HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 720, 320, 64, 52, 14, 16
MAP, CELL, LABEL = 168, 12, 92
LONGEST_TOKEN = 12
MOST_LABELS = 32
"""Up to so many tokens have their text beside an attention map."""
LONGEST_CAPTION = 130
OUTSIDE_XML = {code: None for code in (*range(9), 11, 12, *range(14, 32), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF)}


def escaped(words: str) -> str:
    """Text as markup that shows it; control characters and others that XML cannot hold are left out."""
    return html.escape(words.translate(OUTSIDE_XML))


def circuit_drawing(circuit: Mapping[str, Any], roles: Mapping[str, str] | None = None) -> str:
    """A circuit as a layered graph, upstream at the bottom; of many edges the 2,000 strongest. roles: words by node.

    Labels stand under their nodes, shortened; all that is said of a node is its title. Edges carry `data-s` and
    `data-t`, the places of their ends among the nodes, which carry `data-n`.
    """
    parts, height = _circuit(circuit, roles or {})
    return (
        f'<svg id="figure-of-the-circuit" class="circuit" role="img" aria-label="The circuit as a graph" '
        f'viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}">{parts}</svg>'
    )


def circuit_file(circuit: Mapping[str, Any], title: str, style: str) -> str:
    """The same drawing as an SVG file of its own. title: what it is of; style: the sheet that colours its classes."""
    parts, height = _circuit(circuit, {})
    drawn = f", the {whole(MOST_EDGES)} strongest are drawn" if len(circuit["edges"]) > MOST_EDGES else ""
    words = f"{title} ({whole(len(circuit['edges']))} edges{drawn})"
    caption = f'<text class="axis" x="{MARGIN}" y="16">{escaped(shortened(words, LONGEST_CAPTION))}</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="circuit" role="img" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'width="{WIDTH}" height="{height:.0f}"><title>{escaped(words)}</title><style>{escaped(style)}</style>'
        f'<rect class="ground" width="100%" height="100%"/>{caption}{parts}</svg>\n'
    )


def _circuit(circuit: Mapping[str, Any], roles: Mapping[str, str]) -> tuple[str, float]:
    """The parts of a circuit's drawing, and its height."""
    edges, nodes = strongest(circuit["edges"], MOST_EDGES), circuit["nodes"]
    placed = layout(nodes)
    rows = max((at.y for at in placed.values()), default=0.0)
    height = 2 * MARGIN + ROW * rows
    place = {node: number for number, node in enumerate(nodes)}
    scale = max((abs(edge["score"]) for edge in edges if edge.get("score") is not None), default=0.0)
    at = {node: (MARGIN + 60 + one.x * (WIDTH - 2 * MARGIN - 90), height - MARGIN - one.y * ROW)
          for node, one in placed.items()}  # fmt: skip
    parts = [
        _edge(edge, at, place, placed, scale) for edge in sorted(edges, key=lambda edge: abs(edge["score"] or 0.0))
    ]
    for layer, y in sorted(
        {(node[1 : node.index(".")], at[node][1]) for node in nodes if ".z[" in node or ".attn" in node}
    ):
        parts.append(f'<text class="axis" x="{MARGIN}" y="{y + 4:.0f}">layer {layer}</text>')
    said, labels, marked = beside(circuit, roles), circuit.get("labels", {}), {*roles, *circuit.get("pinned", ())}
    for node, one in placed.items():
        words, label = said.get(node, ""), labels.get(node, "")
        parts.append(_node(one, at[node], place[node], words, label, marked=node in marked))
    return "".join(parts), height


def _edge(
    edge: Mapping[str, Any], at: Mapping[str, tuple[float, float]], place: Mapping[str, int],
    placed: Mapping[str, Drawn], scale: float,
) -> str:  # fmt: skip
    (x0, y0), (x1, y1) = at[edge["source"]], at[edge["target"]]
    aside = {"q": -5.0, "k": 0.0, "v": 5.0, "in": 0.0}[edge["channel"]]
    start, stop = y0 - NODE_HEIGHT / 2, y1 + NODE_HEIGHT / 2
    bend = (start - stop) / 2
    # A straight line between two nodes that stand one above the other would run through those between them.
    bow = -40.0 if abs(x1 - x0) < 20 and y0 - y1 > ROW else 0.0
    path = f"M{x0:.1f} {start:.1f}C{x0 + bow:.1f} {start - bend:.1f} {x1 + aside + bow:.1f} {stop + bend:.1f} "
    path += f"{x1 + aside:.1f} {stop:.1f}"
    score = edge.get("score")
    sign = "zero" if not score else "plus" if score > 0 else "minus"
    width = 1.2 if not scale else max(THINNEST, WIDEST * math.sqrt(abs(score or 0.0) / scale))
    ends = " → ".join(placed[edge[end]].short for end in ("source", "target"))
    words = f"{ends} ({edge['channel']}): {'no score' if score is None else number(score, signed=True)}"
    return (
        f'<path class="edge {sign} {edge["channel"]}" data-s="{place[edge["source"]]}" '
        f'data-t="{place[edge["target"]]}" d="{path}" stroke-width="{width:.2f}"><title>{escaped(words)}</title></path>'
    )


def _node(one: Drawn, at: tuple[float, float], place: int, said: str, label: str, *, marked: bool) -> str:
    width = LETTER * len(one.short) + 10
    box = f'x="{at[0] - width / 2:.1f}" y="{at[1] - NODE_HEIGHT / 2:.1f}" width="{width:.1f}" height="{NODE_HEIGHT}"'
    words = one.node + (f": {said}" if said else "")
    under = f'x="{at[0]:.1f}" y="{at[1] + NODE_HEIGHT / 2 + 10:.1f}" text-anchor="middle"'
    shown = f'<text class="label" {under}>{escaped(shortened(label, LONGEST_LABEL))}</text>' if label else ""
    classes = "node role" if marked else "node"
    return (
        f'<g class="{classes}" data-n="{place}" tabindex="0" role="button" aria-label="{escaped(words)}">'
        f'<title>{escaped(words)}</title><rect {box} rx="4"/>'
        f'<text x="{at[0]:.1f}" y="{at[1] + 4:.1f}" text-anchor="middle">{escaped(one.short)}</text>{shown}</g>'
    )


def curve_drawing(grid: Grid, grids: Mapping[str, Grid]) -> str:
    """A grid over the share of edges kept as a line with its interval, and random circuits where there are some."""
    shown = [("line", grid, bounds_of(grid, grids))]
    control = grids.get(RANDOM)
    if control is not None and control.coords[SIZE] == grid.coords[SIZE]:
        shown.insert(0, ("random", control, bounds_of(control, grids)))
    sizes = np.array(grid.coords[SIZE], dtype=float)
    low, high = _reach(shown)

    def x(size: float) -> float:
        span = math.log10(sizes[-1] / sizes[0]) or 1.0
        return LEFT + (CURVE_WIDTH - LEFT - RIGHT) * math.log10(size / sizes[0]) / span

    def y(value: float) -> float:
        return TOP + (CURVE_HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    parts = [f'<line class="rule" x1="{LEFT}" x2="{CURVE_WIDTH - RIGHT}" y1="{y(level):.1f}" y2="{y(level):.1f}"/>'
             for level in (0.0, 1.0)]  # fmt: skip
    ticks = [level for level in np.arange(math.floor(low * 2) / 2, high + 0.01, 0.5) if low <= level <= high]
    step = max(1, len(ticks) // 8)
    for level in map(float, ticks[::step]):
        at = f'x="{LEFT - 8}" y="{y(level) + 4:.1f}"'
        parts.append(f'<text class="axis" text-anchor="end" {at}>{number(level)}</text>')
    base = CURVE_HEIGHT - BOTTOM
    for size in sizes.tolist():
        parts.append(
            f'<text class="axis" text-anchor="middle" x="{x(size):.1f}" y="{base + 18}">{percent(size)}</text>'
        )
    middle = (LEFT + CURVE_WIDTH - RIGHT) / 2
    parts.append(f'<text class="axis" text-anchor="middle" x="{middle:.0f}" y="{base + 42}">share of edges kept</text>')
    parts.append(f'<text class="axis" text-anchor="middle" transform="translate(16 {base / 2:.0f}) rotate(-90)">'
                 "faithfulness (fraction)</text>")  # fmt: skip
    for name, one, bounds in shown:
        parts += _series(name, one, bounds, sizes, x, y)
    return (
        f'<svg class="curve" role="img" aria-label="{escaped(grid.name)} over circuit size" width="{CURVE_WIDTH}" '
        f'height="{CURVE_HEIGHT}" viewBox="0 0 {CURVE_WIDTH} {CURVE_HEIGHT}">{"".join(parts)}</svg>'
    )


def _known(grid: Grid) -> np.ndarray:
    return np.ones(grid.values.shape, bool) if grid.valid is None else np.asarray(grid.valid)


def _reach(shown: Sequence[tuple[str, Grid, Bounds | None]]) -> tuple[float, float]:
    """The lowest and highest number drawn, 0 and 1 among them, with some air."""
    values = [0.0, 1.0]
    for _, grid, bounds in shown:
        values += grid.values[_known(grid)].tolist()
        if bounds is not None:
            values += [*bounds.low.values[bounds.known].tolist(), *bounds.high.values[bounds.known].tolist()]
    air = 0.05 * (max(values) - min(values))
    return min(values) - air, max(values) + air


def _series(name: str, grid: Grid, bounds: Bounds | None, sizes: np.ndarray, x: Any, y: Any) -> list[str]:
    """A band under a line, with a dot per size that says its number."""
    known, parts = _known(grid), []
    if bounds is not None and (known & bounds.known).any():
        there = np.flatnonzero(known & bounds.known)
        ring = [(sizes[n], bounds.high.values[n]) for n in there] + [
            (sizes[n], bounds.low.values[n]) for n in there[::-1]
        ]
        parts.append(
            f'<polygon class="band {name}" points="{" ".join(f"{x(a):.1f},{y(float(b)):.1f}" for a, b in ring)}"/>'
        )
    points = [(n, x(sizes[n]), y(float(grid.values[n]))) for n in np.flatnonzero(known)]
    parts.append(f'<polyline class="series {name}" points="{" ".join(f"{a:.1f},{b:.1f}" for _, a, b in points)}"/>')
    kept = grid.coords.get("edges")
    for n, a, b in points:
        edges = f", {whole(int(kept[n]))} edges after pruning" if kept else ""
        interval = f" ({bounds.text((int(n),))})" if bounds is not None and bounds.text((int(n),)) else ""
        words = f"{percent(float(sizes[n]))} of the edges{edges}: {number(float(grid.values[n]))}{interval}"
        parts.append(
            f'<circle class="dot {name}" cx="{a:.1f}" cy="{b:.1f}" r="4"><title>{escaped(words)}</title></circle>'
        )
    return parts


def attention_drawing(weights: np.ndarray, tokens: Sequence[str], theme: themes.ThemeName) -> str:
    """Attention weights [q_pos k_pos], queries downwards, as a picture, its tokens beside it where there is room."""
    rows, columns = weights.shape
    ramp = themes.sequential(theme)
    colours = ramp[np.clip(np.rint(weights * (len(ramp) - 1)), 0, len(ramp) - 1).astype(int)].astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(colours).save(file, "PNG", optimize=True)
    picture = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    labelled = max(rows, columns) <= MOST_LABELS
    width, height = (columns * CELL, rows * CELL) if labelled else (MAP, MAP)
    left, top = (LABEL, LABEL) if labelled else (16, 16)
    parts = [
        f'<image x="{left}" y="{top}" width="{width}" height="{height}" preserveAspectRatio="none" href="{picture}"/>'
    ]
    if labelled:
        for place, token in enumerate(tokens[: max(rows, columns)]):
            at = top + CELL * place + CELL - 2
            words = escaped(shortened(token, LONGEST_TOKEN))
            parts.append(f'<text class="token" x="{left - 4}" y="{at}" text-anchor="end">{words}</text>')
            turn = f"translate({left + CELL * place + CELL - 2} {top - 4}) rotate(-90)"
            parts.append(f'<text class="token" transform="{turn}">{words}</text>')
    parts.append(f'<text class="axis" x="{left}" y="{top + height + 14}">key → , query ↓</text>')
    size = f'width="{left + width + 4}" height="{top + height + 20}"'
    return (
        f'<svg class="attention" role="img" aria-label="attention of the first prompt" {size} '
        f'viewBox="0 0 {left + width + 4} {top + height + 20}">{"".join(parts)}</svg>'
    )
