"""The block diagram of a model from its info: norm placement, parallel or sequential, grouped heads, gated MLP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.figures import theme as themes
from workbench.figures.numbers import whole
from workbench.figures.svg import Sheet

WIDTH = 440
EDGE = 8
STREAM = 56
MOST_HEADS = 48
BOX, GAP = 32, 14


def block_diagram(info: Mapping[str, Any], theme: themes.ThemeName = "light") -> str:
    """The SVG text of a model's plan; `info` is ModelInfo as plain JSON values."""
    # Measured once, so that the drawing starts at its own height.
    height = 28 - _draw(Sheet(theme), info, 0.0)
    sheet = Sheet(theme)
    _draw(sheet, info, height - EDGE)
    return sheet.svg(WIDTH, height)


def describe(info: Mapping[str, Any]) -> str:
    """The same plan in words: the diagram's text alternative."""
    return " ".join(
        (
            f"{whole(info['n_layers'])} layers, each {_norms(info)}.",
            "Attention and MLP read the same residual stream side by side."
            if info["parallel"]
            else "Attention writes first, then the MLP reads.",
            f"Attention has {_heads(info)}, {info['d_head']} dimensions each, with {_positions(info)}.",
            f"The MLP has {whole(info['d_mlp'])} neurons{' behind a gate' if info['gated'] else ''}.",
            f"The residual stream has {whole(info['d_model'])} dimensions, "
            f"the vocabulary {whole(info['d_vocab'])} tokens.",
        )
    )


def _norms(info: Mapping[str, Any]) -> str:
    kind = info["norm_kind"]
    return {
        "pre": f"with {kind} before attention and before the MLP",
        "post": f"with {kind} after each addition",
        "sandwich": f"with {kind} before and after attention and the MLP",
    }[info["norm"]]


def _heads(info: Mapping[str, Any]) -> str:
    if info["n_kv_heads"] == info["n_heads"]:
        return f"{info['n_heads']} heads"
    return (
        f"{info['n_heads']} query heads over {info['n_kv_heads']} key/value head{'s' if info['n_kv_heads'] > 1 else ''}"
    )


def _positions(info: Mapping[str, Any]) -> str:
    return {
        "rotary": "rotary positions",
        "learned": "learned positions added at the bottom",
        "none": "no positions",
    }.get(info["positions"], f"{info['positions']} positions")


def _draw(sheet: Sheet, info: Mapping[str, Any], bottom: float) -> float:
    """Draw upwards from `bottom`; the y of the topmost edge."""
    wide = WIDTH - 2 * EDGE
    _box(sheet, EDGE, bottom, wide, BOX, "Token embedding", note=f"{whole(info['d_vocab'])} × {whole(info['d_model'])}")
    y = bottom - BOX
    if info["positions"] == "learned":
        _box(sheet, EDGE, y - 6, wide, BOX, "+ learned positions", note=whole(info["n_ctx"]) if info["n_ctx"] else "")
        y -= BOX + 6
    frame_bottom = y - GAP
    ground = len(sheet.parts)
    top = _block(sheet, info, frame_bottom - 16)
    after = top - 36 - GAP
    under = Sheet(sheet.theme)
    under.rect(EDGE, top - 36, wide, frame_bottom - top + 36, fill="sunken", edge="line", radius=8)
    under.line((STREAM, y), (STREAM, after), arrow=True, role="accent", width=2)
    # The ground and the stream lie under what the block drew.
    sheet.parts[ground:ground] = under.parts
    sheet.text(WIDTH - 20, top - 14, f"× {info['n_layers']} layers", role="accent", end=True)
    sheet.text(STREAM + 16, top - 14, f"residual stream, {whole(info['d_model'])}", role="muted")
    if info["norm"] != "post":
        _box(sheet, EDGE, after, wide, BOX, "Final norm", note=info["norm_kind"])
        sheet.line((STREAM, after - BOX), (STREAM, after - BOX - GAP), arrow=True, role="accent", width=2)
        after -= BOX + GAP
    _box(
        sheet,
        EDGE,
        after,
        wide,
        BOX,
        "Unembedding → logits",
        note=f"{whole(info['d_model'])} × {whole(info['d_vocab'])}",
    )
    return after - BOX


