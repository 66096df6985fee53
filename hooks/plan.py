"""CapturePlan: which sites of a run to keep, and how many bytes that takes."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import TYPE_CHECKING

from hooks.info import ModelInfo
from hooks.schedule import stack_of
from hooks.sites import MAIN, SITES, Site
from hooks.spec import Spec

if TYPE_CHECKING:
    from hooks.tokens import TokenBatch

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "float64": 8}


class CapturePlan(Spec):
    """The sites to keep. `everywhere`: per-layer sites wanted at every layer, until `resolve` names the layers."""

    sites: frozenset[Site] = frozenset()
    everywhere: frozenset[str] = frozenset()

    @classmethod
    def of(cls, *texts: str | Site) -> CapturePlan:
        """A plan from addresses; `L*.z`, `encoder.L*.z` mean z at every layer. Raises SpecError, SiteMissing."""
        starred = {str(text).replace("L*.", "") for text in texts if "L*." in str(text)}
        for name in starred:
            Site(name.rpartition(".")[2], 0)
        sites = {text if isinstance(text, Site) else Site.parse(text) for text in texts if "L*." not in str(text)}
        return cls(sites=frozenset(sites), everywhere=frozenset(starred))

    def resolve(self, info: ModelInfo) -> CapturePlan:
        """The plan with layers named and checked. Raises SiteMissing."""
        sites = set(self.sites)
        for text in self.everywhere:
            stack, _, name = text.rpartition(".")
            layers = range(info.stack(stack or MAIN).n_layers)
            sites |= {Site(name, layer, stack or MAIN) for layer in layers}
        for site in sites:
            info.check_site(site)
        return CapturePlan(sites=frozenset(sites))

    def bytes(self, info: ModelInfo, batch: TokenBatch, rows: int | None = None) -> int:
        """Bytes that the captures of `batch` (or of `rows` rows of its length) will take, before anything runs."""
        n_rows = batch.ids.shape[0] if rows is None else rows

        def length(site: Site, axis: str) -> int:
            if axis in ("pos", "q_pos", "k_pos"):
                return int(batch.side(stack_of(site, axis)).ids.shape[1])
            if axis == "batch":
                return n_rows
            return info.d_vocab if axis == "d_vocab" else info.stack(site.stack).size(axis, site.name)

        per_value = BYTES.get(info.dtype, 4)
        return per_value * sum(prod(length(site, axis) for axis in site.axes) for site in self.resolve(info).sites)


def expand(sites: Iterable[str], info: ModelInfo) -> list[Site]:
    """Addresses, starred ones included, as sorted sites."""
    return sorted(CapturePlan.of(*sites).resolve(info).sites)


def all_sites(info: ModelInfo) -> CapturePlan:
    """Every site that a model of this plan could have."""
    sites = {Site("logits")}
    for stack in (MAIN, *info.stacks):
        layers = range(info.stack(stack).n_layers)
        for name, kind in SITES.items():
            if kind.scope == "layer":
                sites |= {Site(name, layer, stack) for layer in layers}
            elif name != "logits":
                sites.add(Site(name, None, stack))
    return CapturePlan(sites=frozenset(sites))
