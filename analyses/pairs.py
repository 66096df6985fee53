"""Pairs of prompts: a clean and a corrupt set, token by token alike, measured with the same answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from analyses.bench import Bench
from analyses.metric_choice import MetricChoice, metric_of
from analyses.metrics import Metric, Target
from hooks.errors import InputError

CLEAN, CORRUPT = "clean", "corrupt"
Direction = Literal["denoising", "noising"]
"""denoising: run the corrupt prompts, copy clean activations in. noising: run the clean prompts, copy corrupt ones."""


def run_and_source(direction: Direction) -> tuple[str, str]:
    """The input that is run and the input that is copied from."""
    return (CORRUPT, CLEAN) if direction == "denoising" else (CLEAN, CORRUPT)


def check_pairs(bench: Bench) -> None:
    """Raises InputError unless each corrupt prompt has as many tokens as the clean one of its pair."""
    clean, corrupt = bench.batch(CLEAN), bench.batch(CORRUPT)
    if len(clean) != len(corrupt):
        raise InputError(
            f"clean has {len(clean)} prompts and corrupt {len(corrupt)}.", "Give one corrupt prompt per clean prompt."
        )
    for stack in ("", *clean.sides):
        ours, theirs = clean.side(stack).lengths, corrupt.side(stack).lengths
        for number, (here, there) in enumerate(zip(ours, theirs, strict=True)):
            if here != there:
                raise InputError(
                    f"pair {number}: the clean prompt has {here} tokens{f' in the {stack}' if stack else ''}, "
                    f"the corrupt one {there}.",
                    "Prompts of a pair must have equally many tokens; different pairs may have different lengths.",
                )


@dataclass(frozen=True, eq=False)
class Measure:
    """A metric, and what it is taken against whichever prompts of a pair are run: the clean prompts and their run.

    So the corrupt prompts need no answers of their own, and a divergence is always one from the clean run.
    """

    bench: Bench
    metric: Metric
    target: Target

    def values(self, inputs: str) -> np.ndarray:
        """The metric of the unedited run of an input of the pair, [prompt]."""
        logits = self.target.clean if inputs == CLEAN else _logits(self.bench, inputs, self.metric)
        return self.metric.compute(logits, self.target).double().cpu().numpy()


def measure_of(choice: MetricChoice, bench: Bench) -> Measure:
    """How pairs are measured. Raises InputError where the clean prompts lack what the metric needs."""
    return measure_with(metric_of(choice, bench.model), bench)


def measure_with(metric: Metric, bench: Bench) -> Measure:
    """How pairs are measured by this metric. Raises InputError where the clean prompts lack what it needs."""
    clean = bench.batch(CLEAN)
    metric.check(clean, bench.model.info)
    return Measure(bench, metric, Target(clean, _logits(bench, CLEAN, metric)))


def _logits(bench: Bench, inputs: str, metric: Metric) -> Tensor:
    """Logits [prompt pos d_vocab] of the unedited run: at all positions, or at the answers where they are enough."""
    batch = bench.batch(inputs)
    at = None if metric.everywhere else torch.tensor(batch.answer_at)
    logits = bench.forward(inputs, logits_at=at).logits.float()
    return logits if metric.everywhere else Target(batch, logits).at_answers(logits)
