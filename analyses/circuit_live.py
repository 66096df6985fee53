"""One circuit after another on the same prompts: what an editor asks after every edit.

The numbers are those of `circuit_evaluation` for the same circuit; nothing else of an evaluation is run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from analyses.ablated_writes import Ablation
from analyses.bench import Bench
from analyses.circuit import Graph, Keys
from analyses.circuit_mask import Mask, unpacked
from analyses.circuit_run import REFERENCE, CircuitRuns
from analyses.metric_choice import MetricChoice
from analyses.pairs import CORRUPT, measure_of
from analyses.statistics import Estimate, mean, recovered
from hooks.errors import SpecError


@dataclass(frozen=True, eq=False)
class Measured:
    """The metric of a circuit, of the model and of the ablated run, each [prompt]. title, unit: of the metric."""

    circuit: Float[np.ndarray, " prompt"]
    full: Float[np.ndarray, " prompt"]
    empty: Float[np.ndarray, " prompt"]
    title: str
    unit: str

    @property
    def faithfulness(self) -> Estimate:
        """(circuit − ablated) / (model − ablated) of the means, with its bootstrap interval over prompts."""
        return recovered(self.circuit, self.full, self.empty)

    @property
    def difference(self) -> Estimate:
        """circuit − model, prompt by prompt, with its interval; in the metric's unit."""
        return mean(self.circuit - self.full)


def runs_of(bench: Bench, metric: MetricChoice, ablation: Ablation, keys: Keys, reference: str | None) -> CircuitRuns:
    """Circuits of the bench's clean prompts, ready to be run. reference: the input of mean ablation, by default
    `reference` where there is one, else `corrupt`.

    Raises SpecError for a reference that is not there, InputError for prompts that do not pair up or lack answers.
    """
    given = bench.experiment.inputs
    chosen = reference or (REFERENCE if REFERENCE in given else CORRUPT)
    if ablation == "mean" and chosen not in given:
        raise SpecError(f"mean ablation needs inputs.{chosen}.", "Add it, or name another input as `reference`.")
    graph = Graph.of(bench.model, keys=keys)
    _ = bench.model.edge_runs.stills  # Tried before the first edit has to wait for it.
    return CircuitRuns(bench, graph, measure_of(metric, bench), ablation, reference=chosen)


def measured(runs: CircuitRuns, kept: str) -> Measured:
    """The circuit of the edges packed in `kept`, pruned; what is as in the one before is not run again.

    Raises SpecError for edges of another graph.
    """
    mask: Mask = runs.graph.prune(unpacked(kept, runs.graph.allowed.shape))
    values = runs.values(mask[None], remember=True)[0]
    metric = runs.measure.metric
    return Measured(values, runs.full, runs.empty, metric.title, metric.unit)
