"""CachedBench: the bench of the workspace, which looks into the store before it runs a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import torch

from analyses.bench import Bench, Progress
from analyses.experiment import Experiment
from analyses.measured import Measured
from hooks.activations import Activations
from hooks.interventions import Intervention
from hooks.model import Instrumented
from hooks.plan import CapturePlan
from hooks.prompts import PromptSet
from hooks.tokens import TokenBatch
from workbench.cache import Store, StoredActivations
from workbench.cache.key import ModelFacts, capture_key, sources_of
from workbench.cache.read import Damaged
from workbench.images import Images
from workbench.sweeps import KeptSweeps


class CachedBench(Bench):
    """A bench whose captures come from the store where they are there, and go there where they are not."""

    def __init__(
        self,
        model: Instrumented,
        experiment: Experiment,
        *,
        store: Store,
        summary: Mapping[str, Any],
        progress: Callable[[Progress], None] | None = None,
        budget_bytes: int,
        images: Images,
        sweeps: KeptSweeps,
    ) -> None:
        self._sweep_store, self._pace_name = sweeps, f"{model.hash[:16]}-{model.device.type}-{model.info.dtype}"
        pace = sweeps.pace(self._pace_name)
        super().__init__(model, experiment, progress=progress, budget_bytes=budget_bytes, pace=pace)
        self._store, self._facts, self._images = store, ModelFacts(summary), images
        self.notes += summary["warnings"]

    def tokens(self, inputs: PromptSet) -> TokenBatch:
        """The prompts as the model gets them; kept images are found in the workspace. Raises InputError."""
        return super().tokens(self._images.located(inputs))

    @property
    def from_cache(self) -> bool:
        """Whether no forward pass was needed so far."""
        return self.forwards == 0

    def kept(self, key: str) -> Measured | None:
        """What this sweep had measured when it was stopped."""
        found = self._sweep_store.load(key)
        if found is not None:
            self.notes.append(f"{int(found.done.sum())} of {len(found.done)} cells were measured before it was stopped")
        return found

    def keep(self, key: str, measured: Measured, *, now: bool = False) -> None:
        """Keep what a sweep has measured, and how long its forwards took."""
        self._sweep_store.save(key, measured, now=now)
        if now or measured.done.all():
            self.keep_pace()

    def keep_pace(self) -> None:
        """Keep how long forwards took, for the next sweep or forecast on this model."""
        self._sweep_store.save_pace(self._pace_name, self.pace)

    def capture(self, inputs: str | TokenBatch, plan: CapturePlan, edits: Sequence[Intervention] = ()) -> Activations:
        """The planned sites of a run on `inputs` under `edits`: read from the store, or run and stored."""
        batch = self.batch(inputs) if isinstance(inputs, str) else inputs
        key = self._key(batch, plan, edits)
        stored = self._store.find(key)
        if stored is not None:
            try:
                kept = loaded(stored, batch, self.model)
                self.notes.append(f"{_named(plan)} read from the cache")
                return kept
            except Damaged as error:
                self.notes.append(error.message)
        need = plan.bytes(self.model.info, batch)
        self._store.check_room(need)
        captured = super().capture(inputs, plan, edits)
        self._store.put(key, batch, captured.items(), self._provenance(inputs, edits), need_bytes=need)
        return captured

    def store_capture(self, name: str, plan: CapturePlan, edits: Sequence[Intervention] = ()) -> None:
        """Have the capture on disk, without reading it into memory where it is there already."""
        batch = self.batch(name)
        plan = CapturePlan(sites=self.model.readable(plan))
        if self._store.find(self._key(batch, plan, edits)) is None:
            self.capture(name, plan, edits)

    def _key(self, batch: TokenBatch, plan: CapturePlan, edits: Sequence[Intervention]) -> str:
        sites = plan.resolve(self.model.info).sites
        sources, vectors = sources_of(edits, self.experiment.vectors, self.batch)
        return capture_key(self._facts, batch, sites, edits, sources, vectors)

    def _provenance(self, inputs: str | TokenBatch, edits: Sequence[Intervention]) -> dict[str, Any]:
        given = self.experiment.inputs.get(inputs) if isinstance(inputs, str) else None
        return {
            "model": str(self.experiment.model),
            **self._facts.identity(),
            "inputs": None if given is None else given.model_dump(mode="json"),
            "edits": [edit.model_dump(mode="json") for edit in edits],
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }


def loaded(stored: StoredActivations, batch: TokenBatch, model: Instrumented) -> Activations:
    """A stored capture in memory, in the number type and on the device of the model that made it."""
    values = {site: torch.from_numpy(stored.read(site)).to(model.device, model.dtype) for site in stored.sites}
    return Activations(values, batch)


def _named(plan: CapturePlan) -> str:
    return ", ".join(sorted(plan.everywhere | {site.name for site in plan.sites}))
