"""Circuit search by cutting for real: every edge alone, or ACDC's removal of edge after edge.

An edge is cut by handing its reader what the writer wrote in the other run, and else what it hears anyway (the
intervention `via`). Cuts are packed into few forwards by `analyses.sweep`. Where query heads share keys that count once
for each of them, and where norms are frozen, a cut is the circuit of all other edges, run by `analyses.circuit_run`.

Sources: Goldowsky-Dill et al. 2023, arXiv 2304.05969; Conmy et al. 2023, arXiv 2304.14997 (ACDC).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float

from analyses.circuit import EMBED, LOGITS, Graph
from analyses.circuit_run import CircuitRuns
from analyses.circuit_slopes import Search
from analyses.pairs import CLEAN, CORRUPT, measure_with
from analyses.sweep import sweep
from hooks.activations import Activations
from hooks.errors import SpecError
from hooks.interventions.patch import Patch
from hooks.interventions.via import Via
from hooks.plan import CapturePlan
from hooks.reads import OUTPUT
from hooks.schedule import World
from hooks.sites import Part, Site

NOTHING = "nothing"
"""The source of what an edge carries that is cut by zero ablation."""
TOGETHER = 16
MASKS_TOGETHER = 256
MOST_CUTS = 20_000
Cut = int | tuple[Sequence[int], Sequence[int]]
"""What is cut at once: a node from all who hear it, or edges as the places of their writers and of their readers."""


@dataclass(frozen=True, eq=False)
class Cuts:
    """How edges and nodes of a search are cut. Raises SpecError where there are too many edges."""

    search: Search

    def __post_init__(self) -> None:
        graph = self.search.graph
        if graph.n_edges > MOST_CUTS and self.search.level == "edge":
            raise SpecError(
                f"this model has {graph.n_edges:,} edges to cut one by one; up to {MOST_CUTS:,} are.",
                'Use "method": "eap_ig", or "level": "node".',
            )

    def measure(
        self, cuts: Sequence[Cut], told: Callable[[int], None] | None = None
    ) -> tuple[Float[np.ndarray, " prompt"], Float[np.ndarray, "cut prompt"]]:
        """The metric of the clean prompts, and under each set of cuts. told: how many are done."""
        if self._runs is not None:
            return self._runs.full, self._by_masks(self._runs, cuts, told)
        search = self.search
        worlds = [self._world(cut) for cut in cuts]
        say = None if told is None else lambda so_far: told(int(so_far.done.sum()))
        found = sweep(search.bench, CLEAN, worlds, [search.metric], sources=self._sources, on_chunk=say)
        return found.clean[0], found.cells[0]

    # -- as circuits

    @cached_property
    def _runs(self) -> CircuitRuns | None:
        """What runs cuts as circuits, where edits cannot say them."""
        search, graph = self.search, self.search.graph
        shared = graph.keys == "query_head" and graph.info.group > 1 and search.level == "edge"
        if search.norms == "live" and not shared:
            return None
        measure = measure_with(search.metric, search.bench)
        return CircuitRuns(search.bench, graph, measure, search.ablation, norms=search.norms)

    def _by_masks(self, runs: CircuitRuns, cuts: Sequence[Cut], told: Callable[[int], None] | None) -> np.ndarray:
        allowed, found, done = self.search.graph.allowed, list[np.ndarray](), 0

        def some_more(count: int) -> None:
            nonlocal done
            done += count
            if told is not None:
                told(done)

        for first in range(0, len(cuts), MASKS_TOGETHER):
            some = cuts[first : first + MASKS_TOGETHER]
            masks = np.repeat(allowed[None], len(some), axis=0)
            for mask, cut in zip(masks, some, strict=True):
                mask[cut] = False
            found.append(runs.values(masks, told=some_more))
        return np.concatenate(found)

    # -- as edits

    @cached_property
    def _sources(self) -> dict[str, Activations]:
        """What is copied from beside the experiment's inputs."""
        if self._source != NOTHING:
            return {}
        clean = self.search.bench.capture(CLEAN, CapturePlan(sites=frozenset(self.search.writers)))
        return {NOTHING: Activations({site: torch.zeros_like(x) for site, x in clean.items()}, clean.batch)}

    @property
    def _source(self) -> str:
        return NOTHING if self.search.ablation == "zero" else CORRUPT

    def _world(self, cut: Cut) -> World:
        """The edits that cut all these edges at once; a node with all who hear it is patched itself."""
        graph = self.search.graph
        if isinstance(cut, int):
            return tuple(Patch(at=part, source=self._source) for part in self._parts([cut]))
        by_reader: dict[int, list[int]] = {}
        for writer, reader in zip(*cut, strict=True):
            by_reader.setdefault(int(reader), []).append(int(writer))
        return tuple(
            Via(at=_part(graph, reader), writers=self._parts(writers), source=self._source)
            for reader, writers in sorted(by_reader.items())
        )

    def _parts(self, writers: Iterable[int]) -> tuple[Part, ...]:
        learned = (Part(Site("pos_embed")),) if Site("pos_embed") in self.search.bench.model.sites else ()
        found: list[Part] = []
        for text in (self.search.graph.writers[writer] for writer in writers):
            found += [Part.parse(text), *(learned if text == EMBED else ())]
        return tuple(found)


