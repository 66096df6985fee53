"""Circuits that an engine holds ready: opened prompts stay open, so that an edit runs only what it changes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from analyses.bench import Bench, Progress
from analyses.circuit_live import Measured, measured, runs_of
from analyses.circuit_run import CircuitRuns
from hooks.model import Instrumented
from workbench.requests import CircuitRequest

Report = Callable[[Progress], None]
MOST = 2
"""Prompts that are open together: a circuit, and one that it is compared with."""


@dataclass(eq=False)
class _Teller:
    """The progress of whichever job runs circuits now: the runs outlive the job that opened them."""

    report: Report

    def __call__(self, progress: Progress) -> None:
        self.report(progress)


@dataclass(frozen=True, eq=False)
class _Open:
    runs: CircuitRuns
    teller: _Teller


class OpenCircuits:
    """Opened prompts by model, inputs, metric, ablation and graph; the least recently used go."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._open: OrderedDict[str, _Open] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def run(self, request: CircuitRequest, bench_of: Callable[[Report], Bench], report: Report) -> Measured:
        """What a circuit gives. bench_of: makes the bench of new prompts, given what is told of progress.

        Raises SpecError, InputError, SiteMissing, ModelError, Cancelled.
        """
        kept = self._open.get(request.runs_id)
        if kept is None:
            teller = _Teller(report)
            bench = bench_of(teller)
            bench.step(0, 1, "running the model and its ablated run")
            runs = runs_of(bench, request.metric, request.ablation, request.keys, request.reference)
            while len(self._open) >= self._most:
                self._open.popitem(last=False)
            kept = self._open[request.runs_id] = _Open(runs, teller)
        self._open.move_to_end(request.runs_id)
        kept.teller.report = report
        return measured(kept.runs, request.kept)

    def forget_others(self, models: tuple[Instrumented, ...]) -> None:
        """Let go of the prompts of models that are open no more."""
        for name, kept in list(self._open.items()):
            if not any(kept.runs.bench.model is model for model in models):
                del self._open[name]
