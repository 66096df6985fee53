"""Worlds: many sets of edits in one forward, each set in rows of its own beside the clean prompts.

Two savings, each tried once on the model at hand before it is used: rows join the batch at the layer of their first
edit, so nothing before it is computed twice; and in causal models a forward runs only the positions from its first edit
on, reading the clean prompts' keys and values for those before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hooks.activations import Activations
from hooks.errors import ModelError
from hooks.interventions import Intervention
from hooks.interventions.scale import Scale
from hooks.interventions.zero import Zero
from hooks.kv_cache import fresh_cache, takes_cache, whole_sites
from hooks.prefix import keys_and_values, past_of
from hooks.proof import TOLERANCE
from hooks.reads import Reads
from hooks.run import Run, forward
from hooks.schedule import Schedule, Window, World, in_worlds, join_layer, on_prompts
from hooks.sites import MAIN, Part, Site

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel

    from hooks.info import ModelInfo
    from hooks.tokens import TokenBatch
    from hooks.wiring import Wiring


class Worlds:
    """Packed runs of one model. The caller holds the model's lock and has checked that the edits are possible."""

    def __init__(
        self,
        model: PreTrainedModel,
        wiring: Wiring,
        info: ModelInfo,
        probe: TokenBatch,
        sites: frozenset[Site],
        device: torch.device,
        rereads: Reads | None = None,
    ) -> None:
        self._rereads = rereads
        self._model, self._wiring, self._info = model, wiring, info
        self._probe, self._sites, self._device = probe, sites, device

    def run(
        self,
        batch: TokenBatch,
        worlds: Sequence[World],
        *,
        reads: frozenset[Site] = frozenset(),
        sources: Mapping[str, Activations] | None = None,
        logits_at: Tensor | None = None,
        start: int = 0,
        past: Cache | None = None,
    ) -> Run:
        """The clean prompts and each world; rows of all tensors are the prompts, then each world's, in order.

        start: run the positions from here on alone, behind `past`, the cache of the whole clean prompts (of these, or
        of the batch that they are a part of): no edit may come before it. logits_at: absolute positions.
        """
        window, whole = None, frozenset[str]()
        if past is None or start == 0:
            start = 0
        else:
            behind = past_of(past, start, prompts_in(past, batch))
            window, whole = Window(batch.whole, batch.first, start, behind), self.whole
            logits_at = None if logits_at is None else logits_at - start
        schedule = in_worlds(batch, worlds, self._info.n_layers, joins=self.joins, start=start, whole=whole)
        return forward(
            self._model,
            self._wiring,
            batch,
            reads=reads,
            schedule=schedule,
            sources=sources,
            logits_at=logits_at,
            window=window,
            rereads=self._rereads,
            device=self._device,
        )

    def past(self, batch: TokenBatch) -> Cache:
        """Keys and values of the clean prompts at all positions."""
        cache = fresh_cache(self._model)
        at = torch.zeros(len(batch), dtype=torch.int64)
        forward(self._model, self._wiring, batch, logits_at=at, window=Window(batch.whole, batch.first, 0, cache),
                device=self._device)  # fmt: skip
        return cache

    @cached_property
    def joins(self) -> bool:
        """Whether rows may join the batch at a later layer; tried once.

        Left as they are, they give the clean rows' logits; edited, those of the same edit on the prompts themselves.
        """
        if not self._wiring.joins:
            return False
        last = Part(Site("resid_pre", self._info.n_layers - 1))
        middle = Part(Site("resid_pre", self._info.n_layers // 2))
        worlds = [(Scale(at=middle, factor=1.0),), (Scale(at=last, factor=1.0),), (Zero(at=last),)]
        try:
            packed = self._forward(in_worlds(self._probe, worlds, self._info.n_layers))
        except (RuntimeError, IndexError, ModelError):
            # Some families hand each block a tensor whose rows are no prompts (BLOOM's slopes: batch times heads), and
            # some classifiers count prompts by their ids, which joined rows have not.
            return False
        clean, *joined, zeroed = packed.unflatten(0, (1 + len(worlds), len(self._probe)))
        limit = 10 * self._limit(clean)
        # A tower whose last norm reads zeros has no direction, and its similarity is no number: alone as in company.
        alone = self._forward(on_prompts(self._probe, worlds[-1]))
        near = torch.allclose(zeroed, alone, rtol=0.0, atol=limit, equal_nan=True)
        return near and all(float((rows - clean).abs().max()) <= limit for rows in joined)

    def _forward(self, schedule: Schedule) -> Tensor:
        """Logits of the probe in float32."""
        run = forward(self._model, self._wiring, self._probe, schedule=schedule, device=self._device)
        return run.logits.float()

    def _limit(self, logits: Tensor) -> float:
        """How far logits may be off by rounding."""
        return TOLERANCE[self._model.dtype] * max(1.0, float(logits.abs().max()))

    @cached_property
    def whole(self) -> frozenset[str]:
        """Names of the sites that hold all positions in every step over a cache; tried once, with one such step."""
        return whole_sites(self._model, self._wiring, self._probe, self._sites, self._device)

    @cached_property
    def tails(self) -> bool:
        """Whether the positions from an edit on may run alone: tried once, against the same edit on whole prompts."""
        if not (self._info.causal and takes_cache(self._model) and self._info.task == "causal" and self.joins):
            return False
        batch, start = self._probe, min(self._probe.lengths) // 2
        sites = [Site("resid_pre", layer) for layer in (0, self._info.n_layers - 1)]
        if start == 0 or not self._sites.issuperset(sites):
            return False
        worlds = [(Zero(at=Part(site, pos=start)),) for site in sites]
        at = torch.tensor(batch.answer_at)
        past = self.past(batch)
        if not keys_and_values(past):
            return False
        try:
            tail = self.run(batch, worlds, logits_at=at, start=start, past=past).logits.float()
        except (RuntimeError, IndexError, ValueError):
            # Some families make masks or positions that do not fit a past whose rows grow from layer to layer.
            return False
        whole = self.run(batch, worlds, logits_at=at).logits.float()
        return float((tail - whole).abs().max()) <= 10 * self._limit(whole)


def prompts_in(past: Cache, batch: TokenBatch) -> slice:
    """Where the prompts of `batch` are in a cache of these alone, or of the whole batch that they are a part of."""
    kept = keys_and_values(past)[0][0].shape[0]
    first = batch.first if kept == len(batch.whole) else 0
    return slice(first, first + len(batch))


def first_layer(edits: Sequence[Intervention], n_layers: int) -> int:
    """The layer at which a world's rows join the clean ones; −1 before the embedding, the last one without edits."""
    return min((join_layer(edit.at.site, n_layers) for edit in edits), default=n_layers - 1)


def first_position(edits: Sequence[Intervention], batch: TokenBatch) -> int:
    """The first position that a world's edits touch in any prompt; 0 where one is not of a position."""
    return min((_first(edit.span, batch) for edit in edits), default=0)


def _first(part: Part, batch: TokenBatch) -> int:
    position = part.q_pos if "q_pos" in part.site.axes else part.pos
    if part.site.stack != MAIN or position is None:
        return 0
    if isinstance(position, str):
        return min(batch.positions.get(position, (0,)))
    return position[0] if isinstance(position, tuple) else position
