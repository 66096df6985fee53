"""The map of a patching method: which site of a pair's run, over which axes, restricted to what."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from analyses.bench import Bench
from analyses.grid import Coord
from analyses.maps import CellMap, layers_of, map_of, position_axis, positions_of
from analyses.metric_choice import MetricChoice
from analyses.pairs import CLEAN, Direction
from analyses.phrases import head_in_words, layers_in_words
from hooks.errors import SpecError
from hooks.schedule import stack_of
from hooks.sites import MAIN, SITES, Part, Site
from hooks.spec import Spec

PatchSite = Literal[
    "resid_pre", "resid_mid", "resid_post", "attn_in", "attn_out", "mixer_out", "mlp_in", "mlp_pre", "mlp_up",
    "mlp_post", "mlp_out", "z", "q", "k", "v", "q_rot", "k_rot", "pattern", "router", "cross_q", "cross_k", "cross_v",
    "cross_z", "cross_pattern", "cross_attn_out",
]  # fmt: skip
Axis = Literal["layer", "head", "kv_head", "expert", "unit", "pos", "q_pos", "k_pos"]
POSITIONS = ("pos", "q_pos", "k_pos")


class PatchMap(Spec):
    """direction: what is run, and what is copied in. site: where. stack: of another stack, such as "encoder".

    over: the axes of the map, "layer" among them; an axis of the site that is not named is patched whole. Keys and
    values are counted by key/value head. layers, heads, units, positions: restrict an axis; positions are indices, or
    names that every prompt resolves.
    """

    direction: Direction = "denoising"
    site: PatchSite = "resid_pre"
    stack: str = Field(default=MAIN, exclude_if=lambda stack: stack == MAIN)
    over: tuple[Axis, ...] = ()
    layers: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    units: tuple[int, ...] | None = None
    positions: tuple[int | str, ...] | None = None
    metric: MetricChoice = "logit_diff"
    per_prompt: bool = False

    @model_validator(mode="before")
    @classmethod
    def _axes(cls, given: Any) -> Any:
        given = dict(given)
        kind = SITES.get(str(given.get("site", "resid_pre")))
        if kind is not None:
            usual = ("layer", kind.head_axis or "pos")
            over = given.get("over") or usual
            given["over"] = tuple(_axis_of(kind.axes, name) for name in ([over] if isinstance(over, str) else over))
        return given

    @model_validator(mode="after")
    def _whole(self) -> Self:
        axes = Site(self.site, 0).axes[1:]
        if "layer" not in self.over or len(set(self.over)) != len(self.over):
            raise ValueError('over names each axis once, and "layer" among them, such as ["layer", "pos"]')
        for name in self.over:
            if name != "layer" and name not in _unit_named(axes):
                raise ValueError(f"{self.site} has no axis {name}; its axes are {', '.join(_unit_named(axes))}")
        for field, names in (("heads", ("head", "kv_head")), ("units", ("unit",)), ("positions", POSITIONS)):
            if getattr(self, field) is not None and not set(names) & set(self.over):
                raise ValueError(f"{field} restricts an axis of the map: add it to over")
        return self

    def where_in_words(self) -> str:
        """The cells: "each head of each position of every layer of the encoder"."""
        axes = [axis for axis in self.over if axis != "layer"]
        words = {"pos": "position", "q_pos": "query position", "k_pos": "key position"}
        words["kv_head"] = head_in_words(Site("k", 0))
        named = self.positions is not None and any(isinstance(place, str) for place in self.positions)
        each = [f"each {'named ' if named and axis in POSITIONS else ''}{words.get(axis, axis)} of" for axis in axes]
        layers = "every layer" if self.layers is None else layers_in_words(self.layers)
        stack = "" if self.stack == MAIN else f" of the {self.stack}"
        return f"{' '.join([*each, layers])}{stack}"


def _unit_named(axes: tuple[str, ...]) -> tuple[str, ...]:
    """A site's axes after `batch`, the last one named as addresses name it."""
    return axes if axes[-1] in ("k_pos", "expert") else (*axes[:-1], "unit")


def _axis_of(axes: tuple[str, ...], name: str) -> str:
    """The site's own name of an axis: heads of keys are key/value heads, positions of patterns are queries."""
    if name in ("head", "kv_head"):
        return next((axis for axis in axes if axis in ("head", "kv_head")), name)
    return next((axis for axis in axes if axis in POSITIONS), name) if name == "pos" else name


def cells_of(params: PatchMap, bench: Bench, *, most_units: int) -> CellMap:
    """The parts of the map by coordinates. most_units: the longest map of single units.

    Raises SpecError, SiteMissing, InputError.
    """
    sizes = bench.model.info.stack(params.stack)
    labels: dict[str, tuple[Coord, ...]] = {}
    for axis in params.over:
        if axis == "layer":
            labels[axis] = layers_of(sizes.n_layers, params.layers)
        elif axis in POSITIONS:
            batch = bench.batch(CLEAN).side(stack_of(Site(params.site, 0, params.stack), axis))
            positions = positions_of(batch, params.positions)
            labels[position_axis(axis, positions)] = positions
        else:
            chosen = params.units if axis == "unit" else params.heads if axis != "expert" else None
            whole = Site(params.site, 0).axes[-1] if axis == "unit" else axis
            labels[axis] = tuple(range(sizes.size(whole, params.site))) if chosen is None else chosen
    count = int(np.prod([len(values) for values in labels.values()]))
    if "unit" in labels and count > most_units:
        raise SpecError(f"a map of {count:,} single units is too long.", "Choose fewer layers, or name the units.")
    cells = {place: (_part(params, dict(zip(params.over, place, strict=True))),) for place in product(*labels.values())}
    return map_of(bench.model, cells, tuple(labels))


def _part(params: PatchMap, at: Mapping[str, Any]) -> Part:
    fields = {"head" if axis == "kv_head" else axis: value for axis, value in at.items() if axis != "layer"}
    return Part(Site(params.site, at["layer"], params.stack), **fields)
