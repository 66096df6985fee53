"""CapturePlan: which sites of a run to keep, and how many bytes that takes."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import TYPE_CHECKING

from hooks.info import ModelInfo
from hooks.sites import SITES, Site
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
        """A plan from addresses; `L*.z` means z at every layer. Raises SpecError, SiteMissing."""
        starred = {str(text).removeprefix("L*.") for text in texts if str(text).startswith("L*.")}
        for name in starred:
            Site(name, 0)
        sites = {
            text if isinstance(text, Site) else Site.parse(text) for text in texts if not str(text).startswith("L*.")
        }
        return cls(sites=frozenset(sites), everywhere=frozenset(starred))

    def resolve(self, info: ModelInfo) -> CapturePlan:
        """The plan with layers named and checked. Raises SiteMissing."""
        sites = set(self.sites) | {Site(name, layer) for name in self.everywhere for layer in range(info.n_layers)}
        for site in sites:
            info.check_site(site)
        return CapturePlan(sites=frozenset(sites))

    def bytes(self, info: ModelInfo, batch: TokenBatch, rows: int | None = None) -> int:
        """Bytes that the captures of `batch` (or of `rows` rows of its length) will take, before anything runs."""
        lengths = {"batch": batch.ids.shape[0] if rows is None else rows}
        lengths |= dict.fromkeys(("pos", "q_pos", "k_pos"), batch.ids.shape[1])
        per_value = BYTES.get(info.dtype, 4)
        return per_value * sum(
            prod(lengths.get(axis) or info.size(axis) for axis in site.axes) for site in self.resolve(info).sites
        )


def expand(sites: Iterable[str], info: ModelInfo) -> list[Site]:
    """Addresses, starred ones included, as sorted sites."""
    return sorted(CapturePlan.of(*sites).resolve(info).sites)


def all_sites(info: ModelInfo) -> CapturePlan:
    """Every site that a model of this plan could have."""
    layered = frozenset(name for name, kind in SITES.items() if kind.scope == "layer")
    single = frozenset(Site(name) for name, kind in SITES.items() if kind.scope == "model")
    return CapturePlan(sites=single, everywhere=layered).resolve(info)
