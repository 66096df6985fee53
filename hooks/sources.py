"""What edits copy from: activations of other inputs, and their means."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from hooks.activations import Activations
from hooks.errors import InputError
from hooks.schedule import Placed
from hooks.sites import Site
from hooks.tokens import TokenBatch


class Sources:
    """Captured activations by input name, checked against the batch that is run."""

    def __init__(self, captured: Mapping[str, Activations], batch: TokenBatch) -> None:
        self._captured = dict(captured)
        self._batch = batch

    def of(self, name: str) -> Activations:
        if name not in self._captured:
            raise InputError(
                f"an edit copies from input '{name}', which is not given.", f'Add "inputs": {{"{name}": …}}.'
            )
        return self._captured[name]

    def paired(self, name: str, site: Site) -> Tensor:
        """The site in the run on `name`, prompt by prompt. Raises InputError unless prompts pair up token by token."""
        other = self.of(name)
        here, there = self._batch.side(site.stack).lengths, other.batch.side(site.stack).lengths
        if here != there:
            pairs = zip(here, there, strict=False)
            n, (ours, theirs) = next(((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1]), (0, (0, 0)))
            detail = (
                f"prompt {n} has {ours} tokens here and {theirs} there"
                if ours != theirs
                else f"{len(self._batch)} prompts here and {len(other.batch)} there"
            )
            raise InputError(
                f"cannot patch from '{name}' position by position: {detail}.", "Pair prompts of equal length."
            )
        return other[site]

    def mean(self, name: str, site: Site, over: str) -> Tensor:
        """The site's mean, with a batch axis of 1 (and a position axis of 1 when `over` is "positions")."""
        means, key = self.of(name).means, (site, over)
        self._check_mean(name, site, over)
        if key not in means:
            means[key] = self._compute_mean(name, site, over)
        return means[key]

    def _check_mean(self, name: str, site: Site, over: str) -> None:
        batch = self.of(name).batch.side(site.stack)
        if over == "prompts":
            if len(batch) == 1:
                raise InputError(
                    f"the mean over prompts of '{name}' is the value itself: it has one prompt.",
                    "Take the mean over positions, or give several prompts.",
                )
            lengths = {*batch.lengths, *self._batch.side(site.stack).lengths}
            if len(lengths) > 1:
                raise InputError(
                    f"the mean at each position needs prompts of equal length; '{name}' and the prompts that are run "
                    f"have {min(lengths)} to {max(lengths)} tokens.",
                    "Use prompts of equal length, or the mean over prompts and positions together.",
                )
        elif "pos" not in site.axes:
            raise InputError(f"the mean over positions is not defined for {site}.", "Use the mean over prompts.")

    def _compute_mean(self, name: str, site: Site, over: str) -> Tensor:
        reference = self.of(name)
        values, batch = reference[site].float(), reference.batch.side(site.stack)
        if over == "prompts":
            return values.mean(dim=0, keepdim=True)
        mask = batch.mask.to(values.device).reshape(*batch.mask.shape, *[1] * (values.ndim - 2)).float()
        return (values * mask).sum(dim=(0, 1), keepdim=True) / mask.sum()


class PartContext:
    """The answers that one placed edit gets: the addressed part of sources and means."""

    def __init__(self, placed: Placed, sources: Sources, like: Tensor) -> None:
        self._placed, self._sources, self._like = placed, sources, like

    def source(self, name: str) -> Tensor:
        values = self._sources.paired(name, self._placed.edit.at.site)
        self._check_length(name, values)
        return values[(self._placed.prompts, *self._placed.slices)].to(self._like.device)

    def mean(self, name: str, over: str) -> Tensor:
        values = self._sources.mean(name, self._placed.edit.at.site, over)
        if over == "prompts":
            self._check_length(name, values)
        slices = self._placed.slices if over == "prompts" else (slice(None), *self._placed.slices[1:])
        return torch.as_tensor(values[(slice(None), *slices)], device=self._like.device)

    def _check_length(self, name: str, values: Tensor) -> None:
        """Raises InputError where an edit of a generated position copies from an input that has no such position."""
        site = self._placed.edit.at.site
        for axis, item, size in zip(site.axes[1:], self._placed.slices, values.shape[1:], strict=True):
            if axis in ("pos", "q_pos", "k_pos") and item.stop is not None and item.stop > size:
                raise InputError(
                    f"{self._placed.edit.at}: '{name}' has {size} tokens, so nothing to copy to generated ones.",
                    f"Address the prompt's positions, such as pos=0:{size}.",
                )
