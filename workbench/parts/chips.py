"""Tokens as chips in reading order, exactly as fed: visible whitespace, ids, special tokens in another shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dash import html

from hooks.tokens import TokenBatch
from workbench.figures.numbers import number

BAR_PIXELS = 40
# A bar is full at this many nats unless a token of the prompt was more surprising.
FULL_BAR = 10.0


@dataclass(frozen=True)
class Chip:
    """One token as shown.

    part: (which, of how many) where several tokens make whole characters together, else None; said: those characters.
    """

    index: int
    id: int
    shown: str
    token: str
    special: bool
    part: tuple[int, int] | None = None
    said: str = ""


def chips_of(batch: TokenBatch, prompt: int = 0) -> list[Chip]:
    """The tokens of one prompt; the first of those that make a character together shows it."""
    ids, special = batch.ids[prompt].tolist(), batch.special[prompt].tolist()
    chips = []
    for index, (token, piece) in enumerate(zip(batch.strings[prompt], batch.pieces(prompt), strict=True)):
        shown = piece.text if piece.place == 0 else f"{piece.place + 1}/{piece.count}"
        place = (piece.place, piece.count) if piece.count > 1 else None
        chips.append(Chip(index, ids[index], shown, token, bool(special[index]), place, piece.text))
    return chips


def strip(
    chips: Sequence[Chip],
    *,
    id: str,
    surprisal: Sequence[float] | None = None,
    selected: int | None = None,
    bars: bool = False,
) -> Any:
    """The chips; each is a button with the token's position, for `wb.onToken` in the browser.

    surprisal: nats per token from position 1 on, drawn as bars under the chips. bars: keep room for them before they
    are known.
    """
    top = max([FULL_BAR, *(surprisal or ())])
    items = []
    for chip in chips:
        nats = surprisal[chip.index - 1] if surprisal is not None and chip.index else None
        items.append(_chip(chip, nats, top, chip.index == selected, bars or surprisal is not None))
    return html.Div(items, id=id, className="wb-chips", dir="ltr", role="group", **{"aria-label": "Tokens as fed"})


def _chip(chip: Chip, nats: float | None, top: float, selected: bool, bars: bool) -> Any:
    facts = [f"position {chip.index}", f"id {chip.id}", *(["special token"] if chip.special else [])]
    if chip.part is not None:
        facts.append(f"piece {chip.part[0] + 1} of {chip.part[1]} of “{chip.said}”, {chip.token}")
    if nats is not None:
        facts.append(f"surprisal {number(nats)} nats")
    elif bars and chip.index == 0:
        facts.append("nothing before it, so no surprisal")
    name = "wb-chip"
    name += " wb-chip-special" if chip.special else ""
    name += "" if chip.part is None else " wb-chip-first" if chip.part[0] == 0 else " wb-chip-more"
    button = html.Button(
        html.Bdi(chip.shown, dir="ltr"),
        className=name,
        type="button",
        **{
            "aria-label": f"{chip.shown}: {', '.join(facts)}",
            "aria-pressed": "true" if selected else "false",
            "data-wb-token": str(chip.index),
            "data-wb-facts": " · ".join(facts),
            "data-wb-shown": chip.shown,
        },
    )
    height = 0 if nats is None else max(1, round(BAR_PIXELS * nats / top))
    bar = (
        [html.Div(html.Div(style={"height": height}), className="wb-chip-bar", **{"aria-hidden": "true"})]
        if bars
        else []
    )
    return html.Div([button, *bar], className="wb-chip-column")
