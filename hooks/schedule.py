"""Placing edits on the rows of a batch: which rows, which slice of a site, at which layer a world begins.

The rows of a batch are independent worlds. Rows [0, batch) are the clean prompts. Each further world is one set of
edits; it owns one row per prompt, and joins the batch at the layer of its first edit by copying the clean rows there,
so that nothing before an edit is computed twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from torch import Tensor

from hooks.errors import InputError
from hooks.interventions import Intervention
from hooks.interventions.base import EditContext
from hooks.sites import MAIN, SITES, Part, Position, Site
from hooks.tokens import TokenBatch

if TYPE_CHECKING:
    from transformers import Cache

World = tuple[Intervention, ...]
# The named position that stands for every generated token, in a continuation.
NEW = "new"
EVERY = slice(None)


@dataclass(frozen=True)
class Placed:
    """One edit on some rows: `rows` of the batch, the `prompts` they belong to, and the slices of the other axes.

    Prompts are numbered in the whole batch, of which the rows at hand may be a part.

    within: the same slices in the tensor at hand, where that holds only the last positions of its prompt. addressed:
    where the edit's part lies in what it is handed, whose slices are those of its span.
    """

    edit: Intervention
    rows: slice
    prompts: slice
    slices: tuple[slice, ...]
    within: tuple[slice, ...] | None = None
    addressed: tuple[slice, ...] = ()

    def apply(self, view: Tensor, context: Callable[[Placed], EditContext]) -> None:
        """Write the edited value into `view`, a tensor with the site's axes."""
        index = (self.rows, *(self.slices if self.within is None else self.within))
        if index == (slice(0, len(view)), *[EVERY] * (len(index) - 1)):
            view.copy_(self.edit.edit(view, context(self)))
        else:
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


@dataclass(frozen=True, eq=False)
class Window:
    """One step of a continuation of one prompt: which positions a forward runs.

    prompts: the batch that is continued; prompt: which of its prompts this is. start: the first position that runs;
    cache: holds the keys and values of those before it, and takes the new ones (None: nothing is kept between steps).
    """

    prompts: TokenBatch
    prompt: int
    start: int = 0
    cache: Cache | None = None

    @property
    def length(self) -> int:
        """Tokens of the prompt; positions from there on are generated."""
        return self.prompts.lengths[self.prompt]


def on_prompts(batch: TokenBatch, edits: Sequence[Intervention]) -> Schedule:
    """Every edit on every prompt: no world joins."""
    return Schedule(len(batch), _by_site(placed for edit in edits for placed in _place(edit, batch, 0)))


def in_worlds(
    batch: TokenBatch,
    worlds: Sequence[World],
    n_layers: int,
    *,
    joins: bool = True,
    start: int = 0,
    whole: frozenset[str] = frozenset(),
) -> Schedule:
    """Each world beside the clean prompts, in rows of its own. joins: rows may begin at the layer of the first edit.

    start: the first position that the tensors hold, but for the sites named in `whole`, which hold all.
    """
    last = n_layers - 1 if joins else -1
    starts = [
        min((join_layer(edit.at.site, n_layers) if joins else -1 for edit in world), default=last) for world in worlds
    ]
    by_start = sorted(range(len(worlds)), key=lambda world: starts[world])
    order = [0] * len(worlds)
    joining: dict[int, int] = defaultdict(int)
    placed: list[Placed] = []
    for block, world in enumerate(by_start):
        order[world] = block
        joining[starts[world]] += 1
        first_row = (1 + block) * len(batch)
        for edit in worlds[world]:
            shift = 0 if edit.at.site.name in whole else start
            placed += [_from(item, shift) for item in _place(edit, batch, first_row)]
    return Schedule(len(batch), _by_site(placed), dict(joining), tuple(order))


def _from(placed: Placed, start: int) -> Placed:
    """The edit where tensors begin at position `start`."""
    return replace(placed, within=_shifted(placed.edit.at.site, placed.slices, start)) if start else placed


def join_layer(site: Site, n_layers: int) -> int:
    """The layer at which rows join for an edit at `site`; −1: they are there from the start."""
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
    if not edit.at.slices:
        rows, prompts = slice(first_row, first_row + len(batch)), slice(batch.first, batch.first + len(batch))
        every = (EVERY,) * (len(edit.at.site.axes) - 1)
        yield Placed(edit, rows, prompts, every, addressed=every)
        return
    resolved = [_slices(edit.at, batch, prompt) for prompt in range(len(batch))]
    start = 0
    for prompt in range(1, len(batch) + 1):
        if prompt == len(batch) or resolved[prompt] != resolved[start]:
            rows = slice(first_row + start, first_row + prompt)
            handed, addressed = _handed(edit, resolved[start])
            prompts = slice(batch.first + start, batch.first + prompt)
            yield Placed(edit, rows, prompts, handed, addressed=addressed)
            start = prompt


