"""Circuits on the real forward pass: the metric of a model in which only some edges are intact.

Many circuits are rows of one forward, each reader in each of them with a stream of its own: see `hooks.edge_mask`. What
is cut takes its ablated value: from the corrupt run, zero, or the mean over a reference input.

Two circuits are known without a search: with every edge the model itself, with none the ablated run. Both are run, and
compared, whenever prompts are opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from analyses.ablated_writes import Ablation, Additions, averaged_over, corrupted, reference_of, zeroed
from analyses.bench import Bench
from analyses.circuit import Graph
from analyses.circuit_changes import Changes
from analyses.circuit_layout import layout_of
from analyses.circuit_scores import reader_sites
from analyses.held_reads import Norms, holding
from analyses.memory import row_bytes
from analyses.pairs import CLEAN, CORRUPT, Measure, check_pairs
from hooks.activations import Activations
from hooks.edge_layout import Ablated, Memory
from hooks.edge_mask import EdgeMask
from hooks.edge_runs import Watcher
from hooks.errors import ModelError, SiteMissing
from hooks.plan import CapturePlan
from hooks.reads import Reads
from hooks.schedule import Window
from hooks.sites import Site
from hooks.tokens import TokenBatch

Mask = Bool[np.ndarray, "writer reader"]
Masks = Bool[np.ndarray, "circuit writer reader"]
EXACT = {torch.float32: 1e-5, torch.float64: 1e-5, torch.bfloat16: 0.05, torch.float16: 0.01}
"""By how much of the largest logit the full circuit may differ from the model, and the empty one from its run."""
KEPT_BYTES = 1 << 30
REFERENCE = "reference"


@dataclass(eq=False)
class _Opened:
    """Some prompts with what their outside is set to; the logits of the model and of the ablated run [prompt …].

    window: of the positions that circuits run, from the first on at which the ablated run reads another token.
    """

    prompts: slice
    batch: TokenBatch
    reads: Reads
    ablated: Ablated
    full: Tensor
    empty: Tensor
    window: Window | None
    memory: Memory = field(default_factory=Memory)
    remembered: Tensor | None = None


class CircuitRuns:
    """Runs circuits of one graph on the clean prompts of an experiment.

    reference: the input that means are taken over. norms: what those divide by through which nodes read.
    """

    def __init__(
        self,
        bench: Bench,
        graph: Graph,
        measure: Measure,
        ablation: Ablation,
        *,
        reference: str = REFERENCE,
        norms: Norms = "live",
    ) -> None:
        """Raises InputError for prompts that do not pair up, SiteMissing where the model's parts do not add up."""
        if ablation == "counterfactual":
            check_pairs(bench)
        self.bench, self.graph, self.measure, self.ablation = bench, graph, measure, ablation
        self.layout, self._reference, self.norms = layout_of(graph), reference, norms
        self._changes = Changes(graph, self.layout)
        self.batch = bench.batch(CLEAN)
        _ = bench.model.reads.readers  # Found before any run, which holds the model's lock.
        self._captured: Activations | None = None
        self._kept: dict[int, _Opened] = {}
        self._values: dict[bytes, Float[np.ndarray, " prompt"]] = {}

    @property
    def full(self) -> Float[np.ndarray, " prompt"]:
        """The metric of the model itself."""
        return self.values(self.graph.allowed[None])[0]

    @property
    def empty(self) -> Float[np.ndarray, " prompt"]:
        """The metric with every edge cut."""
        return self.values(np.zeros_like(self.graph.allowed)[None])[0]

    def values(
        self, kept: Masks, *, told: Callable[[int], None] | None = None, remember: bool = False
    ) -> Float[np.ndarray, "circuit prompt"]:
        """The metric of circuits, each given by the edges that it keeps. told: how many have run, after every forward.

        remember: circuits run one after the other, of each only what is otherwise than in the one
        before.
        What has been measured is not run again.
        """
        masks = np.asarray(kept) & self.graph.allowed
        names = [blake2b(np.packbits(mask).tobytes(), digest_size=16).digest() for mask in masks]
        new = {name: mask for name, mask in zip(names, masks, strict=True) if name not in self._values}
        if told is not None:
            told(len(names) - len(new))
        if new:
            found = self._measured(torch.from_numpy(np.stack([*new.values()])), told, remember=remember)
            self._values.update(zip(new, found, strict=True))
        return np.stack([self._values[name] for name in names])

    def _measured(
        self, masks: Tensor, told: Callable[[int], None] | None, *, remember: bool
    ) -> Float[np.ndarray, "circuit prompt"]:
        found = np.zeros((len(masks), len(self.batch)))
        for opened in self._opened():
            target = self.measure.target.rows(opened.prompts)
            for circuits, logits in self._logits(opened, masks, remember=remember):
                for circuit, one in zip(circuits, logits, strict=True):
                    values = self.measure.metric.compute(one.float(), target)
                    found[circuit, opened.prompts] = values.double().cpu().numpy()
                if told is not None and opened.prompts.stop == len(self.batch):
                    told(len(circuits))
        return found

    # -- prompts

    def _opened(self) -> Iterator[_Opened]:
        each = self._prompt_bytes()
        share = max(1, min(len(self.batch), 4 * self.bench.budget_bytes // each))
        for first in range(0, len(self.batch), share):
            if first not in self._kept:
                opened = self._open(slice(first, min(first + share, len(self.batch))))
                if len(self.batch) * each > KEPT_BYTES:
                    self._kept.clear()
                self._kept[first] = opened
            yield self._kept[first]

    def _prompt_bytes(self) -> int:
        """Bytes of what is captured per prompt."""
        sites = {writer.site for writer in self.layout.writers} | {reader.site for reader in self.layout.readers}
        return CapturePlan(sites=frozenset(sites)).bytes(self.bench.model.info, self.batch, 2)

    def _open(self, prompts: slice) -> _Opened:
        batch = self.batch.rows(prompts.start, prompts.stop)
        reads = self._reads(batch)
        ablated = self._ablated(batch, prompts, reads)
        additions = Additions(self.bench.model, self.layout, ablated)
        full = self._run(batch, additions.watchers(), reads)
        additions.check()
        mask = EdgeMask(reads, self.layout, ablated, self._none(), len(batch))
        empty = self._run(batch, mask.watchers(), reads)
        window = self._window(batch)
        if window is not None:
            ablated = ablated.behind(window.start)
        opened = _Opened(prompts, batch, reads, ablated, full, empty, window)
        self._check(opened)
        return opened

    def _window(self, batch: TokenBatch) -> Window | None:
        """The positions from the first one on at which a pair differs: before it no edge carries any change."""
        bench, model = self.bench, self.bench.model
        plain = self.ablation == "counterfactual" and self.norms == "live" and not self.measure.metric.everywhere
        if not plain or not model.tails:
            return None
        there = bench.batch(CORRUPT).rows(batch.first, batch.first + len(batch))
        differs = (batch.ids != there.ids).any(0).nonzero().flatten().tolist()
        start = min([*differs, *batch.answer_at])
        return model.edge_runs.behind(batch, start, bench.past(batch)) if start else None

    def _reads(self, batch: TokenBatch) -> Reads:
        model, readers = self.bench.model, tuple(reader_sites(self.graph))
        if self.norms == "live":
            return model.reads
        streams = frozenset(model.reads.reader(site).stream for site in readers)
        return holding(model, readers, self.bench.capture(batch, CapturePlan(sites=streams)))

    def _none(self) -> Tensor:
        return torch.zeros((1, *self.graph.allowed.shape), dtype=torch.bool)

    def _ablated(self, batch: TokenBatch, prompts: slice, reads: Reads) -> Ablated:
        if self.ablation == "counterfactual":
            there = self.bench.batch(CORRUPT).rows(prompts.start, prompts.stop)
            return corrupted(self.bench, self.layout, there, reads)
        if self.ablation == "zero":
            return zeroed(self.bench.model, self.layout, reads)
        if self._captured is None:
            self._captured = reference_of(self.bench, self.layout, self._reference)
        return averaged_over(self.bench, self.layout, self._reference, batch, self._captured, reads)

    def _check(self, opened: _Opened) -> None:
        """Raises ModelError where the full circuit is not the model, or the empty one not the corrupt run."""
        plain = self.measure.target.rows(opened.prompts)
        clean = plain.at_answers(plain.clean)
        self._same(clean, plain.at_answers(opened.full), "full circuit", "model")
        if opened.window is not None:
            again = self._run(opened.batch, {}, opened.reads, window=opened.window)
            self._same(clean, plain.at_answers(again), "run of the last positions", "model")
        if self.ablation == "counterfactual" and self.norms == "live":
            there = self.bench.batch(CORRUPT).rows(opened.prompts.start, opened.prompts.stop)
            at = torch.tensor(opened.batch.answer_at)
            logits = self.bench.forward(there, logits_at=at).logits
            self._same(logits, plain.at_answers(opened.empty), "empty circuit", "corrupt run")

    def _same(self, expected: Tensor, found: Tensor, what: str, whom: str) -> None:
        apart = float((expected.float() - found.float()).abs().max())
        # A norm at a given scale is computed otherwise than by its module, and rounds otherwise.
        rounding = 1 if self.norms == "live" else 10
        if apart > rounding * EXACT[self.bench.model.dtype] * max(1.0, float(expected.abs().max())):
            raise ModelError(
                f"the {what} of {self.bench.model.name} differs from the {whom} by {apart:.2g} in its logits.",
                "Circuits cannot be judged on this model; `workbench check` shows what fails.",
            )

    # -- circuits

    def _logits(self, opened: _Opened, masks: Tensor, *, remember: bool) -> Iterator[tuple[list[int], Tensor]]:
        """Circuits and their logits [circuit prompt pos d_vocab], forward by forward; those that are known run not."""
        sizes = masks.flatten(1).sum(1)
        known = {0: opened.empty, self.graph.n_edges: opened.full}
        left: list[int] = []
        for circuit, size in enumerate(sizes.tolist()):
            if size in known:
                yield [circuit], known[size][None]
            else:
                left.append(circuit)
        while left:
            count = 1 if remember else self._together(opened, masks[left])
            now, left = left[:count], left[count:]
            logits = self._resumed(opened, masks[now[0]]) if remember else self._packed(opened, masks[now])
            yield now, logits

    def _together(self, opened: _Opened, masks: Tensor) -> int:
        """How many of some circuits, from the first on, share a forward."""
        info, prompts = self.bench.model.info, len(opened.batch)
        whole, everywhere = opened.batch.ids.shape[1], self.measure.metric.everywhere
        width = whole if opened.window is None else whole - opened.window.start
        # With fewer positions a row is as much smaller.
        each = row_bytes(info, opened.batch, everywhere=everywhere) * width // whole
        streams, budget, count = 4 * prompts * width * info.d_model, self.bench.budget_bytes, 0
        for used in masks.any(2).sum(1).tolist():
            budget -= prompts * each + streams * (int(used) + 4 * info.n_heads)
            if budget < 0:
                break
            count += 1
        return max(1, count)

    def _packed(self, opened: _Opened, masks: Tensor) -> Tensor:
        mask = EdgeMask(opened.reads, self.layout, opened.ablated, masks, len(opened.batch))
        logits = self._run(opened.batch, mask.watchers(), opened.reads, masks, opened.window)
        return logits.unflatten(0, (len(masks), len(opened.batch)))

    def _resumed(self, opened: _Opened, mask: Tensor) -> Tensor:
        """One circuit; of the one that is remembered, what is as it was there is not run again."""
        before, memory = opened.remembered, opened.memory
        stale = None if before is None else self._changes.stale(before, mask)
        opened.remembered = None
        run = EdgeMask(opened.reads, self.layout, opened.ablated, mask[None], len(opened.batch),
                       memory=memory, stale=stale)  # fmt: skip
        logits = self._run(opened.batch, run.watchers(), opened.reads, mask[None], opened.window, memory, stale)
        opened.remembered = mask
        return logits[None]

    def _run(
        self,
        batch: TokenBatch,
        watchers: Mapping[Site, Watcher],
        reads: Reads,
        masks: Tensor | None = None,
        window: Window | None = None,
        memory: Memory | None = None,
        stale: Tensor | None = None,
    ) -> Tensor:
        """Logits [row pos d_vocab] of one forward over the rows of some worlds."""
        worlds = 1 if masks is None else len(masks)
        model = self.bench.model
        gave, still = (None, frozenset[Site]()) if memory is None else (memory.gave, self._still(stale))
        apart = frozenset() if masks is None else self.layout.disagreeing(masks)
        apart -= {site.layer for site in still if site.name != "mlp_out"}
        if apart and not model.edge_runs.keeps_apart:
            raise SiteMissing(
                f"query heads of {model.name} cannot be given keys and values of their own.", 'Use "keys": "kv_head".'
            )
        rows = batch if worlds == 1 else batch.select(list(range(len(batch))) * worlds, trim=False)
        at = None if self.measure.metric.everywhere else torch.tensor(batch.answer_at).repeat(worlds)
        self.bench.forwards += 1
        return model.edge_runs.run(rows, watchers, apart=apart, window=window, gave=gave, still=still,
                                   logits_at=at, norms=reads.held)  # fmt: skip

    def _still(self, stale: Tensor | None) -> frozenset[Site]:
        """The parts that need not run: what they read is as it was."""
        if stale is None or not self.bench.model.edge_runs.stills:
            return frozenset()
        return frozenset(writer.site for writer in self.layout.writers[1:]) - self.layout.writing(stale)
