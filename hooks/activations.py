"""Activations: what a run captured, by site."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from hooks.errors import SiteMissing
from hooks.sites import Site

if TYPE_CHECKING:
    from hooks.tokens import TokenBatch


class Activations(Mapping[Site, Tensor]):
    """Captured tensors by site; each has the axes of its site, and a row per prompt of `batch`."""

    def __init__(self, values: Mapping[Site, Tensor], batch: TokenBatch) -> None:
        self._values = dict(values)
        self.batch = batch
        # Means that edits have asked for, kept here so that many forwards share them: see `hooks.sources`.
        self.means: dict[tuple[Site, str], Tensor] = {}

    def __getitem__(self, site: Site | str) -> Tensor:
        wanted = Site.parse(site) if isinstance(site, str) else site
        if (value := self._values.get(wanted)) is None:
            close = difflib.get_close_matches(str(wanted), map(str, self._values), n=3)
            raise SiteMissing(f"{wanted} was not captured.", f"Captured: {', '.join(close) or len(self._values)}.")
        return value

    def __contains__(self, site: object) -> bool:
        return (Site.parse(site) if isinstance(site, str) else site) in self._values

    def __iter__(self) -> Iterator[Site]:
        return iter(sorted(self._values))

    def __len__(self) -> int:
        return len(self._values)

    @staticmethod
    def axes(site: Site) -> tuple[str, ...]:
        """Axis names of a site's array, in order."""
        return site.axes