def _handed(edit: Intervention, slices: tuple[slice, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The slices of what an edit is handed, from those of its part; and its part's in that: see `Intervention.span`."""
    wider = [
        axis in ("pos", "q_pos", "k_pos") and getattr(edit.span, axis) is None and getattr(edit.at, axis) is not None
        for axis in edit.at.site.axes[1:]
    ]
    handed = tuple(slice(None) if wide else item for wide, item in zip(wider, slices, strict=True))
    return handed, tuple(item if wide else slice(None) for wide, item in zip(wider, slices, strict=True))


def _slices(part: Part, batch: TokenBatch, prompt: int) -> tuple[slice, ...]:
    """Slices of the axes after `batch`, in the site's order."""
    slices = []
    for axis in part.site.axes[1:]:
        if axis in ("pos", "q_pos", "k_pos"):
            slices.append(places(getattr(part, axis), batch.side(stack_of(part.site, axis)), prompt, part))
        else:
            slices.append(_index(part, axis))
    return tuple(slices)


def stack_of(site: Site, axis: str) -> str:
    """The stack whose positions an axis counts: the keys of cross-attention are the encoder's."""
    return "encoder" if axis == "k_pos" and site.name.startswith("cross_") else site.stack


def _index(part: Part, axis: str) -> slice:
    """The slice of an axis that does not count positions."""
    fields = {"head": part.head, "kv_head": part.head, "expert": part.expert}
    value = fields.get(axis, part.unit)
    return slice(None) if value is None else slice(value, value + 1)


def places(position: Position | None, batch: TokenBatch, prompt: int, part: Part) -> slice:
    """The positions that an address of `part` means in one prompt. Raises InputError."""
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


def in_window(
    edits: Sequence[Intervention], window: Window, stop: int, whole: frozenset[str] = frozenset()
) -> Schedule:
    """The edits of one step, whose tensors hold positions `window.start` to `stop` of one prompt.

    whole: names of the sites that hold all positions in every step, such as keys read from the cache.
    Positions are absolute; what they say of others than these is left out. "new" is every generated position, a name
    such as "last" the prompt's own. Each query of a pattern is edited over the keys that were there when it first ran,
    so that a step without a cache, which runs all positions again, does what the steps with one did.
    """
    rows, prompts = slice(0, 1), slice(window.prompt, window.prompt + 1)
    placed = [
        Placed(edit, rows, prompts, slices, _shifted(edit.at.site, slices, first), addressed)
        for edit in edits
        for first in [0 if edit.at.site.name in whole else window.start]
        for slices, addressed in (_handed(edit, part) for part in _window_slices(edit.at, window, first, stop))
    ]
    return Schedule(1, _by_site(placed))


def _window_slices(part: Part, window: Window, first: int, stop: int) -> Iterator[tuple[slice, ...]]:
    """Absolute slices of the axes after `batch`, one for each group of queries that had the same keys.

    first: the first position that the tensor holds.
    """
    axes = part.site.axes[1:]
    if part.site.stack != MAIN or (part.site.name.startswith("cross_") and "k_pos" in axes):
        yield from _beside(part, window, first, stop)
        return
    along = part.q_pos if "q_pos" in axes else part.pos
    begin, end = _absolute(along, window, stop)
    spans = [(max(begin, first), min(end, stop))] if "k_pos" not in axes else _by_first_run(begin, end, window, stop)
    for low, high in spans:
        if low >= high:
            continue
        keys = (0, min(max(window.length, high), stop))
        if part.k_pos is not None:
            k_begin, k_end = _absolute(part.k_pos, window, stop)
            keys = (k_begin, min(k_end, keys[1]))
        if keys[0] < keys[1] or "k_pos" not in axes:
            yield tuple(_axis_slice(part, axis, (low, high), keys) for axis in axes)


def _beside(part: Part, window: Window, first: int, stop: int) -> Iterator[tuple[slice, ...]]:
    """Slices of a site along another stack's positions, to which no step adds; its queries may be those of the step."""
    if "q_pos" not in part.site.axes or part.site.stack != MAIN:
        yield _slices(part, window.prompts, window.prompt)
        return
    low, high = _absolute(part.q_pos, window, stop)
    queries = slice(max(low, first), min(high, stop))
    if queries.start < queries.stop:
        others = _slices(replace(part, q_pos=None), window.prompts, window.prompt)
        axes = part.site.axes[1:]
        yield tuple(queries if axis == "q_pos" else item for axis, item in zip(axes, others, strict=True))


def _by_first_run(begin: int, end: int, window: Window, stop: int) -> list[tuple[int, int]]:
    """A span of queries as those of the prompt together, then each generated one alone."""
    whole = (max(begin, window.start), min(end, stop))
    edges = [0, *range(window.length, stop + 1)]
    return [(max(low, whole[0]), min(high, whole[1])) for low, high in pairwise(edges)]


def _axis_slice(part: Part, axis: str, queries: tuple[int, int], keys: tuple[int, int]) -> slice:
    if axis in ("pos", "q_pos"):
        return slice(*queries)
    return slice(*keys) if axis == "k_pos" else _index(part, axis)


def _absolute(position: Position | None, window: Window, stop: int) -> tuple[int, int]:
    """First and one past the last position that an address means. Raises InputError."""
    if position is None:
        return 0, stop
    if position == NEW:
        return window.length, stop
    if isinstance(position, str):
        names = window.prompts.positions
        if position not in names:
            raise InputError(f"no position is called '{position}'.", f"Named positions: {NEW}, {', '.join(names)}.")
        position = names[position][window.prompt]
    return position if isinstance(position, tuple) else (position, position + 1)


def _shifted(site: Site, slices: tuple[slice, ...], start: int) -> tuple[slice, ...]:
    if not start or site.stack != MAIN:
        return slices
    return tuple(
        slice(item.start - start, item.stop - start) if axis in ("pos", "q_pos") else item
        for axis, item in zip(site.axes[1:], slices, strict=True)
    )
