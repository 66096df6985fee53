"""Runs for the gradient methods of circuit search: what writers change between two runs, and slopes along a path.

Prompts run as many at a time as the byte budget holds with their graphs; so do the points of a path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from pydantic import PrivateAttr
from torch import Tensor

from analyses.attribution import beside
from analyses.bench import Bench
from analyses.circuit import Graph
from analyses.circuit_scores import Slopes, changes, edge_scores, node_scores, reader_sites, shared_sites, writer_sites
from analyses.held_reads import Norms, holding
from analyses.memory import row_bytes
from analyses.metrics import Metric, Target
from analyses.pairs import CLEAN, CORRUPT
from hooks.activations import Activations
from hooks.interventions.base import EditContext, Intervention
from hooks.plan import CapturePlan
from hooks.reads import Reads
from hooks.run import Run
from hooks.sites import Part, Site
from hooks.tokens import TokenBatch

Ablation = Literal["counterfactual", "zero"]
Level = Literal["edge", "node"]
TOKENS_TOGETHER = 128
"""Up to so many tokens, a forward with as many again costs less than a second forward."""


class Held(Intervention):
    """Gives a site the values it is made with, one for each row."""

    kind: str = "held"
    _values: Tensor = PrivateAttr()

    @classmethod
    def of(cls, site: Site, values: Tensor) -> Held:
        edit = cls(at=Part(site))
        edit._values = values
        return edit

    def edit(self, x: Tensor, ctx: EditContext) -> Tensor:
        return self._values.to(x)


@dataclass(frozen=True, eq=False)
class Search:
    """What is searched: a graph, on pairs of prompts, for what raises `sign` times the metric of the clean prompts.

    ablation: what an edge carries once it is cut: the write of the corrupt prompt, or nothing. norms: what the norms
    divide by, by which nodes read the stream.
    """

    bench: Bench
    graph: Graph
    metric: Metric
    sign: float
    ablation: Ablation = "counterfactual"
    level: Level = "edge"
    norms: Norms = "live"

    @property
    def writers(self) -> tuple[Site, ...]:
        return tuple(writer_sites(self.graph, self.bench.model.sites))

    @property
    def probed(self) -> tuple[Site, ...]:
        """The sites whose slopes are wanted."""
        return self.writers if self.level == "node" else tuple(reader_sites(self.graph))

    @property
    def streams(self) -> tuple[Site, ...]:
        """What readers read."""
        reads = self.bench.model.reads
        return () if self.level == "node" else tuple({reads.reader(site).stream for site in self.probed})

    def reads_at(self, batch: TokenBatch) -> Reads:
        """How readers read with norms at the scales of the run on `batch`."""
        readers = tuple(reader_sites(self.graph))
        streams = frozenset(self.bench.model.reads.reader(site).stream for site in readers)
        return holding(self.bench.model, readers, self.bench.capture(batch, CapturePlan(sites=streams)))

    def chunks(self) -> Iterator[Pairs]:
        """The pairs, as many at a time as fit the budget with the graph of one point; progress in prompts."""
        clean = self.bench.batch(CLEAN)
        corrupt = self.bench.batch(CORRUPT) if self.ablation == "counterfactual" else None
        size = max(1, self.bench.budget_bytes // self._graph_bytes(clean))
        for first in range(0, len(clean), size):
            span = (first, first + size)
            yield Pairs(self, clean.rows(*span), None if corrupt is None else corrupt.rows(*span))

    def points_together(self, batch: TokenBatch) -> int:
        """Points of a path whose forward shares the batch axis with the prompts'."""
        fit = self.bench.budget_bytes // (self._graph_bytes(batch) * len(batch))
        return max(1, min(fit, TOKENS_TOGETHER // batch.ids.numel()))

    def _graph_bytes(self, batch: TokenBatch) -> int:
        """Bytes of one row with the graph of all layers, and of what is kept of it."""
        info, everywhere = self.bench.model.info, self.metric.everywhere
        kept = CapturePlan(sites=frozenset({*self.writers, *self.probed, *self.streams})).bytes(info, batch, 1)
        layer = row_bytes(info, batch, everywhere=False)
        return info.n_layers * layer + row_bytes(info, batch, everywhere=everywhere) - layer + 3 * kept


@dataclass(frozen=True, eq=False)
class Pairs:
    """Some prompts of a search. corrupt: None where edges that are cut carry nothing."""

    search: Search
    clean: TokenBatch
    corrupt: TokenBatch | None

    @cached_property
    def reads(self) -> Reads:
        """How readers read, with the norms as they are or at the scales of the clean run."""
        search = self.search
        if search.norms == "live":
            return search.bench.model.reads
        return search.reads_at(self.clean)

    def at_clean(self) -> Tensor:
        """Scores [prompt …] by the slope of the clean run: EAP, or attribution patching of nodes."""
        writers, n = self.search.writers, len(self.clean)
        # With frozen norms the corrupt run keeps its own, and has a forward of its own.
        corrupt = self.corrupt if self.search.norms == "live" else None
        if corrupt is not None and 2 * self.clean.ids.numel() <= TOKENS_TOGETHER:
            both, values = self._slopes(beside(self.clean, corrupt), (), None, reads=writers)
            change = changes(_rows(values, slice(n)), _rows(values, slice(n, None)), writers, self.clean.mask)
            return self._scores(change, Slopes(_rows(both.grads, slice(n)), _rows(both.streams, slice(n))))
        ablated = None if self.corrupt is None else self._run(self.corrupt).activations
        slopes, values = self._slopes(self.clean, (), None, reads=writers)
        return self._scores(changes(values, ablated, writers, self.clean.mask), slopes)

    def along_inputs(self, shares: Sequence[float]) -> Tensor:
        """Scores [prompt …] by the mean slope at points between the corrupt and the clean input: EAP-IG (inputs)."""
        clean, ablated, target = self._both()
        slopes = self._path(Site("embed"), clean, ablated, shares, target)
        return self._scores(changes(clean, ablated, self.search.writers, self.clean.mask), slopes)

    def along_activations(self, shares: Sequence[float], step: Callable[[int, int], None]) -> Tensor:
        """Scores [prompt …]; each writer's by the mean slope while its own output goes from corrupt to clean.

        The heads of a layer go together. step: told how many of the writers' sites are done, of how many.
        """
        clean, ablated, target = self._both()
        change = changes(clean, ablated, self.search.writers, self.clean.mask)
        total: Tensor | None = None
        for number, site in enumerate(self.search.writers):
            step(number, len(self.search.writers))
            slopes = self._path(site, clean, ablated, shares, target)
            found = self._scores({site: change[site]}, slopes)
            total = found if total is None else total + found
        assert total is not None
        return total

    def _scores(self, change: dict[Site, Tensor], slopes: Slopes) -> Tensor:
        search = self.search
        with torch.no_grad():
            if search.level == "node":
                return search.sign * node_scores(search.graph, change, slopes.grads, slopes.points)
            return search.sign * edge_scores(self.reads, search.graph, change, slopes)

    def _both(self) -> tuple[Activations, Activations, Tensor]:
        """What writers write in both runs, and the clean logits."""
        assert self.corrupt is not None, "a path needs two ends"
        n = len(self.clean)
        if 2 * self.clean.ids.numel() <= TOKENS_TOGETHER:
            run = self._run(beside(self.clean, self.corrupt))
            return _rows(run.activations, slice(n)), _rows(run.activations, slice(n, None)), run.logits[:n]
        alone = self._run(self.clean)
        return alone.activations, self._run(self.corrupt).activations, alone.logits

    def _run(self, batch: TokenBatch) -> Run:
        plan = CapturePlan(sites=frozenset(self.search.writers))
        self.search.bench.forwards += 1
        return self.search.bench.model.run(batch, plan, logits_at=self._at(batch))

    def _path(
        self, site: Site, clean: Activations, ablated: Activations, shares: Sequence[float], target: Tensor
    ) -> Slopes:
        """Slopes while a site is ablated + share · (clean − ablated), for all shares."""
        there, way = ablated[site], clean[site] - ablated[site]
        size = self.search.points_together(self.clean)
        found = []
        for start in range(0, len(shares), size):
            some = shares[start : start + size]
            rows = self.clean.select(list(range(len(self.clean))) * len(some), trim=False)
            held = Held.of(site, torch.cat([there + share * way for share in some]))
            found.append(self._slopes(rows, (held,), target.repeat(len(some), *[1] * (target.ndim - 1)))[0])
        return found[0] if len(found) == 1 else _joined(found)

    def _slopes(
        self, rows: TokenBatch, edits: Sequence[Intervention], clean: Tensor | None, reads: Sequence[Site] = ()
    ) -> tuple[Slopes, Activations]:
        """Slopes of one run, and the values of the sites that are read. clean: its logits where this run is another."""
        search, model = self.search, self.search.bench.model
        search.bench.forwards += 1

        def objective(logits: Tensor) -> Tensor:
            prompts = rows if clean is not None else self.clean
            logits = logits[: len(prompts)]
            before = logits.detach() if clean is None else clean.float().clone()
            target = Target(prompts, before)
            if not search.metric.everywhere:
                logits, target = target.at_answers(logits), Target(prompts, target.at_answers(before))
            return search.metric.compute(logits, target).sum()

        apart = () if search.level == "node" else shared_sites(search.graph)
        seen = CapturePlan(sites=frozenset({*search.streams, *reads}))
        found = model.gradients(
            rows, search.probed, objective, edits=edits, logits_at=self._at(rows), reads=seen, apart=apart,
            norms=self.reads.held,
        )  # fmt: skip
        return Slopes(found.grads, found.values, len(rows) // len(self.clean)), found.values

    def _at(self, batch: TokenBatch) -> Tensor | None:
        return None if self.search.metric.everywhere else torch.tensor(batch.answer_at)


def _rows(values: Activations, rows: slice) -> Activations:
    return Activations({site: x[rows] for site, x in values.items()}, values.batch)


def _joined(parts: Sequence[Slopes]) -> Slopes:
    """The points of several runs as those of one."""
    grads, streams = (
        Activations({site: torch.cat([one[site] for one in held]) for site in held[0]}, held[0].batch)
        for held in ([part.grads for part in parts], [part.streams for part in parts])
    )
    return Slopes(grads, streams, sum(part.points for part in parts))
