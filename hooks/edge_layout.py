"""What the axes of an edge mask mean, and what everything is when all edges are cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Bool
from torch import Tensor

from hooks.sites import Site


@dataclass(frozen=True)
class _Numbered:
    """Ends of edges at one site, numbered from `first` on."""

    site: Site
    first: int
    count: int

    @property
    def numbers(self) -> slice:
        return slice(self.first, self.first + self.count)


@dataclass(frozen=True)
class Writers(_Numbered):
    """Writers of one site: those numbered from `first`, the heads of `z`, or one. The embedding is L0.resid_pre."""


@dataclass(frozen=True)
class Readers(_Numbered):
    """Readers of one site: those numbered from `first`; one per query head, one per key/value head, or one for all."""


@dataclass(frozen=True)
class Layout:
    """What the axes of a mask [writer reader] mean. heard: how many writers, from the first on, each reader hears.

    heads: query heads of a layer; group: how many of them share a key/value head.
    """

    writers: tuple[Writers, ...]
    readers: tuple[Readers, ...]
    heard: tuple[int, ...]
    heads: int
    group: int

    def shares(self, reader: Readers) -> bool:
        """Whether these are keys or values of query heads of which several share one."""
        return reader.site.name in ("k", "v") and self.group > 1 and reader.count == self.heads

    def disagreeing(self, kept: Bool[Tensor, "world writer reader"]) -> frozenset[int]:
        """Layers where query heads that share a key/value head keep different edges into their keys or values."""
        found: set[int] = set()
        for reader in self.readers:
            if self.shares(reader):
                columns = kept[:, :, reader.numbers].unflatten(2, (-1, self.group))
                if reader.site.layer is not None and bool((columns != columns[..., :1]).any()):
                    found.add(reader.site.layer)
        return frozenset(found)

    def writing(self, readers: Bool[Tensor, " reader"]) -> frozenset[Site]:
        """The sites of the writers that write anew where these readers read anew: attention's, and the MLP's."""
        layers = {(part.site.layer, part.site.name == "mlp_in") for part in self.readers
                  if part.site.name != "resid_post" and bool(readers[part.numbers].any())}  # fmt: skip
        written = self.writers[1:]
        return frozenset(part.site for part in written if (part.site.layer, part.site.name == "mlp_out") in layers)


@dataclass(frozen=True, eq=False)
class Ablated:
    """What everything is when all edges are cut, by site: [row pos …], where row may be 1 for all and pos 1 for all.

    written: the values of writers. streams: the stream, by the site that readers read. read: the values of readers.
    """

    written: Mapping[Site, Tensor]
    streams: Mapping[Site, Tensor]
    read: Mapping[Site, Tensor]

    def behind(self, start: int) -> Ablated:
        """The same at the positions from `start` on. Every value must have all positions."""
        values = (self.written, self.streams, self.read)
        return Ablated(*({site: value[:, start:] for site, value in held.items()} for held in values))


@dataclass(eq=False)
class Memory:
    """What a run of one mask has shown: each writer's change from its ablated value, what readers were handed, and
    what the modules of attention and MLPs gave, by path.
    """

    changes: dict[Site, Tensor] = field(default_factory=dict)
    read: dict[Site, Tensor] = field(default_factory=dict)
    gave: dict[str, Any] = field(default_factory=dict)
