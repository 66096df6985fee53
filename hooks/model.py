"""Instrumented: an opened model that knows its sites, has proved them, and runs."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hooks.activations import Activations
from hooks.describe import summary_of
from hooks.edge_runs import EdgeRuns
from hooks.gradients import Gradients, Objective, gates, gradients, probes
from hooks.held_norms import HeldNorms
from hooks.inputs import encode_inputs
from hooks.interventions import Intervention
from hooks.jacobian import jacobian
from hooks.kv_cache import check_causal, end_tokens, fresh_cache, takes_cache
from hooks.loading import Loaded, from_memory, load
from hooks.opening import understand
from hooks.permits import Permits
from hooks.plan import CapturePlan
from hooks.prompts import PromptSet
from hooks.proof import Proof
from hooks.reads import Reads
from hooks.run import Run, forward
from hooks.schedule import Schedule, Window, World, in_window, on_prompts
from hooks.sites import Site
from hooks.tokens import TokenBatch
from hooks.weights import Weights
from hooks.worlds import Worlds

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel


class Instrumented:
    """A model under observation. Its weights and modules are never altered; one run at a time."""

    def __init__(self, loaded: Loaded) -> None:
        """Wire and prove a loaded model. Raises ModelError for a model that cannot be understood."""
        self.name, self.source = loaded.name, loaded.source
        self.hash, self.tokenizer_hash = loaded.hash, loaded.tokenizer_hash
        self.tokenizer, self.processor, self._model = loaded.tokenizer, loaded.processor, loaded.model
        self.device, self.dtype = loaded.model.device, loaded.model.dtype
        self._lock = threading.Lock()
        found = understand(loaded)
        self._wiring, self._probe, self.info = found.wiring, found.probe, found.info
        self.proof: Proof = found.proof
        self._permits = Permits(self.name, self.info, self.proof, found.notes, lambda: self.reads)
        self.weights = Weights(loaded.model, self._wiring)

    @property
    def sites(self) -> frozenset[Site]:
        """The sites that were proved readable."""
        return self._permits.sites

    @property
    def writable(self) -> frozenset[Site]:
        """The sites that were proved writable; none where parity fails."""
        return self._permits.writable

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of this model's numbers should know."""
        return self._permits.warnings

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
        schedule = on_prompts(batch, edits) if window is None else self._step(edits, window, batch.ids.shape[1])
        with self._lock:
            return forward(
                self._model, self._wiring, batch, reads=reads, schedule=schedule, sources=sources, logits_at=logits_at,
                window=window, rereads=self.reads, device=self.device,
            )  # fmt: skip

    def _step(self, edits: Sequence[Intervention], window: Window, stop: int) -> Schedule:
        """The edits of one step of a continuation; a step from position 0 holds every position of every site."""
        return in_window(edits, window, stop, self.whole_sites if window.start else frozenset())

    def run_worlds(
        self,
        batch: TokenBatch,
        worlds: Sequence[World],
        plan: CapturePlan = CapturePlan(),  # noqa: B008 - a frozen value
        *,
        sources: Mapping[str, Activations] | None = None,
        logits_at: Tensor | None = None,
        start: int = 0,
        past: Cache | None = None,
    ) -> Run:
        """The clean prompts and each set of edits in one forward: all tensors have axes [1 + worlds, batch, …].

        start, past: run only the positions from `start` on, before which there is no edit; see `hooks.worlds`.
        """
        reads = self.readable(plan)
        for world in worlds:
            self.require_writable(world)
        with self._lock:
            run = self._worlds.run(
                batch, worlds, reads=reads, sources=sources, logits_at=logits_at, start=start, past=past
            )
        return run.by_world()

    @cached_property
    def tails(self) -> bool:
        """Whether forwards may start behind the prompts' keys and values; tried once."""
        with self._lock:
            return self._worlds.tails

    @cached_property
    def joins(self) -> bool:
        """Whether a forward may take in rows at a later layer; tried once."""
        with self._lock:
            return self._worlds.joins

    def past(self, batch: TokenBatch) -> Cache:
        """The keys and values of the prompts, for forwards that start behind them."""
        with self._lock:
            return self._worlds.past(batch)

    @cached_property
    def reads(self) -> Reads:
        """What heads and MLPs would compute from a given residual stream."""
        return Reads(self._model, self._wiring, self.sites, self._of_probe)

    @cached_property
    def edge_runs(self) -> EdgeRuns:
        """Runs in which every reader may be handed a stream of its own."""
        return EdgeRuns(self._model, self._wiring, self._probe, self._lock, self.device)

    def _of_probe(self, sites: frozenset[Site]) -> Activations:
        with self._lock:
            return forward(self._model, self._wiring, self._probe, reads=sites, device=self.device).activations

    @cached_property
    def _worlds(self) -> Worlds:
        return Worlds(self._model, self._wiring, self.info, self._probe, self.writable, self.device, self.reads)

    def gradients(
        self,
        batch: TokenBatch,
        sites: Collection[Site],
        objective: Objective,
        *,
        edits: Sequence[Intervention] = (),
        sources: Mapping[str, Activations] | None = None,
        logits_at: Tensor | None = None,
        reads: CapturePlan = CapturePlan(),  # noqa: B008 - a frozen value
        drop: Sequence[Collection[Site]] = (),
        apart: Collection[Site] = (),
        norms: HeldNorms | None = None,
    ) -> Gradients:
        """Values of `sites` in one run of the prompts, and the derivatives of objective(logits) by them.

        reads: further sites whose values are wanted. drop: groups of sites; for each, the derivatives as well of which
        none passes through the group (GradDrop). apart: those k and v among `sites` whose derivatives are wanted once
        per query head that shares them, with the axis `head` in place of `kv_head`. norms: at other scales.
        Raises SiteMissing for sites that are not proved writable, SpecError, InputError, BudgetError.
        """
        at, shut, seen = probes(sites), gates(drop), self.readable(reads)
        self.require_writable([*edits, *at, *(gate for group in shut for gate in group)])
        with self._lock:
            return gradients(
                self._model, self._wiring, batch, objective, at=at, reads=seen, drop=shut, apart=apart,
                edits=edits, sources=sources, logits_at=logits_at, norms=norms, device=self.device,
            )  # fmt: skip

    def jacobian(self, batch: TokenBatch, of: Site, by: Site, head: int, at: Tensor) -> Tensor:
        """[batch d_of head d_by]: see `hooks.jacobian`. Raises SiteMissing for sites that are not proved writable."""
        self.require_writable(probes((of, by)))
        with self._lock:
            return jacobian(self._model, self._wiring, batch, of, by, head, at, device=self.device)

    @cached_property
    def end_tokens(self) -> frozenset[int]:
        """The ids that end a text."""
        return end_tokens(self._model, self.tokenizer)

    @property
    def takes_cache(self) -> bool:
        """Whether keys and values can be kept between the steps of a continuation."""
        return takes_cache(self._model)

    @cached_property
    def whole_sites(self) -> frozenset[str]:
        """Names of the sites that hold all positions in every step over a cache; tried once, with one such step."""
        with self._lock:
            return self._worlds.whole

    def fresh_cache(self) -> Cache:
        """An empty key/value cache for one continuation. Raises ModelError for a model that takes none."""
        return fresh_cache(self._model)

    def require_causal(self) -> None:
        """Raises ModelError for a model that does not continue a text."""
        check_causal(self._model, causal=self.info.causal)

    def readable(self, plan: CapturePlan) -> frozenset[Site]:
        """The plan's sites. Raises SiteMissing, with the proof's reason, for one that was not proved."""
        return self._permits.readable(plan)

    def require_writable(self, edits: Sequence[Intervention]) -> None:
        """Raises SiteMissing for an edit at a part that does not exist or was not proved writable."""
        self._permits.require_writable(edits)

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
