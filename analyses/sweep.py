"""Sweep: many small edits, few forwards.

Each cell is one set of edits. Cells become rows of one batch beside the clean prompts; a cell's rows join the batch at
the layer of its first edit, so nothing before it is computed twice, and the unembedding runs at answer positions only.
Where the prompts do not fit the byte budget, they are split too. The metric reduces the logits before anything is
kept. The order of cells never matters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analyses.bench import Bench
from analyses.memory import rows_within
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
        metric.check(batch, bench.model.info)
    everywhere = any(metric.everywhere for metric in metrics)
    bench.sources([edit for cell in cells for edit in cell])
    measured = Measured(
        np.zeros((len(metrics), len(batch))),
        np.zeros((len(metrics), len(cells), len(batch))),
        np.zeros(len(cells), dtype=bool),
    )
    order = sorted(range(len(cells)), key=lambda cell: _first_layer(cells[cell]))
    n_cells, n_prompts = shares_per_forward(bench, batch, len(cells), everywhere=everywhere)
    for start in range(0, len(order), n_cells):
        chunk = order[start : start + n_cells]
        for first in range(0, len(batch), n_prompts):
            part = batch.rows(first, first + n_prompts)
            at = None if everywhere else torch.tensor(part.answer_at)
            logits = bench.worlds(part, [cells[cell] for cell in chunk], logits_at=at)
            _reduce(logits, part, metrics, chunk, measured)
            measured.done[chunk] = first + n_prompts >= len(batch)
            if on_chunk is not None:
                on_chunk(measured)
    return measured


def shares_per_forward(bench: Bench, batch: TokenBatch, n_cells: int, *, everywhere: bool) -> tuple[int, int]:
    """How many cells and prompts share a forward: what fits the byte budget.

    Each prompt has a clean row beside those of the cells. Where all prompts fit with a good number of cells, there are
    few enough cells that progress shows; where they do not, prompts are split rather than run clean for every cell.
    """
    rows = rows_within(bench.budget_bytes, bench.model.info, batch, everywhere=everywhere)
    shared = max(1, min(n_cells, STEPS))
    if rows >= (1 + shared) * len(batch):
        return min(rows // len(batch) - 1, max(1, -(-n_cells // STEPS))), len(batch)
    shared = max(1, min(shared, rows - 1))
    return shared, min(len(batch), max(1, rows // (1 + shared)))


def _first_layer(world: World) -> int:
    return min((-1 if edit.at.site.layer is None else edit.at.site.layer for edit in world), default=0)


def _reduce(
    logits: Tensor, part: TokenBatch, metrics: Sequence[Metric], chunk: Sequence[int], measured: Measured
) -> None:
    """Fill in the values of the prompts of `part`."""
    prompts = slice(part.first, part.first + len(part))
    clean = logits[0].float()
    target = Target(part, clean)
    for m, metric in enumerate(metrics):
        measured.clean[m, prompts] = _values(metric, clean, target)
        for row, cell in enumerate(chunk):
            measured.cells[m, cell, prompts] = _values(metric, logits[1 + row].float(), target)


def _values(metric: Metric, logits: Tensor, target: Target) -> np.ndarray:
    if not metric.everywhere:
        logits, target = target.at_answers(logits), Target(target.batch, target.at_answers(target.clean))
    return metric.compute(logits, target).double().cpu().numpy()
