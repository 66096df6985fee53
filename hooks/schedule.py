"""Placing edits on the rows of a batch: which rows, which slice of a site, at which layer a world begins.

The rows of a batch are independent worlds. Rows [0, batch) are the clean prompts. Each further world is one set of
edits; it owns one row per prompt, and joins the batch at the layer of its first edit by copying the clean rows there,
so that nothing before an edit is computed twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from torch import Tensor
from transformers import Cache

from hooks.errors import InputError
from hooks.interventions import Intervention
from hooks.interventions.base import EditContext
from hooks.sites import SITES, Part, Position, Site
from hooks.tokens import TokenBatch

World = tuple[Intervention, ...]
# The named position that stands for every generated token, in a continuation.
NEW = "new"
# Sites that hold the keys of all positions whenever attention runs, those read from a cache included.
WHOLE_POS = frozenset({"k_rot"})


@dataclass(frozen=True)
class Placed:
    """One edit on some rows: `rows` of the batch, the `prompts` they belong to, and the slices of the other axes.

    Prompts are numbered in the whole batch, of which the rows at hand may be a part.

    within: the same slices in the tensor at hand, where that holds only the last positions of its prompt.
    """

    edit: Intervention
    rows: slice
    prompts: slice
    slices: tuple[slice, ...]
    within: tuple[slice, ...] | None = None

    def apply(self, view: Tensor, context: Callable[[Placed], EditContext]) -> None:
        """Write the edited value into `view`, a tensor with the site's axes."""
        index = (self.rows, *(self.slices if self.within is None else self.within))
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


def in_worlds(batch: TokenBatch, worlds: Sequence[World], n_layers: int, *, joins: bool = True) -> Schedule:
    """Each world beside the clean prompts, in rows of its own. joins: rows may begin at the layer of the first edit."""
    last = n_layers - 1 if joins else -1
    starts = [
        min((_join_layer(edit.at.site, n_layers) if joins else -1 for edit in world), default=last) for world in worlds
    ]
    by_start = sorted(range(len(worlds)), key=lambda world: starts[world])
    order = [0] * len(worlds)
    joining: dict[int, int] = defaultdict(int)
    placed: list[Placed] = []
    for block, world in enumerate(by_start):
        order[world] = block
        joining[starts[world]] += 1
        first_row = (1 + block) * len(batch)
        placed += [item for edit in worlds[world] for item in _place(edit, batch, first_row)]
    return Schedule(len(batch), _by_site(placed), dict(joining), tuple(order))


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
            yield Placed(edit, rows, slice(batch.first + start, batch.first + prompt), resolved[start])
            start = prompt


def _slices(part: Part, batch: TokenBatch, prompt: int) -> tuple[slice, ...]:
    """Slices of the axes after `batch`, in the site's order."""
    slices = []
    for axis in part.site.axes[1:]:
        if axis in ("pos", "q_pos", "k_pos"):
            slices.append(_span(getattr(part, axis), batch.side(stack_of(part.site, axis)), prompt, part))
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


def in_window(edits: Sequence[Intervention], window: Window, stop: int) -> Schedule:
    """The edits of one step, whose tensors hold positions `window.start` to `stop` of one prompt.

    Positions are absolute; what they say of others than these is left out. "new" is every generated position, a name
    such as "last" the prompt's own. Each query of a pattern is edited over the keys that were there when it first ran,
    so that a step without a cache, which runs all positions again, does what the steps with one did.
    """
    rows, prompts = slice(0, 1), slice(window.prompt, window.prompt + 1)
    placed = [
        Placed(edit, rows, prompts, slices, _shifted(edit.at.site, slices, window.start))
        for edit in edits
        for slices in _window_slices(edit.at, window, stop)
    ]
    return Schedule(1, _by_site(placed))


def _window_slices(part: Part, window: Window, stop: int) -> Iterator[tuple[slice, ...]]:
    """Absolute slices of the axes after `batch`, one for each group of queries that had the same keys."""
    axes = part.site.axes[1:]
    first = 0 if part.site.name in WHOLE_POS else window.start
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
    if not start or site.name in WHOLE_POS:
        return slices
    return tuple(
        slice(item.start - start, item.stop - start) if axis in ("pos", "q_pos") else item
        for axis, item in zip(site.axes[1:], slices, strict=True)
    )
