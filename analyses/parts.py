"""The parts that a sweep goes over, one per cell of its map, and the axes of that map."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import product
from typing import Literal

from analyses.phrases import listed, query_heads_in_words
from hooks.info import ModelInfo, StackInfo
from hooks.sites import MAIN, Part, Site

Over = Literal["head", "mlp", "attn", "layer", "neuron", "position", "expert"]
HeadSite = Literal["z", "q", "k", "v", "pattern", "cross_z", "cross_pattern"]
WRITES = ("attn_out", "mixer_out", "cross_attn_out", "mlp_out")
"""What a layer may write to the residual stream."""
DIMS: dict[str, tuple[str, ...]] = {
    "head": ("layer", "head"),
    "mlp": ("layer",),
    "attn": ("layer",),
    "layer": ("layer",),
    "neuron": ("layer", "unit"),
    "position": ("layer", "pos"),
    "expert": ("layer", "expert"),
}


def dims_of(over: Over, site: HeadSite) -> tuple[str, ...]:
    """The axes of a sweep's map; keys and values are counted by key/value head."""
    return ("layer", Site(site, 0).kind.head_axis or "head") if over == "head" else DIMS[over]


def parts_of(
    over: Over,
    info: ModelInfo,
    layers: tuple[int, ...],
    width: int,
    site: HeadSite = "z",
    *,
    stack: str = MAIN,
    writable: Collection[Site] | None = None,
) -> dict[tuple[int, ...], tuple[Part, ...]]:
    """The parts that each cell of a sweep over a stack removes, by the cell's coordinates. Raises SiteMissing.

    writable: what a model lets be edited, which says what a layer writes; without it, attention and an MLP.
    """

    def whole(layer: int, pos: int | None = None) -> tuple[Part, ...]:
        sites = [Site(name, layer, stack) for name in (WRITES if writable is not None else WRITES[::3])]
        return tuple(Part(site, pos=pos) for site in sites if writable is None or site in writable)

    sizes = info.stack(stack)
    if over == "head":
        heads = range(sizes.size(dims_of(over, site)[1]))
        return {(la, h): (Part(Site(site, la, stack), head=h),) for la, h in product(layers, heads)}
    if over == "expert":
        experts = range(sizes.n_experts)
        return {(la, e): (Part(Site("router", la, stack), expert=e),) for la, e in product(layers, experts)}
    if over == "neuron":
        units = range(sizes.d_mlp)
        return {(la, u): (Part(Site("mlp_post", la, stack), unit=u),) for la, u in product(layers, units)}
    if over == "position":
        return {(la, pos): whole(la, pos) for la, pos in product(layers, range(width))}
    if over == "layer":
        return {(la,): whole(la) for la in layers}
    return {(la,): (Part(Site(f"{over}_out", la, stack)),) for la in layers}


def sharing_in_words(kv_heads: Iterable[int], info: StackInfo) -> str:
    """Which query heads read these key/value heads, as the end of a sentence; "" for none."""
    phrases = [f"key/value head {head} serves {query_heads_in_words(head, info.group)}" for head in kv_heads]
    return f"; {listed(phrases, len(phrases))}" if phrases else ""
