"""What edits draw on: activations of other inputs, their means, named vectors, and random draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from hooks import draws
from hooks.activations import Activations
from hooks.errors import InputError, SpecError
from hooks.interventions.base import Vector
from hooks.schedule import Placed, stack_of
from hooks.sites import Part, Site
from hooks.tokens import TokenBatch

VECTOR = "vector:"
"""Begins the name under which a named vector stands among the sources."""


def as_source(vector: Tensor, site: Site) -> Activations:
    """A vector with the axes of `site` after the position, as it stands among the sources: one for all rows."""
    nobody = torch.zeros(1, 1, dtype=torch.int64)
    row = TokenBatch(nobody, nobody == 0, nobody == 1, (("",),), (1,), {"last": (0,)})
    return Activations({site: vector[None, None]}, row)


class Sources:
    """Captured activations by input name, checked against the batch that is run.

    embedding_sd: gives the standard deviation of the model's token embeddings. What is drawn or moved to a device is
    kept for the edits of one forward.
    """

    def __init__(
        self, captured: Mapping[str, Activations], batch: TokenBatch, embedding_sd: Callable[[], Tensor] | None = None
    ) -> None:
        self._captured, self._batch, self._embedding_sd = dict(captured), batch, embedding_sd
        self._noise: dict[tuple[int, Site, int], Tensor] = {}
        self._orders: dict[tuple[str, int | None], Tensor] = {}
        self._numbers: dict[tuple[float, ...], Tensor] = {}

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

    def partners(self, name: str, seed: int, device: torch.device) -> Tensor:
        """[prompt]: for each of our prompts, the number of the prompt of `name` that was drawn for it."""
        if (name, seed) not in self._orders:
            self._orders[name, seed] = _index(draws.partners(self._batch, self.of(name).batch, name, seed), device)
        return self._orders[name, seed].to(device)

    def length(self, site: Site, axis: str, prompts: slice) -> int:
        """The tokens, along a position axis, of the shortest of some prompts that are run."""
        return min(self._batch.side(stack_of(site, axis)).lengths[prompts])

    def noise(self, seed: int, site: Site, prompt: int, stop: int, like: Tensor) -> Tensor:
        """[pos, …] standard normal numbers of one prompt, at least up to position `stop`, on the device of `like`."""
        key = (seed, site, prompt)
        if key not in self._noise or len(self._noise[key]) < stop:
            length = max(stop, self.length(site, site.axes[1], slice(prompt, prompt + 1)))
            drawn = torch.from_numpy(draws.noise(seed, site, prompt, length, like.shape[2:]))
            self._noise[key] = drawn.to(like.device, non_blocking=True)
        return self._noise[key]

    def vector(self, vector: Vector, site: Site, like: Tensor) -> Tensor:
        """A vector with the last axis of the site, or with its head axis too. Raises InputError for an unknown name."""
        if isinstance(vector, str):
            if VECTOR + vector not in self._captured:
                raise InputError(
                    f"no vector is called '{vector}'.",
                    f'Add "vectors": {{"{vector}": …}} to the experiment, or write its numbers.',
                )
            return self._captured[VECTOR + vector][site][0, 0].to(like.device)
        if vector not in self._numbers:
            self._numbers[vector] = torch.tensor(vector).to(like.device, non_blocking=True)
        return self._numbers[vector].to(like.device)

    def embedding_sd(self) -> Tensor:
        if self._embedding_sd is None:
            raise InputError("the embeddings of the model are not at hand.", "Give the noise its own sd.")
        return self._embedding_sd()

    def mean(self, name: str, site: Site, over: str, prompts: slice) -> Tensor:
        """The site's mean, with a batch axis of 1 (and a position axis of 1 when `over` is "positions").

        Within templates the batch axis has the prompts that are run.
        """
        means, key = self.of(name).means, (site, over)
        if over == "template":
            self._check_templates(name, site)
        else:
            self._check_mean(name, site, over)
        if key not in means:
            means[key] = self._compute_mean(name, site, over)
        if over != "template":
            return means[key]
        if (name, None) not in self._orders:
            known = _templates(self.of(name).batch)
            places = [known.index(template) for template in self._batch.templates]
            self._orders[name, None] = _index(places, means[key].device)
        return means[key].index_select(0, self._orders[name, None][prompts].to(means[key].device))

    def _check_mean(self, name: str, site: Site, over: str) -> None:
        batch = self.of(name).batch.side(site.stack)
        if over == "prompts":
            if len(batch) == 1:
                raise _itself(f"the mean over prompts of '{name}'", "it has one prompt")
            lengths = {*batch.lengths, *self._batch.side(site.stack).lengths}
            if len(lengths) > 1:
                raise InputError(
                    f"the mean at each position needs prompts of equal length; '{name}' and the prompts that are run "
                    f"have {min(lengths)} to {max(lengths)} tokens.",
                    "Use prompts of equal length, or the mean over prompts and positions together.",
                )
        elif "pos" not in site.axes:
            raise InputError(f"the mean over positions is not defined for {site}.", "Use the mean over prompts.")

    def _check_templates(self, name: str, site: Site) -> None:
        other = self.of(name).batch
        for batch, whose in ((self._batch, "the input that is run"), (other, f"'{name}'")):
            if not batch.templates:
                raise InputError(
                    f"the mean within templates needs them: {whose} names none.",
                    'Give "templates", one per prompt, or take the mean over prompts.',
                )
        here, there = (dict[str, set[int]](), dict[str, list[int]]())
        for template, length in zip(self._batch.templates, self._batch.side(site.stack).lengths, strict=True):
            here.setdefault(template, set()).add(length)
        for template, length in zip(other.templates, other.side(site.stack).lengths, strict=True):
            there.setdefault(template, []).append(length)
        for template, lengths in here.items():
            if template not in there:
                raise InputError(f"'{name}' has no prompt of template '{template}'.", f"It has {', '.join(there)}.")
            if len(there[template]) == 1:
                raise _itself(f"the mean of '{name}' within template '{template}'", "it has one such prompt")
            if len(every := {*lengths, *there[template]}) > 1:
                raise InputError(
                    f"the mean within template '{template}' needs prompts of equal length; those of '{name}' and those "
                    f"that are run have {min(every)} to {max(every)} tokens.",
                    "Name templates of different length apart.",
                )

    def _compute_mean(self, name: str, site: Site, over: str) -> Tensor:
        reference = self.of(name)
        values, batch = reference[site].float(), reference.batch.side(site.stack)
        if over == "prompts":
            return values.mean(dim=0, keepdim=True)
        if over == "template":
            of = reference.batch.templates
            rows = [[n for n, other in enumerate(of) if other == one] for one in _templates(reference.batch)]
            return torch.stack([values[members].mean(dim=0) for members in rows])
        mask = batch.mask.to(values.device).reshape(*batch.mask.shape, *[1] * (values.ndim - 2)).float()
        return (values * mask).sum(dim=(0, 1), keepdim=True) / mask.sum()


def _templates(batch: TokenBatch) -> list[str]:
    """The templates of a batch, each once."""
    return sorted(set(batch.templates))


def _itself(mean: str, why: str) -> InputError:
    return InputError(f"{mean} is the value itself: {why}.", "Take the mean over positions, or give several prompts.")


def _index(rows: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor(rows).to(device, non_blocking=True)


class Rereader(Protocol):
    """See `hooks.rereading.Rereading`."""

    def part(self, placed: Placed, writers: Sequence[Part], source: str) -> Tensor:
        """The placed part, computed anew with other writes."""


class PartContext:
    """The answers that one placed edit gets: the addressed part of sources, means, vectors and draws."""

    def __init__(self, placed: Placed, sources: Sources, like: Tensor, again: Rereader | None = None) -> None:
        self._placed, self._sources, self._like, self._again = placed, sources, like, again
        self._site = placed.edit.at.site

    @property
    def addressed(self) -> tuple[slice, ...]:
        return (slice(None), *self._placed.addressed)

    def source(self, name: str) -> Tensor:
        values = self._sources.paired(name, self._site)
        self._check_length(name)
        return values[(self._placed.prompts, *self._placed.slices)].to(self._like.device)

    def resampled(self, name: str, seed: int) -> Tensor:
        values = self._sources.of(name)[self._site]
        taken = self._sources.partners(name, seed, values.device)[self._placed.prompts]
        self._check_length(name)
        part = self._as_wide(values)[(slice(None), *self._placed.slices)]
        return part.index_select(0, taken).to(self._like.device)

    def mean(self, name: str, over: str) -> Tensor:
        values = self._sources.mean(name, self._site, over, self._placed.prompts)
        if over == "positions":
            return values[(slice(None), slice(None), *self._placed.slices[1:])].to(self._like.device)
        self._check_length(name)
        return self._as_wide(values)[(slice(None), *self._placed.slices)].to(self._like.device)

    def noise(self, seed: int) -> Tensor:
        stop = self._placed.slices[0].stop or self._like.shape[1]
        prompts = range(self._placed.prompts.start, self._placed.prompts.stop)
        drawn = [self._sources.noise(seed, self._site, prompt, stop, self._like)[:stop] for prompt in prompts]
        return torch.stack(drawn)[(slice(None), *self._placed.slices)]

    def vector(self, vector: Vector) -> Tensor:
        values = self._sources.vector(vector, self._site, self._like)
        if values.shape[-1] != self._like.shape[-1]:
            who = f"vector '{vector}'" if isinstance(vector, str) else "its vector"
            raise InputError(
                f"{self._placed.edit.at}: {who} has {values.shape[-1]} numbers, and {self._site} has "
                f"{self._like.shape[-1]}.",
                f"Give one number for each of its {self._site.axes[-1]}.",
            )
        return values[self._placed.slices[-values.ndim :]]

    def reread(self, writers: Sequence[Part], source: str) -> Tensor:
        if self._again is None:
            raise SpecError("an edge cannot be edited in this run.", "Edit edges on whole prompts.")
        return self._again.part(self._placed, writers, source)

    def embedding_sd(self) -> Tensor:
        return self._sources.embedding_sd().to(self._like.device)

    def _as_wide(self, values: Tensor) -> Tensor:
        """Values of other prompts, cut or padded like those that are run: padding beside the longest differs."""
        axes = [axis for axis, name in enumerate(self._site.axes) if name in ("pos", "q_pos", "k_pos")]
        for axis in axes:
            whole = self._placed.slices[axis - 1] == slice(None)
            missing = self._like.shape[axis] - values.shape[axis] if whole else 0
            if missing < 0:
                values = values.narrow(axis, 0, self._like.shape[axis])
            elif missing:
                shape = [*values.shape[:axis], missing, *values.shape[axis + 1 :]]
                values = torch.cat([values, values.new_zeros(shape)], dim=axis)
        return values

    def _check_length(self, name: str) -> None:
        """Raises InputError where an edit of a generated position copies from an input that has no such position."""
        for axis, item in zip(self._site.axes[1:], self._placed.slices, strict=True):
            if axis in ("pos", "q_pos", "k_pos") and item.stop is not None:
                size = self._sources.length(self._site, axis, self._placed.prompts)
                if item.stop > size:
                    raise InputError(
                        f"{self._placed.edit.at}: '{name}' has {size} tokens, so nothing to copy to generated ones.",
                        f"Address the prompt's positions, such as pos=0:{size}.",
                    )
