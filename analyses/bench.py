"""Bench: what an analysis may ask for. This one keeps everything in memory; the workspace's one caches to disk."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from analyses.experiment import Experiment
from analyses.grid import Grid
from analyses.measured import Measured, SweepForecast
from analyses.memory import rows_within
from analyses.pace import Pace
from analyses.vectors import vector_sources
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
from hooks.spec import digest
from hooks.tokens import TokenBatch

if TYPE_CHECKING:
    from transformers import Cache

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
    result should know. forwards: how many times the model ran. pace: how long forwards take here. forecasts: where
    it is a list, sweeps only say there what they would take.
    """

    def __init__(
        self,
        model: Instrumented,
        experiment: Experiment,
        *,
        progress: Callable[[Progress], None] | None = None,
        budget_bytes: int = DEFAULT_BUDGET,
        pace: Pace | None = None,
    ) -> None:
        self.model, self.experiment, self.budget_bytes = model, experiment, budget_bytes
        self.notes: list[str] = []
        self.forwards = 0
        self.pace = pace or Pace()
        self.forecasts: list[SweepForecast] | None = None
        self._sweeps = 0
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

    def worlds(
        self,
        inputs: str | TokenBatch,
        worlds: Sequence[World],
        plan: CapturePlan = CapturePlan(),  # noqa: B008 - a frozen value
        *,
        sources: Mapping[str, Activations] | None = None,
        logits_at: Tensor | None = None,
        start: int = 0,
        past: Cache | None = None,
    ) -> Run:
        """The clean prompts and every set of edits in one forward: tensors have axes [1 + worlds, batch, …].

        sources: activations that edits copy from, beside those of the experiment's inputs. start, past: positions from
        which on it runs, and what lies behind: see `hooks.worlds`.
        """
        batch = self.batch(inputs) if isinstance(inputs, str) else inputs
        self.forwards += 1
        known = self.sources([edit for world in worlds for edit in world], sources)
        return self.model.run_worlds(batch, worlds, plan, sources=known, logits_at=logits_at, start=start, past=past)

    def record(self, inputs: str | TokenBatch, worlds: Sequence[World], sites: Collection[Site]) -> Activations:
        """The sites under each set of edits, [1 + worlds, batch, …site axes]; the first are the clean prompts'."""
        batch = self.batch(inputs) if isinstance(inputs, str) else inputs
        plan = CapturePlan(sites=frozenset(sites))
        return self.worlds(batch, worlds, plan, logits_at=torch.tensor(batch.answer_at)).activations

    def past(self, batch: TokenBatch) -> Cache:
        """The keys and values of the prompts, for forwards that start behind them."""
        self.forwards += 1
        return self.model.past(batch)

    def next_sweep(self, inputs: str, cells: Sequence[World], metrics: Sequence[str]) -> str:
        """A name for the next sweep of this experiment: the same whenever the experiment runs on this model."""
        self._sweeps += 1
        what = [[edit.model_dump(mode="json") for edit in cell] for cell in cells]
        return digest([self.experiment.id, self.model.hash, self._sweeps, inputs, list(metrics), what])

    def kept(self, key: str) -> Measured | None:
        """What an earlier run of a sweep has measured; this bench keeps nothing between runs."""
        return None

    def keep(self, key: str, measured: Measured, *, now: bool = False) -> None:
        """Told after every forward of a sweep, so that it can go on after a stop. now: it stops here."""

    def keep_pace(self) -> None:
        """Told when forwards were timed for a forecast alone, so that the next one need not."""

    def sources(
        self, edits: Sequence[Intervention], given: Mapping[str, Activations] | None = None
    ) -> dict[str, Activations]:
        """Captures of the inputs that edits copy from, at the sites they address; each site is captured once.

        The vectors that edits name stand beside them. given: activations by names that are no inputs.
        """
        extra = dict(given or {})
        wanted: dict[str, set[Site]] = {}
        for edit in edits:
            for name in edit.sources:
                if name not in extra:
                    wanted.setdefault(name, set()).update(edit.copied)
        for name, sites in wanted.items():
            known = self._sources.get(name, Activations({}, self.batch(name)))
            if missing := sites - set(known):
                captured = self.capture(name, CapturePlan(sites=frozenset(missing)))
                known = Activations({**known, **captured}, self.batch(name))
            self._sources[name] = known
        return {name: self._sources[name] for name in wanted} | vector_sources(self, edits, self._sources) | extra

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