def _part(graph: Graph, reader: int) -> Part:
    """Where a reader reads."""
    target, channel = graph.readers[reader]
    if target == LOGITS:
        return Part(Site(OUTPUT))
    part = Part.parse(target)
    if channel == "in":
        return Part(Site("mlp_in", part.site.layer))
    shared = part.head is not None and channel != "q"
    head = part.head // graph.info.group if shared and part.head is not None else part.head
    return Part(Site(channel, part.site.layer), head=head)


def exact(search: Search) -> Float[np.ndarray, "prompt …"]:
    """Each edge's (or node's) score [prompt writer reader] (or [prompt writer]): the metric's loss when it is cut."""
    graph = search.graph
    places = np.argwhere(graph.allowed.T)[:, ::-1]
    cuts: list[Cut] = [([writer], [reader]) for writer, reader in places.tolist()]
    if search.level == "node":
        cuts = list(range(len(graph.writers)))
    say = f"cutting {len(cuts):,} {search.level}s one by one"
    clean, cells = Cuts(search).measure(cuts, lambda done: search.bench.step(done, len(cuts), say))
    effect = search.sign * (clean - cells)
    if search.level == "node":
        return effect.T
    found = np.zeros((effect.shape[1], *graph.allowed.shape))
    found[:, places[:, 0], places[:, 1]] = effect.T
    return found


@dataclass(eq=False)
class Acdc:
    """ACDC's pass over the edges, from the logits back to the embedding, nearest writers first.

    An edge is cut for good when that makes the metric worse by less than `tau`, in the mean over prompts and with all
    earlier cuts in place. An edge into a node that nobody hears any more is cut without a try. rise: how much worse
    cutting each edge made it, 0 where it was not tried.

    Edges are tried several at a time, each with those before it cut as well; where one of them has to stay, the trials
    after it are void. So the result is that of one at a time.
    """

    search: Search
    tau: float

    def __post_init__(self) -> None:
        shape = self.search.graph.allowed.shape
        self.cuts = Cuts(self.search)
        self.kept = self.search.graph.allowed.copy()
        self.rise = np.zeros(shape)
        # What nobody hears any more may read what it likes, so its inputs are left out of the edits.
        self.unheard = np.zeros(shape[1], dtype=bool)
        self.harm = self._harms([np.zeros(shape, dtype=bool)])[0]

    def run(self) -> None:
        """Visit every edge. Cancel is heard between forwards."""
        graph, done = self.search.graph, 0
        for reader in reversed(range(len(graph.readers))):
            self.search.bench.step(done, graph.n_edges, f"ACDC: {int(self.kept.sum()):,} edges left")
            target, heard = graph.targets[reader], int(graph.heard[reader])
            if target < len(graph.writers) and not self.kept[target].any():
                self.kept[:, reader], self.unheard[reader] = False, True
            else:
                self._visit(reader, list(reversed(range(heard))))
            done += heard

    def _visit(self, reader: int, writers: list[int]) -> None:
        allowed = self.search.graph.allowed
        while writers:
            some = writers[:TOGETHER]
            trial, worlds = allowed & ~self.kept & ~self.unheard, []
            for writer in some:
                trial[writer, reader] = True
                worlds.append(trial.copy())
            for number, harm in enumerate(self._harms(worlds), start=1):
                writer = some[number - 1]
                self.rise[writer, reader] = harm - self.harm
                if harm - self.harm >= self.tau:
                    break
                self.kept[writer, reader], self.harm = False, harm
            writers = writers[number:]

    def _harms(self, cut: Sequence[Bool[np.ndarray, "writer reader"]]) -> list[float]:
        _, cells = self.cuts.measure([(one.nonzero()[0].tolist(), one.nonzero()[1].tolist()) for one in cut])
        return [float(x) for x in -self.search.sign * cells.mean(axis=1)]
