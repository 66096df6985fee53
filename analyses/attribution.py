"""Pairs with the slope of a metric: what first-order estimates of patching are made of.

A contrast holds some pairs' activations in both runs, and the derivative of the metric by each site in the run that
would be patched. The two runs of few pairs share one forward, since at that size weights are what takes the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from analyses.bench import Bench
from analyses.memory import row_bytes
from analyses.metrics import Metric, Target
from analyses.pairs import CLEAN, Direction, run_and_source
from hooks.activations import Activations
from hooks.gradients import Gradients
from hooks.plan import CapturePlan
from hooks.sites import MAIN, Site
from hooks.tokens import TokenBatch

TOKENS_TOGETHER = 128
"""Up to so many tokens, a forward with as many again costs less than a second forward."""
WRITES = ("attn_out", "mixer_out", "cross_attn_out", "mlp_out")


@dataclass(frozen=True, eq=False)
class Contrast:
    """Some pairs. run, source: their activations in the run that is patched and in the one that is copied from.

    batch: the prompts that run. metric: of each input of the pair [prompt], with the clean prompts' answers.
    """

    batch: TokenBatch
    run: Activations
    source: Activations
    slopes: Gradients
    metric: dict[str, np.ndarray]


def contrasts(
    bench: Bench,
    direction: Direction,
    metric: Metric,
    sites: Sequence[Site],
    *,
    reads: Sequence[Site] = (),
    drop: Sequence[Sequence[Site]] = (),
) -> Iterator[Contrast]:
    """The pairs of the experiment, as many at a time as the byte budget holds with all that a backward pass needs.

    reads: sites whose values alone are wanted. drop: see `Instrumented.gradients`. Raises SpecError for a metric
    without a gradient.
    """
    run, source = (bench.batch(name) for name in run_and_source(direction))
    plan = CapturePlan(sites=frozenset({*sites, *reads}))
    need = 2 * plan.bytes(bench.model.info, run, 1) * (1 + len(drop)) + _graph_bytes(bench, run, metric)
    size = max(1, bench.budget_bytes // need)
    for first in range(0, len(run), size):
        part, other = run.rows(first, first + size), source.rows(first, first + size)
        clean = bench.batch(CLEAN).rows(first, first + size)
        pair = _Pair(bench, direction, metric, clean, part, other)
        together = 2 * part.ids.numel() <= TOKENS_TOGETHER
        bench.forwards += 1 if together else 2
        yield (pair.together if together else pair.in_turn)(sites, CapturePlan(sites=frozenset(reads)), drop)


def _graph_bytes(bench: Bench, batch: TokenBatch, metric: Metric) -> int:
    """Bytes of one row with the graph of all layers, twice where both runs share the forward."""
    info = bench.model.info
    layers = sum(info.stack(name).n_layers for name in (MAIN, *info.stacks))
    head = row_bytes(info, batch, everywhere=metric.everywhere) - row_bytes(info, batch, everywhere=False)
    return layers * row_bytes(info, batch, everywhere=False) + head


@dataclass(frozen=True, eq=False)
class _Pair:
    """Some prompts of the run and of its source, with the clean prompts that have the answers."""

    bench: Bench
    direction: Direction
    metric: Metric
    clean: TokenBatch
    run: TokenBatch
    source: TokenBatch

    def together(self, sites: Sequence[Site], reads: CapturePlan, drop: Sequence[Sequence[Site]]) -> Contrast:
        """Both runs in one forward."""
        n, both = len(self.run), beside(self.run, self.source)
        metrics: dict[str, np.ndarray] = {}

        def objective(logits: Tensor) -> Tensor:
            return self._measured(logits[:n], logits[n:], metrics)

        found = self.bench.model.gradients(both, sites, objective, logits_at=self._at(both), reads=reads, drop=drop)
        run, source = (
            Activations({site: x[rows] for site, x in found.values.items()}, batch)
            for rows, batch in ((slice(n), self.run), (slice(n, None), self.source))
        )
        slopes = replace(
            found,
            grads=Activations({site: x[:n] for site, x in found.grads.items()}, self.run),
            dropped=tuple(Activations({site: x[:n] for site, x in one.items()}, self.run) for one in found.dropped),
        )
        return Contrast(self.run, run, source, slopes, metrics)

    def in_turn(self, sites: Sequence[Site], reads: CapturePlan, drop: Sequence[Sequence[Site]]) -> Contrast:
        """The source first, without a graph."""
        model, metrics = self.bench.model, dict[str, np.ndarray]()
        plan = CapturePlan(sites=reads.sites | frozenset(sites))
        copied = model.run(self.source, plan, logits_at=self._at(self.source))
        logits = copied.logits.float().clone()  # An inference tensor may not enter a graph.

        def objective(found: Tensor) -> Tensor:
            return self._measured(found, logits, metrics)

        found = model.gradients(self.run, sites, objective, logits_at=self._at(self.run), reads=reads, drop=drop)
        return Contrast(self.run, found.values, copied.activations, found, metrics)

    def _at(self, batch: TokenBatch) -> Tensor | None:
        return None if self.metric.everywhere else torch.tensor(batch.answer_at)

    def _measured(self, run: Tensor, source: Tensor, into: dict[str, np.ndarray]) -> Tensor:
        """The sum of the metric over the prompts that run; the metric of both runs is kept."""
        names = run_and_source(self.direction)
        if not self.metric.everywhere:
            run, source = (Target(batch, x).at_answers(x) for batch, x in ((self.run, run), (self.source, source)))
        target = Target(self.clean, (run if names[0] == CLEAN else source).detach())
        values = self.metric.compute(run, target)
        for name, x in zip(names, (values, self.metric.compute(source.detach(), target)), strict=True):
            into[name] = x.detach().double().cpu().numpy()
        return values.sum()


def beside(one: TokenBatch, other: TokenBatch) -> TokenBatch:
    """Two batches of equal width as one, the prompts of `one` first."""
    names = set(one.positions) & set(other.positions)
    return TokenBatch(
        torch.cat([one.ids, other.ids]),
        torch.cat([one.mask, other.mask]),
        torch.cat([one.special, other.special]),
        one.strings + other.strings,
        one.lengths + other.lengths,
        {name: (*one.positions[name], *other.positions[name]) for name in names},
        inputs={name: torch.cat([x, other.inputs[name]]) for name, x in one.inputs.items()},
        sides={name: beside(side, other.sides[name]) for name, side in one.sides.items()},
        grid=one.grid,
        single=one.single,
    )


def layer_groups(bench: Bench, stacks: Sequence[str]) -> tuple[tuple[Site, ...], ...]:
    """What each layer of some stacks writes to the residual stream, layer by layer; layers without are left out."""
    info, writable = bench.model.info, bench.model.writable
    groups = (
        tuple(site for name in WRITES if (site := Site(name, layer, stack)) in writable)
        for stack in dict.fromkeys(stacks)
        for layer in range(info.stack(stack).n_layers)
    )
    return tuple(group for group in groups if group)
