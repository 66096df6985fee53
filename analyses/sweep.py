"""Sweep: many small edits, few forwards.

Each cell is one set of edits. Cells become rows of one batch beside the clean prompts; a cell's rows join the batch at
the layer of its first edit, so nothing before it is computed twice, and the unembedding runs at answer positions only.
The metric reduces the logits before anything is kept. The order of cells never matters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analyses.bench import Bench
from analyses.metrics import Metric, Target
from hooks.schedule import World
from hooks.tokens import TokenBatch

STEPS = 8


@dataclass(frozen=True, eq=False)
class Measured:
    """Values of a sweep: clean [metric prompt] and cells [metric cell prompt], float64; done marks measured cells."""

    clean: np.ndarray
    cells: np.ndarray
    done: np.ndarray


def sweep(
    bench: Bench,
    inputs: str,
    cells: Sequence[World],
    metrics: Sequence[Metric],
    *,
    on_chunk: Callable[[Measured], None] | None = None,
) -> Measured:
    """Every metric for every cell and prompt. `on_chunk` is told after each forward, and may raise Cancelled."""
    batch = bench.batch(inputs)
    for metric in metrics:
        metric.check(batch)
    everywhere = any(metric.everywhere for metric in metrics)
    at = None if everywhere else torch.tensor(batch.answer_at)
    bench.sources([edit for cell in cells for edit in cell])
    measured = Measured(
        np.zeros((len(metrics), len(batch))),
        np.zeros((len(metrics), len(cells), len(batch))),
        np.zeros(len(cells), dtype=bool),
    )
    order = sorted(range(len(cells)), key=lambda cell: _first_layer(cells[cell]))
    size = cells_per_forward(bench, batch, len(cells), everywhere=everywhere)
    for start in range(0, len(order), size):
        chunk = order[start : start + size]
        logits = bench.worlds(inputs, [cells[cell] for cell in chunk], logits_at=at)
        _reduce(logits, batch, metrics, chunk, measured)
        if on_chunk is not None:
            on_chunk(measured)
    return measured


def cells_per_forward(bench: Bench, batch: TokenBatch, n_cells: int, *, everywhere: bool) -> int:
    """How many cells share a forward: what fits the byte budget, and few enough that progress shows."""
    rows = max(1, bench.budget_bytes // row_bytes(bench, batch, everywhere=everywhere))
    fitting = max(1, rows // len(batch) - 1)
    return min(fitting, max(1, -(-n_cells // STEPS)))


def row_bytes(bench: Bench, batch: TokenBatch, *, everywhere: bool) -> int:
    """Bytes that one row of a packed forward needs at its widest layer, logits included."""
    info, width = bench.model.info, batch.ids.shape[1]
    heads = info.n_heads + 2 * info.n_kv_heads
    streams = width * (6 * info.d_model + 3 * info.d_mlp + 3 * heads * info.d_head)
    attention = 3 * info.n_heads * width * width
    logits = 3 * info.d_vocab * (width if everywhere else 1)
    return 4 * (streams + attention + logits)


def _first_layer(world: World) -> int:
    return min((-1 if edit.at.site.layer is None else edit.at.site.layer for edit in world), default=0)


def _reduce(
    logits: Tensor, batch: TokenBatch, metrics: Sequence[Metric], chunk: Sequence[int], measured: Measured
) -> None:
    clean = logits[0].float()
    target = Target(batch, clean)
    for m, metric in enumerate(metrics):
        measured.clean[m] = _values(metric, clean, target, batch)
        for row, cell in enumerate(chunk):
            measured.cells[m, cell] = _values(metric, logits[1 + row].float(), target, batch)
    measured.done[list(chunk)] = True


def _values(metric: Metric, logits: Tensor, target: Target, batch: TokenBatch) -> np.ndarray:
    if logits.shape[1] > 1 and not metric.everywhere:
        last = torch.tensor(batch.answer_at, device=logits.device)
        rows = torch.arange(len(batch), device=logits.device)
        clean = target.clean if target.clean.shape[1] == 1 else target.clean[rows, last][:, None]
        logits, target = logits[rows, last][:, None], Target(batch, clean)
    return metric.compute(logits, target).double().cpu().numpy()
