"""Bench: what an analysis may ask for. This one keeps everything in memory; the workspace's one caches to disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from analyses.experiment import Experiment
from analyses.grid import Grid
from analyses.memory import rows_within
from hooks.activations import Activations
from hooks.errors import BudgetError, InputError
from hooks.generate import Continuation, generate
from hooks.interventions import Intervention
from hooks.model import Instrumented
from hooks.plan import CapturePlan
from hooks.prompts import PromptSet
from hooks.run import Run
from hooks.sampling import Sampling
from hooks.schedule import World
from hooks.sites import Site
from hooks.tokens import TokenBatch

DEFAULT_BUDGET = 256 << 20
CAPTURE_BUDGET = 4 << 30


@dataclass(frozen=True)
class Progress:
    """How far a computation is, what it is doing, and what it has found so far."""

    done: int
    total: int
    message: str
    partial: Grid | None = None


class Bench:
    """A model, the inputs of one experiment, and a way to report progress.

    budget_bytes: memory that one packed forward may use above the model. notes: what happened that a reader of the
    result should know. forwards: how many times the model ran.
    """

    def __init__(
        self,
        model: Instrumented,
        experiment: Experiment,
        *,
        progress: Callable[[Progress], None] | None = None,
        budget_bytes: int = DEFAULT_BUDGET,
    ) -> None:
        self.model, self.experiment, self.budget_bytes = model, experiment, budget_bytes
        self.notes: list[str] = []
        self.forwards = 0
        self._progress = progress
        self._batches: dict[str, TokenBatch] = {}
        self._sources: dict[str, Activations] = {}

    @property
    def rng(self) -> torch.Generator:
        """A fresh generator from the experiment's seed."""
        return torch.Generator().manual_seed(self.experiment.seed)

    def batch(self, name: str) -> TokenBatch:
        """The tokens of the input called `name`. Raises InputError."""
        if name not in self.experiment.inputs:
            raise InputError(
                f"this experiment has no inputs.{name}.", f'Add "{name}": {{"prompts": […]}} to its inputs.'
            )
        if name not in self._batches:
            self._batches[name] = self.tokens(self.experiment.inputs[name])
        return self._batches[name]

    def tokens(self, inputs: PromptSet) -> TokenBatch:
        """The prompts as the model gets them. Raises InputError."""
        return self.model.tokens(inputs)

    def batches(self) -> Mapping[str, TokenBatch]:
        """The tokens of all inputs."""
        return {name: self.batch(name) for name in self.experiment.inputs}

    def step(self, done: int, total: int, message: str, partial: Grid | None = None) -> None:
        """Report progress. Raises Cancelled when the user has cancelled."""
        if self._progress is not None:
            self._progress(Progress(done, total, message, partial))

    def capture(self, inputs: str | TokenBatch, plan: CapturePlan, edits: Sequence[Intervention] = ()) -> Activations:
        """The planned sites of a run on `inputs`, under edits. Raises SiteMissing, InputError, BudgetError."""
        batch = self.batch(inputs) if isinstance(inputs, str) else inputs
        at = None if Site("logits") in plan.sites else torch.tensor(batch.answer_at)
        return self.forward(inputs, plan, edits, logits_at=at).activations

    def forward(
        self,
        inputs: str | TokenBatch,
        plan: CapturePlan = CapturePlan(),  # noqa: B008 - a frozen value
        edits: Sequence[Intervention] = (),
        *,
        logits_at: Tensor | None = None,
    ) -> Run:
        """Logits and the planned sites of a run on `inputs`: in several forwards where one would exceed the budget."""
        batch = self.batch(inputs) if isinstance(inputs, str) else inputs
        self._check_budget(batch, plan)
        sources = self.sources(edits)
        size = rows_within(self.budget_bytes, self.model.info, batch, everywhere=logits_at is None)
        runs = []
        for start in range(0, len(batch), size):
            at = None if logits_at is None else logits_at[start : start + size]
            runs.append(self.model.run(batch.rows(start, start + size), plan, edits, sources=sources, logits_at=at))
            self.forwards += 1
        return runs[0] if len(runs) == 1 else _joined(runs, batch)

    def generate(
        self,
        inputs: str,
        *,
        steps: int,
        sampling: Sampling,
        plan: CapturePlan = CapturePlan(),  # noqa: B008 - a frozen value
        edits: Sequence[Intervention] = (),
        cache: bool = True,
        alternatives: int = 10,
        stop_at_end: bool = True,
        on_step: Callable[[int, int], None] | None = None,
    ) -> tuple[Continuation, ...]:
        """The prompts of `inputs` continued under edits; see `hooks.generate.generate`."""
        batch = self.batch(inputs)
        # Only its size is looked at: captures are of the final sequences.
        grown = replace(batch, ids=torch.nn.functional.pad(batch.ids, (0, steps)))
        self._check_budget(grown, plan)
        found = generate(
            self.model, batch, steps=steps, sampling=sampling, plan=plan, edits=edits, sources=self.sources(edits),
            cache=cache, alternatives=alternatives, stop_at_end=stop_at_end, on_step=on_step,
        )  # fmt: skip
        self.forwards += sum(continuation.forwards for continuation in found)
        return found

    def worlds(self, inputs: str | TokenBatch, worlds: Sequence[World], *, logits_at: Tensor | None = None) -> Tensor:
        """Logits [1 + worlds, batch, pos, d_vocab] of the clean prompts and of every set of edits, in one forward."""
        batch = self.batch(inputs) if isinstance(inputs, str) else inputs
        self.forwards += 1
        sources = self.sources([edit for world in worlds for edit in world])
        return self.model.run_worlds(batch, worlds, sources=sources, logits_at=logits_at)

    def sources(self, edits: Sequence[Intervention]) -> dict[str, Activations]:
        """Captures of the inputs that edits copy from, at the sites they address; each site is captured once."""
        wanted: dict[str, set[Site]] = {}
        for edit in edits:
            for name in edit.sources:
                wanted.setdefault(name, set()).add(edit.at.site)
        for name, sites in wanted.items():
            known = self._sources.get(name, Activations({}, self.batch(name)))
            if missing := sites - set(known):
                captured = self.capture(name, CapturePlan(sites=frozenset(missing)))
                known = Activations({**known, **captured}, self.batch(name))
            self._sources[name] = known
        return {name: self._sources[name] for name in wanted}

    def _check_budget(self, batch: TokenBatch, plan: CapturePlan) -> None:
        need = plan.bytes(self.model.info, batch)
        if need > CAPTURE_BUDGET:
            raise BudgetError(
                f"these captures would take {need / 2**30:.1f} GiB; {CAPTURE_BUDGET / 2**30:.0f} GiB are allowed.",
                "Use fewer sites, fewer prompts or shorter prompts.",
                bytes=need,
            )


def _joined(runs: Sequence[Run], batch: TokenBatch) -> Run:
    """The runs of a batch's parts as one run of the batch."""
    sites = {site: torch.cat([run.activations[site] for run in runs]) for site in runs[0].activations}
    return Run(torch.cat([run.logits for run in runs]), Activations(sites, batch), runs[0].attention)
