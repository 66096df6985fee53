"""Tokens as chips in reading order, exactly as fed: visible whitespace, ids, special tokens in another shape."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dash import html

from hooks.tokens import TokenBatch
from workbench.figures.numbers import number

BYTES = re.compile(r"(?:⟨[0-9a-f]{2}⟩)+")
BAR_PIXELS = 40
# A bar is full at this many nats unless a token of the prompt was more surprising.
FULL_BAR = 10.0


@dataclass(frozen=True)
class Chip:
    """One token as shown. part: (which, of how many) where several tokens make one character; else None."""

    index: int
    id: int
    shown: str
    token: str
    special: bool
    part: tuple[int, int] | None = None


def chips_of(batch: TokenBatch, prompt: int = 0) -> list[Chip]:
    """The tokens of one prompt; pieces of one character carry it together."""
    strings = batch.strings[prompt]
    ids, special = batch.ids[prompt].tolist(), batch.special[prompt].tolist()
    joined = {index: (text, place) for run in _runs(strings) for index, text, place in run}
    chips = []
    for index, token in enumerate(strings):
        shown, place = joined.get(index, (token, None))
        chips.append(Chip(index, ids[index], shown, token, bool(special[index]), place))
    return chips


def _runs(strings: Sequence[str]) -> list[list[tuple[int, str, tuple[int, int]]]]:
    """Neighbouring byte tokens that are one or more whole characters together: (index, text to show, place) of each."""
    runs: list[list[tuple[int, str, tuple[int, int]]]] = []
    start = 0
    while start < len(strings):
        stop = start
        while stop < len(strings) and BYTES.fullmatch(strings[stop]):
            stop += 1
            text = _decoded(strings[start:stop])
            if text:
                count = stop - start
                runs.append([(start + i, text if i == 0 else f"{i + 1}/{count}", (i, count)) for i in range(count)])
                start = stop
        start = max(stop, start + 1)
    return runs


def _decoded(pieces: Sequence[str]) -> str:
    raw = bytes(int(pair, 16) for piece in pieces for pair in re.findall(r"⟨([0-9a-f]{2})⟩", piece))
    try:
        return raw.decode("utf-8").replace(" ", "·").replace("\n", "↵").replace("\t", "⇥")
    except UnicodeDecodeError:
        return ""


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
        facts.append(f"piece {chip.part[0] + 1} of {chip.part[1]} of one character, {chip.token}")
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
