"""What a circuit's outside is set to: the values that every writer, stream and reader has when all edges are cut.

counterfactual: those of the corrupt run. mean: means over a reference input at each position, within templates where
both inputs name them; over positions together where prompts differ in length. zero: writers add nothing, so that the
streams hold what no node writes (biases of output projections). Streams of means are means of streams, as they are
sums; readers are then computed from the stream, not averaged.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from analyses.bench import Bench
from hooks.activations import Activations
from hooks.edge_layout import Ablated, Layout
from hooks.edge_runs import Watcher
from hooks.errors import SiteMissing
from hooks.model import Instrumented
from hooks.plan import CapturePlan
from hooks.reads import Reads
from hooks.sites import Site
from hooks.sources import Sources
from hooks.tokens import TokenBatch

Ablation = Literal["counterfactual", "zero", "mean"]
SUM_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4, torch.bfloat16: 0.1, torch.float16: 0.02}
"""By how much of its largest entry a stream may differ from the sum of what is written to it."""


def stream_sites(layout: Layout, reads: Reads) -> frozenset[Site]:
    """The streams that readers read."""
    sites = (reader.site for reader in layout.readers)
    return frozenset(site if site.name == "resid_post" else reads.reader(site).stream for site in sites)


def corrupted(bench: Bench, layout: Layout, batch: TokenBatch, reads: Reads) -> Ablated:
    """Everything in the run on `batch`, the corrupt prompts; readers by `reads` where its norms are held."""
    streams = stream_sites(layout, reads)
    written = [writer.site for writer in layout.writers]
    read = [reader.site for reader in layout.readers] if reads.held is None else []
    by_site = bench.capture(batch, CapturePlan(sites=frozenset({*streams, *written, *read})))
    if reads.held is not None:
        held = {site: by_site[site] for site in streams}
        return Ablated({site: by_site[site] for site in written}, held, _readings(layout, held, reads))
    return Ablated(*({site: by_site[site] for site in sites} for sites in (written, streams, read)))


def averaged_over(
    bench: Bench, layout: Layout, name: str, batch: TokenBatch, reference: Activations, reads: Reads
) -> Ablated:
    """Means over input `name`, whose captures are `reference`, for the prompts of `batch`. Raises InputError."""
    sources = Sources({name: reference}, batch.whole)
    over = _over(batch.whole, reference.batch)
    prompts = slice(batch.first, batch.first + len(batch))
    kind = bench.model.dtype
    means = {site: sources.mean(name, site, over, prompts).to(kind) for site in reference}
    written = {writer.site: means[writer.site] for writer in layout.writers}
    return Ablated(written, means, _readings(layout, means, reads))


def reference_of(bench: Bench, layout: Layout, name: str) -> Activations:
    """What `averaged_over` needs of an input."""
    sites = {*stream_sites(layout, bench.model.reads), *(writer.site for writer in layout.writers)}
    return bench.capture(name, CapturePlan(sites=frozenset(sites)))


def zeroed(model: Instrumented, layout: Layout, reads: Reads) -> Ablated:
    """Writers that add nothing, and the streams that are left: the biases of output projections, added up."""
    stack = model.info
    nothing = torch.zeros(1, 1, stack.d_model, device=model.device, dtype=model.dtype)
    before = [nothing]
    for layer in range(stack.n_layers):
        bias = model.reads.unwritten(layer)
        before.append(before[-1] if bias is None else before[-1] + bias)
    streams = {
        site: before[(site.layer or 0) + (site.name != "resid_pre")] for site in stream_sites(layout, model.reads)
    }
    written = {writer.site: nothing.new_zeros(()) for writer in layout.writers}
    return Ablated(written, streams, _readings(layout, streams, reads))


def _readings(layout: Layout, streams: Mapping[Site, Tensor], reads: Reads) -> dict[Site, Tensor]:
    """What readers compute from their ablated streams."""
    sites = [reader.site for reader in layout.readers if reader.site.name != "resid_post"]
    with torch.inference_mode():
        return {site: reads.value(site, streams[reads.reader(site).stream]) for site in sites}


def _over(batch: TokenBatch, reference: TokenBatch) -> str:
    if batch.templates and reference.templates:
        return "template"
    return "prompts" if len({*batch.lengths, *reference.lengths}) == 1 else "positions"


class Additions:
    """Watches one unedited run for whether its streams are what is written to them, in place of ablated values."""

    def __init__(self, model: Instrumented, layout: Layout, ablated: Ablated) -> None:
        self._model, self._layout, self._ablated = model, layout, ablated
        self._total: Tensor | float = 0.0
        self._apart: dict[Site, tuple[float, float]] = {}

    def watchers(self) -> dict[Site, Watcher]:
        """To be given to a run."""
        found: dict[Site, Watcher] = {site: partial(self._compare, site) for site in self._ablated.streams}
        return found | {writer.site: partial(self._add, writer.site) for writer in self._layout.writers}

    def _add(self, site: Site, x: Tensor) -> None:
        change, reads = x - self._ablated.written[site], self._model.reads
        self._total = self._total + (reads.written(site, change) if site.name == "z" else change).float()

    def _compare(self, site: Site, x: Tensor) -> None:
        apart = x.float() - self._total - self._ablated.streams[site].float()
        self._apart[site] = float(apart.abs().max()), float(x.abs().max())

    def check(self) -> None:
        """Raises SiteMissing where a stream holds something else."""
        for site, (apart, size) in sorted(self._apart.items()):
            if apart > SUM_TOLERANCE[self._model.dtype] * max(1.0, size):
                raise SiteMissing(
                    f"{site} of {self._model.name} is not the sum of what its nodes write: {apart:.2g} apart.",
                    "Circuits are run in models whose heads and MLPs add to one residual stream.",
                )
