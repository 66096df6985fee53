"""Placing edits on the rows of a batch: which rows, which slice of a site, at which layer a world begins.

The rows of a batch are independent worlds. Rows [0, batch) are the clean prompts. Each further world is one set of
edits; it owns one row per prompt, and joins the batch at the layer of its first edit by copying the clean rows there,
so that nothing before an edit is computed twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from hooks.errors import InputError
from hooks.interventions import Intervention
from hooks.interventions.base import EditContext
from hooks.sites import SITES, Part, Position, Site
from hooks.tokens import TokenBatch

World = tuple[Intervention, ...]


@dataclass(frozen=True)
class Placed:
    """One edit on some rows: `rows` of the batch, the `prompts` they belong to, and the slices of the other axes."""

    edit: Intervention
    rows: slice
    prompts: slice
    slices: tuple[slice, ...]

    def apply(self, view: Tensor, context: Callable[[Placed], EditContext]) -> None:
        """Write the edited value into `view`, a tensor with the site's axes."""
        index = (self.rows, *self.slices)
        view[index] = self.edit.edit(view[index], context(self)).to(view.dtype)


@dataclass(frozen=True)
class Schedule:
    """Edits by site, and the worlds that join at each layer (−1: before the embedding).

    order[w] is the block of rows that world w owns: rows (1 + order[w]) * batch onwards.
    """

    batch: int
    edits: dict[Site, tuple[Placed, ...]]
    joins: dict[int, int] = field(default_factory=dict)
    order: tuple[int, ...] = ()

    @property
    def worlds(self) -> int:
        """Number of worlds that join; 0 when the edits apply to the prompts themselves."""
        return len(self.order)

    def worlds_before(self, layer: int) -> int:
        """Worlds present when block `layer` runs, those that join at it included."""
        return sum(count for start, count in self.joins.items() if start <= layer)


def on_prompts(batch: TokenBatch, edits: Sequence[Intervention]) -> Schedule:
    """Every edit on every prompt: no world joins."""
    return Schedule(len(batch), _by_site(placed for edit in edits for placed in _place(edit, batch, 0)))


def in_worlds(batch: TokenBatch, worlds: Sequence[World], n_layers: int) -> Schedule:
    """Each world beside the clean prompts, in rows of its own."""
    starts = [min((_join_layer(edit.at.site, n_layers) for edit in world), default=n_layers - 1) for world in worlds]
    by_start = sorted(range(len(worlds)), key=lambda world: starts[world])
    order = [0] * len(worlds)
    joins: dict[int, int] = defaultdict(int)
    placed: list[Placed] = []
    for block, world in enumerate(by_start):
        order[world] = block
        joins[starts[world]] += 1
        first_row = (1 + block) * len(batch)
        placed += [item for edit in worlds[world] for item in _place(edit, batch, first_row)]
    return Schedule(len(batch), _by_site(placed), dict(joins), tuple(order))


def _join_layer(site: Site, n_layers: int) -> int:
    if site.layer is not None:
        return site.layer
    return -1 if SITES[site.name].order < SITES["resid_pre"].order else n_layers - 1


def _by_site(placed: Iterator[Placed] | list[Placed]) -> dict[Site, tuple[Placed, ...]]:
    sites: dict[Site, list[Placed]] = defaultdict(list)
    for item in placed:
        sites[item.edit.at.site].append(item)
    return {site: tuple(items) for site, items in sites.items()}


def _place(edit: Intervention, batch: TokenBatch, first_row: int) -> Iterator[Placed]:
    """One placement per run of prompts whose positions resolve alike."""
    resolved = [_slices(edit.at, batch, prompt) for prompt in range(len(batch))]
    start = 0
    for prompt in range(1, len(batch) + 1):
        if prompt == len(batch) or resolved[prompt] != resolved[start]:
            rows = slice(first_row + start, first_row + prompt)
            yield Placed(edit, rows, slice(start, prompt), resolved[start])
            start = prompt


def _slices(part: Part, batch: TokenBatch, prompt: int) -> tuple[slice, ...]:
    """Slices of the axes after `batch`, in the site's order."""
    axes = part.site.axes
    slices = []
    for axis in axes[1:]:
        if axis in ("pos", "q_pos", "k_pos"):
            slices.append(_span(getattr(part, axis), batch, prompt, part))
        else:
            value = part.unit if axis == axes[-1] else part.head
            slices.append(slice(None) if value is None else slice(value, value + 1))
    return tuple(slices)


def _span(position: Position | None, batch: TokenBatch, prompt: int, part: Part) -> slice:
    if position is None:
        return slice(None)
    if isinstance(position, str):
        if position not in batch.positions:
            raise InputError(
                f"{part}: no position is called '{position}'.", f"Named positions: {', '.join(batch.positions)}."
            )
        position = batch.positions[position][prompt]
    start, stop = position if isinstance(position, tuple) else (position, position + 1)
    if not 0 <= start < stop <= batch.lengths[prompt]:
        raise InputError(
            f"{part}: prompt {prompt} has positions 0–{batch.lengths[prompt] - 1}.",
            "Choose a position inside the prompt.",
        )
    return slice(start, stop)
