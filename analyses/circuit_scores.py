"""Scores of edges from what writers changed and from the slopes of the metric where readers read: tensor maths alone.

    score(u → v) = Σ_{positions, width} (out_u of the clean run − out_u of the ablated run) · ∂M/∂in_v

in_v is the residual stream as v alone reads it. Its slope comes from the one at v's q, k, v or MLP input, led back
through the projection and the norm. No loop runs over edges: the readers of a layer meet all writers before them in one
product, for so many positions at a time that what is held stays within a byte budget.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from analyses.circuit import LOGITS, Graph
from hooks.activations import Activations
from hooks.reads import OUTPUT, Reads
from hooks.sites import Part, Site

BLOCK_BYTES = 32 << 20
"""What the writes and slopes of the positions that are treated at a time may take."""
READERS_TOGETHER = 64


@dataclass(frozen=True, eq=False)
class Slopes:
    """Derivatives of the metric by the sites of readers, and the streams that they read there.

    Both have rows [points * prompts …]: the points of a path that slopes are averaged over, of each all prompts.
    """

    grads: Activations
    streams: Activations
    points: int = 1


@lru_cache(maxsize=8)
def writer_sites(graph: Graph, present: frozenset[Site]) -> dict[Site, tuple[int, ...]]:
    """The sites that hold what each node writes, with the places in `graph.writers` of their heads or of the whole.

    Position embeddings are written by the same node as token embeddings, so two sites may share a place.
    """
    found: dict[Site, list[int]] = {}
    for place, text in enumerate(graph.writers):
        found.setdefault(Part.parse(text).site, []).append(place)
    if (learned := Site("pos_embed")) in present:
        found[learned] = [0]
    return {site: tuple(places) for site, places in found.items()}


@lru_cache(maxsize=8)
def reader_sites(graph: Graph) -> dict[Site, tuple[int, ...]]:
    """The sites at which the slopes of readers are taken, with the places in `graph.readers` of their heads."""
    found: dict[Site, list[int]] = {}
    for place, reader in enumerate(graph.readers):
        layer = Part.parse(reader.target).site.layer
        name = "mlp_in" if reader.channel == "in" else reader.channel
        found.setdefault(Site(OUTPUT) if reader.target == LOGITS else Site(name, layer), []).append(place)
    return {site: tuple(places) for site, places in found.items()}


def shared_sites(graph: Graph) -> tuple[Site, ...]:
    """The k and v whose slopes are wanted once per query head that shares them."""
    if graph.keys == "kv_head" or graph.info.group == 1:
        return ()
    layers = [layer for layer in range(graph.info.n_layers) if layer not in graph.whole]
    return tuple(Site(name, layer) for layer in layers for name in ("k", "v"))


def changes(
    clean: Activations, ablated: Activations | None, sites: Sequence[Site], mask: Float[Tensor, "prompt pos"]
) -> dict[Site, Tensor]:
    """clean − ablated at each site, 0 at padding. ablated: None where what is ablated writes nothing."""
    found = {}
    for site in sites:
        value = clean[site].float()
        value = value if ablated is None else value - ablated[site].float()
        real = mask.to(value.device).reshape(*mask.shape, *[1] * (value.ndim - 2)).bool()
        found[site] = torch.where(real, value, 0.0)
    return found


def node_scores(
    graph: Graph, change: dict[Site, Tensor], grads: Activations, points: int = 1
) -> Float[Tensor, "prompt writer"]:
    """Σ change · mean slope over the points, of each node's own output."""
    sites = writer_sites(graph, frozenset(change))
    first = next(iter(change.values()))
    found = first.new_zeros(len(first), len(graph.writers))
    for site, places in sites.items():
        if site in grads:
            slope = grads[site].float().unflatten(0, (points, -1)).mean(0)
            effect = (change[site] * slope).sum((1, -1)).reshape(len(first), -1)
            found[:, list(places)] += effect
    return found


