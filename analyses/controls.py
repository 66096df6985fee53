"""Controls: the same edits on parts drawn at random, to say what such an edit does wherever it is made.

A head that was picked may look strong only because any head is. So the edits of an experiment are made again on as many
parts of the same sites, with the same restrictions: other heads, neurons or experts of the same layers, where there are
enough, else of any layer; a part without such an index (an MLP) moves to another layer. No draw touches a part that was
picked, and no two draws are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hooks.model import Instrumented
from hooks.schedule import World
from hooks.sites import Part

CONTROLS = 20
"""How many random parts an analysis compares with, unless told otherwise."""
TRIES = 100
"""How often a part is drawn until it is a new one: with one free head among nine, missing it has odds of 1 in 10⁵."""


def random_worlds(world: World, model: Instrumented, count: int, seed: int) -> tuple[World, ...]:
    """Up to `count` different sets of the same edits on random other parts; fewer where the model has no more."""
    rng = np.random.default_rng(seed)
    found: dict[frozenset[Part], World] = {}
    for anywhere in (False, True):
        for _ in range(4 * count):
            if len(found) < count and (drawn := _draw(world, model, rng, anywhere=anywhere)):
                found.setdefault(frozenset(edit.at for edit in drawn), drawn)
    return tuple(found.values())


def beyond_map(worlds: Sequence[World], model: Instrumented, count: int, seed: int) -> tuple[World, ...]:
    """Up to `count` edits like those of a map, on random parts that are not on it; none where it has every part."""
    rng = np.random.default_rng(seed)
    on_map = list(
        dict.fromkeys(replace(edit.at, pos=None, q_pos=None, k_pos=None) for world in worlds for edit in world)
    )
    found: dict[frozenset[Part], World] = {}
    for _ in range(4 * count):
        like = worlds[int(rng.integers(len(worlds)))]
        if len(found) < count and (drawn := _draw(like, model, rng, anywhere=True, avoid=on_map)):
            found.setdefault(frozenset(edit.at for edit in drawn), drawn)
    return tuple(found.values())


def _draw(
    world: World, model: Instrumented, rng: np.random.Generator, *, anywhere: bool, avoid: Sequence[Part] = ()
) -> World:
    """The edits on other parts; empty where one has no other part to go to."""
    taken, drawn = [*(edit.at for edit in world), *avoid], []
    for edit in world:
        part = _another(edit.at, taken, model, rng, anywhere=anywhere)
        if part is None:
            return ()
        taken.append(part)
        drawn.append(edit.model_copy(update={"at": part}))
    return tuple(drawn)


def _another(
    part: Part, taken: list[Part], model: Instrumented, rng: np.random.Generator, *, anywhere: bool
) -> Part | None:
    """A part like `part` that touches none of `taken`: of its own layer if there is one, unless `anywhere`."""
    site, stack = part.site, model.info.stack(part.site.stack)
    if site.layer is None:
        return None
    layers = [layer for layer in range(stack.n_layers) if replace(site, layer=layer) in model.writable]
    axes = {"head": site.kind.head_axis, "expert": "expert", "unit": site.axes[-1]}
    sizes = {
        field: stack.size(axis, site.name)
        for field, axis in axes.items()
        if axis is not None and getattr(part, field) is not None
    }
    for choice in (layers,) if anywhere or not sizes else ([site.layer], layers):
        for _ in range(TRIES):
            where = replace(site, layer=int(rng.choice(choice)))
            other = replace(part, site=where, **{field: int(rng.integers(size)) for field, size in sizes.items()})
            if not any(_touch(other, one) for one in taken):
                return other
    return None


def _touch(part: Part, other: Part) -> bool:
    """Whether two parts may share a value; positions are not looked at."""
    if part.site != other.site:
        return False
    pairs = ((getattr(part, field), getattr(other, field)) for field in ("head", "expert", "unit"))
    return not any(a is not None and b is not None and a != b for a, b in pairs)