def _block(sheet: Sheet, info: Mapping[str, Any], bottom: float) -> float:
    """One layer, upwards from `bottom`; the y above its last addition."""
    if info["parallel"]:
        left = _branch(sheet, 96, 156, bottom - 8, _attention_boxes(info), info)
        right = _branch(sheet, 264, 156, bottom - 8, _mlp_boxes(info), info)
        join = min(left, right) - GAP
        for x, top in ((96 + 78, left), (264 + 78, right)):
            sheet.line((STREAM, bottom), (x, bottom), (x, bottom - 8), arrow=True)
            sheet.line((x, top), (x, join), (STREAM + 11, join), arrow=True)
        _plus(sheet, join)
        return join - 12
    y = bottom
    for boxes in (_attention_boxes(info), _mlp_boxes(info)):
        top = _branch(sheet, 104, 312, y - 8, boxes, info)
        join = top - GAP
        sheet.line((STREAM, y), (260, y), (260, y - 8), arrow=True)
        sheet.line((260, top), (260, join), (STREAM + 11, join), arrow=True)
        _plus(sheet, join)
        y = join - 20
        if info["norm"] == "post":
            _box(sheet, 24, y + 4, 64, 26, "Norm", edge="accent")
            y -= 34
    return y + 8


def _attention_boxes(info: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    pre, post = _around(info)
    return [*pre, ("Attention", _positions_note(info), "heads"), *post]


def _mlp_boxes(info: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    pre, post = _around(info)
    return [
        *pre,
        (
            "Gated MLP" if info["gated"] else "MLP",
            f"{whole(info['d_mlp'])}{'' if info['parallel'] else ' neurons'}",
            "",
        ),
        *post,
    ]


def _positions_note(info: Mapping[str, Any]) -> str:
    return "" if info["parallel"] or info["positions"] != "rotary" else "rotary"


def _around(info: Mapping[str, Any]) -> tuple[list[tuple[str, str, str]], list[tuple[str, str, str]]]:
    note = "" if info["parallel"] else info["norm_kind"]
    norm = [("Norm", note, "")]
    return (norm if info["norm"] != "post" else []), (norm if info["norm"] == "sandwich" else [])


def _branch(
    sheet: Sheet, x: float, width: float, y: float, boxes: list[tuple[str, str, str]], info: Mapping[str, Any]
) -> float:
    """A sublayer's boxes stacked upwards; the y of the topmost edge."""
    for index, (title, note, kind) in enumerate(boxes):
        if index:
            sheet.line((x + width / 2, y), (x + width / 2, y - 10))
            y -= 10
        height = 40 + _heads_height(info, width) if kind == "heads" else BOX
        soft = title not in ("Norm",)
        _box(
            sheet,
            x,
            y,
            width,
            height,
            title,
            note=note,
            fill="accent-soft" if soft else "panel",
            edge="accent" if soft else "line-strong",
        )
        if kind == "heads":
            _draw_heads(sheet, x + 12, y - height + 32, width - 24, info)
        y -= height
    return y


def _cell(info: Mapping[str, Any], width: float) -> tuple[float, float]:
    """Side of a head's square and the space between groups."""
    groups = info["n_kv_heads"]
    space = 6.0 if info["n_heads"] != groups else 2.0
    side = (width - 24 - space * (groups - 1) - 2 * (info["n_heads"] - groups)) / info["n_heads"]
    return min(18.0, side), space


def _heads_height(info: Mapping[str, Any], width: float) -> float:
    if info["n_heads"] > MOST_HEADS:
        return 20.0
    grouped = info["n_heads"] != info["n_kv_heads"]
    return _cell(info, width)[0] + (14.0 if grouped else 0.0) + 22.0


def _draw_heads(sheet: Sheet, x: float, y: float, width: float, info: Mapping[str, Any]) -> None:
    """One square per query head; under each group its key/value head."""
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
    short = f"{info['n_heads']} heads" + (f" / {info['n_kv_heads']} kv" if group > 1 else "")
    words = _heads(info) if width > 200 else short
    sheet.text(x, below + 15, words, role="muted", size=12)


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