def edge_scores(
    reads: Reads, graph: Graph, change: dict[Site, Tensor], slopes: Slopes
) -> Float[Tensor, "prompt writer reader"]:
    """Every edge's score for each prompt, 0 where there is no edge. change: at writers, which may be some of them."""
    first = next(iter(change.values()))
    found = first.new_zeros(len(first), len(graph.readers), len(graph.writers))
    sites = {site: places for site, places in writer_sites(graph, frozenset(change)).items() if site in change}
    written = sorted({place for places in sites.values() for place in places})
    for block in _blocks(graph, first, len(written), slopes.points):
        writes = _writes(reads, {site: change[site][:, block] for site in sites}, sites, written, graph.info.d_model)
        for readers, slope in _many(_stream_slopes(reads, graph, slopes, block)):
            count = bisect_left(written, int(graph.heard[readers].max()))
            if count:
                found[:, readers, written[:count]] += torch.matmul(slope, writes[:, :count].transpose(1, 2))
    return torch.where(torch.from_numpy(graph.allowed).to(found.device), found.transpose(1, 2), 0.0)


def _many(slopes: Iterator[tuple[slice, Tensor]]) -> Iterator[tuple[slice, Tensor]]:
    """Readers that follow each other joined, since a product with few of them is slow."""
    held: list[tuple[slice, Tensor]] = []
    for readers, slope in slopes:
        held.append((readers, slope))
        if readers.stop - held[0][0].start >= READERS_TOGETHER:
            yield _one(held)
            held = []
    if held:
        yield _one(held)


def _one(held: Sequence[tuple[slice, Tensor]]) -> tuple[slice, Tensor]:
    return slice(held[0][0].start, held[-1][0].stop), torch.cat([slope for _, slope in held], dim=1)


def _blocks(graph: Graph, like: Tensor, n_writers: int, points: int) -> Iterator[slice]:
    """Spans of positions of which all writes, and the slopes of a layer's readers, fit the budget."""
    rows, width = like.shape[:2]
    most = 3 * graph.info.n_heads + 1 + READERS_TOGETHER
    each = 4 * rows * graph.info.d_model * (n_writers + most * (2 * points + 1))
    step = max(1, BLOCK_BYTES // each)
    for start in range(0, width, step):
        yield slice(start, min(width, start + step))


def _writes(
    reads: Reads, change: dict[Site, Tensor], sites: dict[Site, tuple[int, ...]], written: Sequence[int], d_model: int
) -> Float[Tensor, "row writer pos*d_model"]:
    """What each writer adds to the stream, clean less ablated."""
    first, rank = next(iter(change.values())), {place: number for number, place in enumerate(written)}
    found = first.new_zeros(len(first), len(written), first.shape[1], d_model)
    for site, places in sites.items():
        heads = site.name == "z"
        each = reads.written_each(site, change[site], range(len(places))) if heads else change[site][None]
        found[:, rank[places[0]] : rank[places[-1]] + 1] += each.transpose(0, 1)
    return found.flatten(2)


def _stream_slopes(
    reads: Reads, graph: Graph, slopes: Slopes, block: slice
) -> Iterator[tuple[slice, Float[Tensor, "row reader pos*d_model"]]]:
    """The readers that hear the same stream, and their slopes by it, averaged over the points."""
    together: dict[tuple[Site, str], list[Site]] = {}
    places = reader_sites(graph)
    for site in places:
        reader = reads.reader(site)
        together.setdefault((reader.stream, reader.norm), []).append(site)
    for (stream, _), sites in together.items():
        at = slopes.streams[stream][:, block].float()
        normed = torch.cat([_by_reader(reads, graph, site, slopes.grads[site][:, block]) for site in sites], dim=2)
        led = reads.to_stream(sites[0], at, normed.movedim(2, 0), block)
        mean = led.float().unflatten(1, (slopes.points, -1)).mean(1) if slopes.points > 1 else led.float()
        ours = [place for site in sites for place in places[site]]
        yield slice(ours[0], ours[-1] + 1), mean.transpose(0, 1).flatten(2)


def _by_reader(reads: Reads, graph: Graph, site: Site, slope: Tensor) -> Float[Tensor, "row pos reader d_model"]:
    """Slopes by what a site's projection is given, of each reader there."""
    normed = reads.to_normed(site, slope.float())
    whole = site.name in ("q", "k", "v") and site.layer in graph.whole
    return normed.sum(2, keepdim=True) if whole else normed
