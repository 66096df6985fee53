"""Packing: in which order and company the cells of a sweep run.

Cells whose edits begin at the same position run together, so that a forward computes only the positions from there on;
inside such a group they go by the layer of their first edit, so that a forward computes only the layers from there on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hooks.info import ModelInfo
from hooks.schedule import World
from hooks.tokens import TokenBatch
from hooks.worlds import first_layer, first_position

FORWARD_TOKENS = 24
"""What a forward costs beside its rows, in tokens: groups that would save less by running apart run together."""


@dataclass(frozen=True)
class Group:
    """Cells that run together. start: the first position that runs; cells: numbers, first layers ascending."""

    start: int
    cells: tuple[int, ...]


def groups(cells: Sequence[World], batch: TokenBatch, info: ModelInfo, *, tails: bool) -> tuple[Group, ...]:
    """The cells in groups, last positions first. tails: positions before a first edit need not run."""
    layers = [first_layer(cell, info.n_layers) for cell in cells]
    order = sorted(range(len(cells)), key=lambda cell: layers[cell])
    if not tails:
        return (Group(0, tuple(order)),)
    latest = min(batch.answer_at)
    starts = [min(first_position(cell, batch), latest) for cell in cells]
    found: list[Group] = []
    for start in sorted(set(starts), reverse=True):
        members = tuple(cell for cell in order if starts[cell] == start)
        saved = len(batch) * (found[-1].start - start) if found else 0
        if found and work([cells[cell] for cell in found[-1].cells], saved, info) < FORWARD_TOKENS:
            both = {*members, *found.pop().cells}
            members = tuple(cell for cell in order if cell in both)
        found.append(Group(start, members))
    return tuple(found)


def work(cells: Sequence[World], tokens: int, info: ModelInfo) -> float:
    """Tokens that pass through all layers in a forward of these cells beside the clean prompts.

    tokens: of one row of each prompt, all prompts together.
    """
    depth = sum(1 - max(first_layer(cell, info.n_layers), 0) / info.n_layers for cell in cells)
    return tokens * (1 + depth)
