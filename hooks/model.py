"""Instrumented: an opened model that knows its sites, has proved them, and runs."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel

from hooks import attention, experts
from hooks.activations import Activations
from hooks.describe import describe, sized, summary_of
from hooks.errors import SiteMissing
from hooks.feed import Feed
from hooks.inputs import encode_inputs
from hooks.interventions import Intervention
from hooks.kv_cache import check_causal, end_tokens, fresh_cache, takes_cache
from hooks.loading import Loaded, from_memory, load
from hooks.plan import CapturePlan
from hooks.precision import half_precision_warning
from hooks.prompts import PromptSet
from hooks.proof import Proof, joins_hold, prove
from hooks.run import Run, forward, observe
from hooks.schedule import Window, World, in_window, in_worlds, on_prompts
from hooks.sites import SITES, Site
from hooks.tokens import TokenBatch
from hooks.weights import Weights
from hooks.wiring import wire


class Instrumented:
    """A model under observation. Its weights and modules are never altered; one run at a time."""

    def __init__(self, loaded: Loaded) -> None:
        """Wire and prove a loaded model. Raises ModelError for a model that cannot be understood."""
        attention.register()
        experts.register()
        self.name, self.source = loaded.name, loaded.source
        self.hash, self.tokenizer_hash = loaded.hash, loaded.tokenizer_hash
        self.tokenizer, self.processor, self._model = loaded.tokenizer, loaded.processor, loaded.model
        self._lock = threading.Lock()
        self.device, self.dtype = loaded.model.device, loaded.model.dtype
        self._feed = Feed.of(loaded.model)
        batch = self._feed.probe(loaded.model, loaded.tokenizer)
        seen = observe(loaded.model, self._feed, batch, device=self.device)
        self._notes = (*loaded.warnings, *half_precision_warning(loaded, self._feed, batch))
        self._wiring = wire(loaded.model, self._feed, seen, len(batch))
        self._probe = sized(batch, self._wiring, seen)
        self.info = describe(loaded, self._wiring, self._probe, seen)
        self.proof: Proof = prove(loaded.model, self._wiring, self.info, self._probe, seen, self.device)
        self.weights = Weights(loaded.model, self._wiring)

    @cached_property
    def sites(self) -> frozenset[Site]:
        """The sites that were proved readable."""
        return self.proof.sites(self.info)

    @cached_property
    def writable(self) -> frozenset[Site]:
        """The sites that were proved writable; none where parity fails."""
        return self.proof.sites(self.info, writable=True) if self.proof.exact else frozenset()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of this model's numbers should know."""
        if self.proof.exact:
            return self._notes
        return (
            *self._notes,
            f"parity fails: logits differ from the unhooked model by {self.proof.parity:.2g}; edits are refused",
        )

    def tokens(self, inputs: PromptSet) -> TokenBatch:
        """The prompts as this model gets them. Raises InputError."""
        return encode_inputs(self.tokenizer, self.processor, self.info, inputs)

    def run(
        self,
        batch: TokenBatch,
        plan: CapturePlan = CapturePlan(),  # noqa: B008 - a frozen value
        edits: Sequence[Intervention] = (),
        *,
        sources: Mapping[str, Activations] | None = None,
        logits_at: Tensor | None = None,
        window: Window | None = None,
    ) -> Run:
        """Run the prompts with the same edits on each, keeping the planned sites.

        logits_at: one position per prompt at which logits are wanted; all positions without it. sources: activations of
        other inputs that edits copy from. window: one step of `hooks.generate`.
        Raises SiteMissing, InputError, BudgetError.
        """
        reads = self.readable(plan)
        self.require_writable(edits)
        with self._lock:
            return forward(
                self._model,
                self._wiring,
                batch,
                reads=reads,
                schedule=on_prompts(batch, edits) if window is None else in_window(edits, window, batch.ids.shape[1]),
                sources=sources,
                logits_at=logits_at,
                window=window,
                device=self.device,
            )

    def run_worlds(
        self,
        batch: TokenBatch,
        worlds: Sequence[World],
        *,
        sources: Mapping[str, Activations] | None = None,
        logits_at: Tensor | None = None,
    ) -> Tensor:
        """Logits [1 + worlds, batch, pos, d_vocab] of the clean prompts and of each set of edits, in one forward."""
        for world in worlds:
            self.require_writable(world)
        schedule = in_worlds(batch, worlds, self.info.n_layers, joins=self._joins)
        with self._lock:
            run = forward(
                self._model,
                self._wiring,
                batch,
                schedule=schedule,
                sources=sources,
                logits_at=logits_at,
                device=self.device,
            )
        return run.logits.unflatten(0, (1 + len(worlds), len(batch)))

    @cached_property
    def end_tokens(self) -> frozenset[int]:
        """The ids that end a text."""
        return end_tokens(self._model, self.tokenizer)

    @property
    def takes_cache(self) -> bool:
        """Whether keys and values can be kept between the steps of a continuation."""
        return takes_cache(self._model)

    def fresh_cache(self) -> Cache:
        """An empty key/value cache for one continuation. Raises ModelError for a model that takes none."""
        return fresh_cache(self._model)

    def require_causal(self) -> None:
        """Raises ModelError for a model that does not continue a text."""
        check_causal(self._model, causal=self.info.causal)

    @cached_property
    def _joins(self) -> bool:
        """Whether rows may join the batch at a later layer: tried once, with rows that edits leave as they are."""
        return joins_hold(self._model, self._wiring, self.info, self._probe, self.device)

    def readable(self, plan: CapturePlan) -> frozenset[Site]:
        """The plan's sites. Raises SiteMissing, with the proof's reason, for one that was not proved."""
        for site in (wanted := plan.resolve(self.info).sites) - self.sites:
            raise SiteMissing(
                f"{site} cannot be read in {self.name}: {self.proof.row(site.name, site.stack).reason}.",
                f"Readable: {', '.join(sorted(self.proof.names(), key=lambda name: SITES[name].order))}.",
            )
        return wanted

    def require_writable(self, edits: Sequence[Intervention]) -> None:
        """Raises SiteMissing for an edit at a part that does not exist or was not proved writable."""
        for edit in edits:
            self.info.check_part(edit.at)
            row = self.proof.row(edit.at.site.name, edit.at.site.stack)
            if edit.at.site not in self.writable:
                reason = row.reason or self.warnings[-1]
                raise SiteMissing(
                    f"{edit.at.site} cannot be edited in {self.name}: {reason}.", "`workbench check` shows why."
                )

    def summary(self) -> dict[str, Any]:
        """Sizes, proof and provenance as plain JSON values: what the model page and `workbench check` show."""
        return summary_of(self)


def open_model(
    source: str | Path,
    *,
    name: str = "",
    revision: str | None = None,
    device: str = "auto",
    dtype: torch.dtype = torch.float32,
) -> Instrumented:
    """Open, wire and prove the model in a folder, a GGUF file or on the hub. Raises ModelError."""
    return Instrumented(load(source, name=name, revision=revision, device=device, dtype=dtype))


def instrument(model: PreTrainedModel, tokenizer: Any = None, *, name: str = "in memory") -> Instrumented:
    """Instrument a model that is already loaded; it is not altered, and keeps its mode and device."""
    return Instrumented(from_memory(model, tokenizer, name=name))
