"""The block diagram of a stack from its plan: norms, parallel or not, grouped heads, cross-attention, experts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.figures import theme as themes
from workbench.figures.architecture_words import heads_in_words, short_heads
from workbench.figures.numbers import whole
from workbench.figures.plan import Block, Stack, bottom_of, runs, stacks_of, top_of
from workbench.figures.svg import Sheet

WIDTH = 440
EDGE = 8
STREAM = 56
MOST_HEADS = 48
BOX, GAP = 32, 14
GRID_WIDTH, GRID_HEIGHT = 300.0, 72.0
Box = tuple[str, str, str]
"""Title, note, and what is drawn inside: heads, experts or nothing."""


def block_diagram(info: Mapping[str, Any], theme: themes.ThemeName = "light", stack: Stack | None = None) -> str:
    """The SVG text of one stack's plan, the last one's where none is named; `info` is ModelInfo as plain values."""
    stack = stack or stacks_of(info)[-1]
    # Measured once, so that the drawing starts at its own height.
    height = 28 - _draw(Sheet(theme), info, stack, 0.0)
    sheet = Sheet(theme)
    _draw(sheet, info, stack, height - EDGE)
    return sheet.svg(WIDTH, height)


def _draw(sheet: Sheet, info: Mapping[str, Any], stack: Stack, bottom: float) -> float:
    """Draw upwards from `bottom`; the y of the topmost edge."""
    wide, sizes = WIDTH - 2 * EDGE, stack.info
    title, note = bottom_of(stack, info)
    y = bottom
    if title == "Patch embedding":
        y = _patches(sheet, info, bottom)
    _box(sheet, EDGE, y, wide, BOX, title, note=note)
    y -= BOX
    if sizes["positions"] == "learned":
        place = sizes.get("n_positions") or sizes["n_ctx"]
        _box(sheet, EDGE, y - 6, wide, BOX, "+ learned positions", note=whole(place) if place else "")
        y -= BOX + 6
    for block in stack.blocks:
        y = _frame(sheet, stack, block, y)
    if stack.final_norm:
        _box(sheet, EDGE, y, wide, BOX, "Final norm", note=sizes["norm_kind"])
        sheet.line((STREAM, y - BOX), (STREAM, y - BOX - GAP), arrow=True, role="accent", width=2)
        y -= BOX + GAP
    title, note = top_of(stack, info)
    _box(sheet, EDGE, y, wide, BOX, title, note=note)
    return y - BOX


def _patches(sheet: Sheet, info: Mapping[str, Any], bottom: float) -> float:
    """The image cut into its patches, with the tokens before them; the y of its topmost edge."""
    (rows, columns), prefix = info["grid"], info.get("prefix", 0)
    side = min(12.0, GRID_WIDTH / columns, GRID_HEIGHT / rows)
    gap = 2.0 if side > 4 else 0.5
    top, left = float(bottom - rows * side), STREAM + 44
    for number in range(prefix):
        sheet.rect(STREAM - 6, bottom - (number + 1) * 14, 12, 12, fill="accent", radius=2)
    if prefix:
        words = "class token" if prefix == 1 else f"{prefix} tokens"
        sheet.text(STREAM - 44, bottom - max(rows * side, 14.0 * prefix) - 6, words, role="muted", size=12)
    for row in range(rows):
        for column in range(columns):
            place = (left + column * side, top + row * side)
            sheet.rect(*place, side - gap, side - gap, fill="accent-soft", edge="accent", radius=1)
    return top - 12 - (14 if prefix else 0)


def _frame(sheet: Sheet, stack: Stack, block: Block, y: float) -> float:
    """One sort of block in its frame, upwards from y; the y above it."""
    wide, sizes = WIDTH - 2 * EDGE, stack.info
    frame_bottom = y - GAP
    ground = len(sheet.parts)
    top = _block(sheet, sizes, block, frame_bottom - 16)
    after = top - 36 - GAP
    under = Sheet(sheet.theme)
    under.rect(EDGE, top - 36, wide, frame_bottom - top + 36, fill="sunken", edge="line", radius=8)
    under.line((STREAM, y), (STREAM, after), arrow=True, role="accent", width=2)
    # The ground and the stream lie under what the block drew.
    sheet.parts[ground:ground] = under.parts
    count = len(block.layers)
    words = f"× {count} layers" if count == sizes["n_layers"] else f"layer{'s' * (count > 1)} {runs(block.layers)}"
    sheet.text(WIDTH - 20, top - 14, words, role="accent", end=True)
    sheet.text(STREAM + 16, top - 14, f"residual stream, {whole(sizes['d_model'])}", role="muted")
    return after


def _block(sheet: Sheet, info: Mapping[str, Any], block: Block, bottom: float) -> float:
    """One layer, upwards from `bottom`; the y above its last addition."""
    steps: list[tuple[str, ...]] = [(part,) for part in block.parts]
    if info["parallel"]:
        steps = [block.parts]
    elif block.parts[:2] == ("attention", "mixer"):
        steps = [block.parts[:2], *steps[2:]]
    y = bottom
    for parts in steps:
        join = _side_by_side(sheet, info, parts, y) if len(parts) > 1 else _alone(sheet, info, parts[0], y)
        _plus(sheet, join)
        y = join - 20
        if info["norm"] == "post":
            _box(sheet, 24, y + 4, 64, 26, "Norm", edge="accent")
            y -= 34
    return y + 8


def _alone(sheet: Sheet, info: Mapping[str, Any], part: str, y: float) -> float:
    top = _branch(sheet, 104, 312, y - 8, _boxes(info, part), info)
    sheet.line((STREAM, y), (260, y), (260, y - 8), arrow=True)
    sheet.line((260, top), (260, top - GAP), (STREAM + 11, top - GAP), arrow=True)
    return top - GAP


def _side_by_side(sheet: Sheet, info: Mapping[str, Any], parts: tuple[str, ...], y: float) -> float:
    tops = [
        _branch(sheet, x, 156, y - 8, _boxes(info, part, narrow=True), info)
        for x, part in zip((96, 264), parts, strict=False)
    ]
    join = min(tops) - GAP
    for x, top in zip((96 + 78, 264 + 78), tops, strict=False):
        sheet.line((STREAM, y), (x, y), (x, y - 8), arrow=True)
        sheet.line((x, top), (x, join), (STREAM + 11, join), arrow=True)
    return join


def _boxes(info: Mapping[str, Any], part: str, *, narrow: bool = False) -> list[Box]:
    """A sublayer's boxes from its input to what it writes."""
    norm: list[Box] = [("Norm", "" if narrow else info["norm_kind"], "")]
    before = norm if info["norm"] != "post" else []
    after = norm if info["norm"] == "sandwich" else []
    rotary = "rotary" if info["positions"] == "rotary" and not narrow else ""
    gated, words = ("Gated MLP" if info["gated"] else "MLP"), ("" if narrow else " neurons")
    own: Box = {
        "attention": ("Attention", rotary, "heads"),
        "cross": ("Cross-attention", "" if narrow else "keys from the encoder", "heads"),
        "mixer": ("Mixer", "" if narrow else "state space", ""),
        "experts": ("Experts", "" if narrow else f"{whole(info.get('d_expert') or 0)} neurons each", "experts"),
        "mlp": (gated, f"{whole(info['d_mlp'])}{words}", ""),
    }[part]
    return [*before, own, *after]


