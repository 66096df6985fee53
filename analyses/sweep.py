"""Sweep: many small edits, few forwards.

Each cell is one set of edits. Cells become rows of one batch beside the clean prompts; a cell's rows join the batch at
the layer of its first edit, and in causal models a forward starts at the first edited position behind the clean keys
and values, so nothing before an edit is computed twice; the unembedding runs at answer positions only. The metric
reduces the logits before anything is kept. The order of cells never matters.

A forward holds what fits the byte budget and the time in which a cancel must be heard. Where memory runs out all the
same it is split and tried again. What has been measured is kept, so that a sweep that was stopped goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from analyses.bench import Bench
from analyses.measured import Measured, SweepForecast
from analyses.memory import row_bytes, rows_within
from analyses.metrics import Metric, Target
from analyses.pace import share
from analyses.packing import Group, groups, work
from hooks.activations import Activations
from hooks.errors import BudgetError
from hooks.schedule import World
from hooks.tokens import TokenBatch

if TYPE_CHECKING:
    from transformers import Cache

TOGETHER = 16
"""Cells that should share a forward before more prompts do."""


def sweep(
    bench: Bench,
    inputs: str,
    cells: Sequence[World],
    metrics: Sequence[Metric],
    *,
    sources: Mapping[str, Activations] | None = None,
    target: Target | None = None,
    positions: Mapping[str, tuple[int, ...]] | None = None,
    on_chunk: Callable[[Measured], None] | None = None,
) -> Measured:
    """Every metric for every cell and prompt. `on_chunk` is told after each forward, and may raise Cancelled.

    sources: activations that edits copy from under names that are no inputs of the experiment. target: what metrics
    are taken against, where that is not the prompts that are run and their unedited run: as many prompts, with their
    answers, and the logits of their run (at all positions, or at the answers). positions: further named positions of
    the prompts, which edits may address.
    """
    batch = bench.batch(inputs)
    batch = replace(batch, positions={**batch.positions, **positions}) if positions else batch
    for metric in metrics:
        metric.check(batch if target is None else target.batch, bench.model.info)
    bench.sources([edit for cell in cells for edit in cell], sources)
    if bench.forecasts is not None:
        nothing = Measured.empty(len(metrics), len(cells), len(batch))
        bench.forecasts.append(_Sweep(bench, batch, cells, metrics, dict(sources or {}), nothing, target).forecast())
        return nothing.all_done()
    key = bench.next_sweep(inputs, cells, [metric.name for metric in metrics])
    measured = bench.kept(key) or Measured.empty(len(metrics), len(cells), len(batch))
    running = _Sweep(bench, batch, cells, metrics, dict(sources or {}), measured, target)
    try:
        for _ in running.go():
            if on_chunk is not None:
                on_chunk(measured)
            bench.keep(key, measured)
    except BaseException:
        bench.keep(key, measured, now=True)
        raise
    return measured


@dataclass(eq=False)
class _Sweep:
    """One sweep while it runs.

    most_rows: rows that a forward may have; halved when memory runs out. rows: those of the newest forward.
    """

    bench: Bench
    batch: TokenBatch
    cells: Sequence[World]
    metrics: Sequence[Metric]
    sources: dict[str, Activations]
    measured: Measured
    target: Target | None = None
    most_rows: int = 1
    rows: int = 0
    past: Cache | None = None

    def go(self) -> Iterator[None]:
        """Measure the cells that are missing; gives control after every forward."""
        self._begin()
        if not self.cells:
            yield from self._run((), len(self.batch), 0)
        for group in self._groups():
            left = [cell for cell in group.cells if not self.measured.done[cell]]
            while left:
                count, prompts = self._size(left, group.start)
                try:
                    yield from self._run(left[:count], prompts, group.start)
                except BudgetError:
                    if self.most_rows < 2:
                        raise
                    self.most_rows = max(1, min(self.most_rows, self.rows) // 2)
                    continue
                left = left[count:]

    def _begin(self) -> None:
        info = self.bench.model.info
        self.most_rows = rows_within(self.bench.budget_bytes, info, self.batch, everywhere=self._everywhere)

    def _groups(self) -> tuple[Group, ...]:
        model = self.bench.model
        tails = not self._everywhere and bool(self.cells) and model.tails
        return groups(self.cells, self.batch, model.info, tails=tails)

    def forecast(self) -> SweepForecast:
        """What `go` would take, without running it; two small forwards where no pace is known."""
        self._begin()
        started, found, info = time.perf_counter(), self._groups() if self.cells else (), self.bench.model.info
        if not self.bench.pace.known:
            for count in (1, TOGETHER):
                next(self._run(found[-1].cells[:count] if found else (), 1, found[-1].start if found else 0))
            self.bench.keep_pace()
        tried = time.perf_counter() - started
        forwards, rows, most, load = 0, 0, 0, 0.0
        for group in found:
            left, width = list(group.cells), self.batch.ids.shape[1] - group.start
            while left:
                count, prompts = self._size(left, group.start)
                chunk, left = [self.cells[cell] for cell in left[:count]], left[count:]
                forwards += -(-len(self.batch) // prompts)
                rows += (1 + count) * len(self.batch)
                most = max(most, (1 + count) * prompts)
                load += work(chunk, len(self.batch) * width, info)
        seconds = self.bench.pace.seconds(load, forwards)
        size = most * row_bytes(info, self.batch, everywhere=self._everywhere)
        return SweepForecast(forwards, rows, seconds, size, tried, self._packing())

    def _packing(self) -> str:
        """How the sweep saves work, in words."""
        model = self.bench.model
        if not model.joins:
            return "whole rows: in this model rows cannot join a forward at a later layer"
        if not model.tails:
            return "rows join at the layer of their first edit"
        if self._everywhere:
            return "rows join at the layer of their first edit; this metric reads all positions"
        return "rows join at the layer of their first edit, and run from its position on"

    @property
    def _everywhere(self) -> bool:
        return any(metric.everywhere for metric in self.metrics)

    def _size(self, left: Sequence[int], start: int) -> tuple[int, int]:
        """How many of the cells that are left share the next forward, and how many prompts.

        The clean prompts run beside the cells, so a forward holds a good number of cells before it holds all prompts.
        """
        width, limit = self.batch.ids.shape[1] - start, self.bench.pace.most_work()
        costs = [work([self.cells[cell]], width, self.bench.model.info) - width for cell in left]
        prompts = self._prompts(left[:TOGETHER], start)
        return share(costs, limit / prompts - width, max(1, self.most_rows // prompts - 1)), prompts

    def _prompts(self, cells: Sequence[int], start: int) -> int:
        """How many prompts share a forward of these cells, by the pace that is known by now."""
        together = work([self.cells[cell] for cell in cells], self.batch.ids.shape[1] - start, self.bench.model.info)
        within = int(self.bench.pace.most_work() / together)
        return max(1, min(within, self.most_rows // (1 + len(cells)), len(self.batch)))

    def _run(self, chunk: Sequence[int], prompts: int, start: int) -> Iterator[None]:
        """One chunk of cells on all prompts: so many at first, then as many as the pace allows."""
        worlds, info = [self.cells[cell] for cell in chunk], self.bench.model.info
        first = 0
        while first < len(self.batch):
            part = self.batch.rows(first, first + prompts)
            self.rows = (1 + len(chunk)) * len(part)
            at = None if self._everywhere else torch.tensor(part.answer_at)
            past = self._past(part) if start else None
            clock = time.perf_counter()
            run = self.bench.worlds(part, worlds, sources=self.sources, logits_at=at, start=start, past=past)
            self._reduce(run.logits, part, chunk)
            tokens = len(part) * (part.ids.shape[1] - start)
            self.bench.pace.learn(work(worlds, tokens, info), time.perf_counter() - clock)
            first += prompts
            if first >= len(self.batch):
                self.measured.done[list(chunk)] = True
            yield
            prompts = self._prompts(chunk, start)

    def _past(self, part: TokenBatch) -> Cache | None:
        """The clean keys and values of some prompts: of all at once, and kept, where these are few."""
        if len(self.batch) > self.most_rows:
            return self.bench.past(part)
        if self.past is None:
            self.past = self.bench.past(self.batch)
        return self.past

    def _reduce(self, logits: Tensor, part: TokenBatch, chunk: Sequence[int]) -> None:
        """Fill in the values of the prompts of `part`; one transfer from the device for all cells."""
        worlds, prompts = logits.shape[0], slice(part.first, part.first + len(part))
        changed = logits.float().flatten(0, 1)
        own = Target(part, changed[: len(part)]) if self.target is None else self.target.rows(prompts)
        rows = own.batch if worlds == 1 else own.batch.select(list(range(len(part))) * worlds, trim=False)
        target = Target(rows, own.clean.repeat(worlds, *[1] * (changed.ndim - 1)))
        values = torch.stack([_values(metric, changed, target) for metric in self.metrics]).cpu().numpy()
        by_world = values.reshape(len(self.metrics), worlds, len(part))
        self.measured.clean[:, prompts] = by_world[:, 0]
        self.measured.cells[:, list(chunk), prompts] = by_world[:, 1:]


def _values(metric: Metric, logits: Tensor, target: Target) -> Tensor:
    if not metric.everywhere:
        logits, target = target.at_answers(logits), Target(target.batch, target.at_answers(target.clean))
    return metric.compute(logits, target).double()