def _branch(sheet: Sheet, x: float, width: float, y: float, boxes: list[Box], info: Mapping[str, Any]) -> float:
    """A sublayer's boxes stacked upwards; the y of the topmost edge."""
    for index, (title, note, kind) in enumerate(boxes):
        if index:
            sheet.line((x + width / 2, y), (x + width / 2, y - 10))
            y -= 10
        height = 40 + _inner_height(info, width, kind) if kind else BOX
        soft = title != "Norm"
        fill, edge = ("accent-soft", "accent") if soft else ("panel", "line-strong")
        _box(sheet, x, y, width, height, title, note=note, fill=fill, edge=edge)
        if kind:
            _draw_heads(sheet, x + 12, y - height + 32, width - 24, _counted(info, kind), kind)
        y -= height
    return y


def _counted(info: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """The sizes with what is drawn as squares counted as heads."""
    if kind == "heads":
        return info
    return {**info, "n_heads": info["n_experts"], "n_kv_heads": info["n_experts"]}


def _cell(info: Mapping[str, Any], width: float) -> tuple[float, float]:
    """Side of a head's square and the space between groups."""
    groups = info["n_kv_heads"]
    space = 6.0 if info["n_heads"] != groups else 2.0
    side = (width - 24 - space * (groups - 1) - 2 * (info["n_heads"] - groups)) / info["n_heads"]
    return min(18.0, side), space


def _inner_height(info: Mapping[str, Any], width: float, kind: str) -> float:
    counted = _counted(info, kind)
    if counted["n_heads"] > MOST_HEADS:
        return 20.0
    grouped = counted["n_heads"] != counted["n_kv_heads"]
    return _cell(counted, width)[0] + (14.0 if grouped else 0.0) + 22.0


def _draw_heads(sheet: Sheet, x: float, y: float, width: float, info: Mapping[str, Any], kind: str) -> None:
    """One square per query head (or expert); under each group of query heads its key/value head."""
    side, space = _cell(info, width + 24)
    group = info["n_heads"] // info["n_kv_heads"]
    below = y
    if info["n_heads"] <= MOST_HEADS:
        at = x
        for _ in range(info["n_kv_heads"]):
            start = at
            for _ in range(group):
                sheet.rect(at, y, side, side, fill="accent", radius=2)
                at += side + 2
            if group > 1:
                sheet.rect(start, y + side + 4, at - start - 2, 6, fill="line-strong", radius=2)
            at += space - 2 if group > 1 else 0
        below = y + side + (14 if group > 1 else 0)
    words = heads_in_words(info) if width > 200 else short_heads(info)
    sheet.text(x, below + 15, f"{info['n_heads']} experts" if kind == "experts" else words, role="muted", size=12)


def _box(
    sheet: Sheet,
    x: float,
    y: float,
    width: float,
    height: float,
    title: str,
    *,
    note: str = "",
    fill: str = "panel",
    edge: str = "line-strong",
) -> None:
    """A named box whose lower edge is at y."""
    sheet.rect(x, y - height, width, height, fill=fill, edge=edge)
    middle = y - height / 2 + 4.5 if height < 44 else y - height + 19
    sheet.text(x + 12, middle, title)
    if note:
        sheet.text(x + width - 12, middle, note, role="muted", end=True, mono=True, size=12)


def _plus(sheet: Sheet, y: float) -> None:
    """The point of the stream where a sublayer writes."""
    sheet.circle(STREAM, y, 9, fill="panel", edge="accent")
    sheet.line((STREAM - 5, y), (STREAM + 5, y), role="accent")
    sheet.line((STREAM, y - 5), (STREAM, y + 5), role="accent")
