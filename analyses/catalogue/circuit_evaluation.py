"""Circuit evaluation: how much of the model a circuit is, on the real forward pass.

Only the circuit's edges are intact; what every other edge carries is its ablated value: from the corrupt run
(counterfactual), zero, or the mean over a reference input. Edges that reach no output or start from no input are
dropped first. With m the metric's mean over prompts,

    faithfulness   f(C) = (m(C) − m(ablated)) / (m(model) − m(ablated))

over the circuit's best-scored edges, a share k of all of the graph's edges at a time: ranked by absolute score for
`faithfulness` and CMD, by signed score for `faithfulness_signed` and CPR. IOI's criteria stand beside them.

Sources: Mueller et al. 2025, arXiv 2504.13151; Wang et al. 2022, arXiv 2211.00593; Hanna et al. 2024, 2403.17806.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from analyses import circuit_grids as grids
from analyses.ablated_writes import Ablation
from analyses.analysis import Analysis, Findings
from analyses.bench import Bench
from analyses.circuit import Circuit, Graph
from analyses.circuit_example import EXAMPLE
from analyses.circuit_heads import MOST, head_grids
from analyses.circuit_live import runs_of
from analyses.circuit_notes import BARE
from analyses.circuit_ranking import Scores, laid_out, scores_by_prompt, stability
from analyses.circuit_run import CircuitRuns, Mask
from analyses.circuit_subsets import greedy_set, minimality, random_sets, removable, taken_out
from analyses.experiment import Experiment
from analyses.faithfulness import SHARES, Area, shares_of
from analyses.grid import Grid
from analyses.metric_choice import MetricChoice
from analyses.pairs import CLEAN
from analyses.phrases import metric_in_words, prompts_in_words
from hooks.spec import Spec

Sets = Literal["random", "classes", "greedy"]
OUTSIDE = {
    "counterfactual": "all other edges carrying what they carry in the corrupt run",
    "zero": "all other edges carrying nothing",
    "mean": "all other edges carrying their mean over a reference input",
}


class Params(Spec):
    """scores: what ranks edges for the curve over `sizes`, shares of the graph's edges: the scores in the circuit, or
    those of all edges, found again by EAP or by EAP-IG with `steps` points; these also tell how stable circuits are.

    reference: the input of mean ablation; `reference` where there is one, else `corrupt`. controls: random circuits.
    completeness: which sets of nodes are taken out: `subsets` random ones, the given classes, a greedily grown one.
    heads: of how many of the circuit's strongest heads roles, attention, direct effect and tokens are told.
    """

    circuit: Annotated[Circuit, BARE]
    ablation: Ablation = "counterfactual"
    reference: str | None = None
    scores: Scores = "circuit"
    steps: int = Field(default=5, ge=1, le=1000)
    sizes: tuple[Annotated[float, Field(gt=0, le=1)], ...] = SHARES
    metric: MetricChoice = "logit_diff"
    controls: int = Field(default=10, ge=0, le=1000)
    completeness: tuple[Sets, ...] = ()
    subsets: int = Field(default=10, ge=1, le=1000)
    classes: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    minimality: bool = False
    # Not written where there are none: experiments keep the id they had before heads could be looked at.
    heads: int = Field(default=0, ge=0, le=MOST, exclude_if=lambda heads: not heads)
    per_prompt: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Params:
        if list(self.sizes) != sorted(set(self.sizes)):
            raise ValueError("sizes are shares of all edges, each larger than the one before")
        if "classes" in self.completeness and not self.classes:
            raise ValueError('completeness by classes needs "classes": {"name": ["L3.z[head=1]", …]}')
        if unknown := {node for nodes in self.classes.values() for node in nodes} - set(self.circuit.nodes):
            raise ValueError(f"classes name {', '.join(sorted(unknown))}, not among the circuit's nodes")
        return self

    @property
    def scored(self) -> bool:
        edges = self.circuit.edges
        return self.scores != "circuit" or (bool(edges) and all(edge.score is not None for edge in edges))


@dataclass(frozen=True, eq=False)
class _Judged:
    """One evaluation while it runs. kept: the circuit, pruned."""

    params: Params
    bench: Bench
    runs: CircuitRuns
    kept: Mask
    full: np.ndarray
    empty: np.ndarray

    @property
    def graph(self) -> Graph:
        return self.runs.graph

    def measured(self, masks: list[Mask], what: str) -> np.ndarray:
        """The metric of some circuits [circuit prompt], with progress."""
        done = 0

        def told(count: int) -> None:
            nonlocal done
            done += count
            self.bench.step(min(done, len(masks)), len(masks), what)

        self.bench.step(0, len(masks), what)
        return self.runs.values(np.stack(masks), told=told)

    def curves(self) -> Iterator[Grid]:
        """Faithfulness over size by both rankings, with CMD and CPR, and the rankings' stability over prompts."""
        counts = shares_of(self.params.sizes, self.graph.n_edges)
        by_prompt: np.ndarray | None = None
        if self.params.scores == "circuit":
            listed, scores = self.graph.kept(self.params.circuit), self.graph.scores(self.params.circuit)
        else:
            metric = self.runs.measure.metric
            by_prompt = scores_by_prompt(self.bench, self.graph, metric, self.params.scores, self.params.steps)
            listed, scores = self.graph.allowed, laid_out(self.graph, by_prompt.mean(axis=0))
        for name, area, order in grids.CURVES:
            rank = np.where(listed, np.abs(scores) if order == "absolute" else scores, -np.inf)
            yield from self._curve(name, area, order, self._cuts(rank, most=int(listed.sum())))
            if by_prompt is not None:
                found = stability(by_prompt, counts, absolute=order == "absolute")
                yield grids.stable(name.replace("faithfulness", "stability"), found, self.params.sizes, order)

    def _curve(self, name: str, area: Area, order: str, masks: list[Mask | None]) -> tuple[Grid, ...]:
        run = np.full((len(self.full), len(masks)), np.nan)
        there = [place for place, mask in enumerate(masks) if mask is not None]
        if there:
            run[:, there] = self.measured([one for one in masks if one is not None], f"circuits by {order} score").T
        edges = [0 if mask is None else int(mask.sum()) for mask in masks]
        missing = len(masks) - len(there)
        about = f"share of the model's {self.runs.measure.metric.title} above the ablated run's, by {order} score"
        about += f"; {missing} sizes are larger than the edges that have scores" if missing else ""
        return grids.curve(name, area, run, self.full, self.empty, self.params.sizes, edges, about,
                           per_prompt=self.params.per_prompt)  # fmt: skip

    def _cuts(self, rank: np.ndarray, most: int) -> list[Mask | None]:
        """The best edges of each size, pruned after the cut; None for a size beyond the edges that are ranked."""
        counts = shares_of(self.params.sizes, self.graph.n_edges)
        return [
            self.graph.allowed
            if count >= self.graph.n_edges
            else self.graph.prune(self.graph.top(rank, count, by="signed"))
            if count <= most
            else None
            for count in counts
        ]

    def controls(self) -> tuple[Grid, ...]:
        """The same sizes, and the circuit's, of random rankings of all edges."""
        count, sizes = self.params.controls, self.params.sizes if self.params.scored else ()
        if not count:
            return ()
        rng, found = np.random.default_rng(self.bench.experiment.seed), list[np.ndarray]()
        for number in range(count):
            self.bench.step(number, count, "random circuits")
            rank = rng.random(self.graph.allowed.shape)
            cuts = self._cuts(rank, most=self.graph.n_edges) if sizes else []
            alike = self.graph.prune(self.graph.top(rank, self.params.circuit.size, by="signed"))
            found.append(self.runs.values(np.stack([*(cut for cut in cuts if cut is not None), alike])))
        values = np.stack(found)
        return grids.controls(values[:, :-1].swapaxes(1, 2), self.full, self.empty, sizes, values[:, -1])

    def completeness(self) -> tuple[Grid, ...]:
        rng = np.random.default_rng(self.bench.experiment.seed)
        nodes, sets = removable(self.graph, self.kept), dict[str, tuple[str, ...]]()
        if "random" in self.params.completeness:
            drawn = random_sets(nodes, self.params.subsets, rng)
            sets |= {f"random {number}": one for number, one in enumerate(drawn, start=1)}
        if "classes" in self.params.completeness:
            sets |= self.params.classes
        if "greedy" in self.params.completeness and (grown := greedy_set(self.runs, self.kept, rng)):
            sets["greedy"] = grown
        self.bench.step(0, 2 * len(sets), "the circuit and the model without sets of nodes")
        found = taken_out(self.runs, self.kept, sets)
        return grids.complete(self.runs.measure.metric, found, per_prompt=self.params.per_prompt)

    def minimality(self) -> tuple[Grid, ...]:
        self.bench.step(0, len(removable(self.graph, self.kept)), "the circuit without each of its nodes")
        nodes, change = minimality(self.runs, self.kept, tuple(self.params.classes.values()))
        metric = self.runs.measure.metric
        return grids.minimal(metric, nodes, change, self.full, per_prompt=self.params.per_prompt)


def compute(params: Params, bench: Bench) -> Findings:
    bench.step(0, 1, "the model and its ablated run")
    runs = runs_of(bench, params.metric, params.ablation, params.circuit.keys, params.reference)
    graph, metric = runs.graph, runs.measure.metric
    kept = graph.prune(graph.kept(params.circuit))
    judged = _Judged(params, bench, runs, kept, runs.full, runs.empty)
    circuit = judged.measured([kept], "the circuit")[0]
    found = [*judged.curves()] if params.scored else []
    found += grids.whole(metric, circuit, judged.full, judged.empty, OUTSIDE[params.ablation],
                         per_prompt=params.per_prompt)  # fmt: skip
    found += judged.controls()
    if params.completeness:
        found += judged.completeness()
    if params.minimality:
        found += judged.minimality()
    if params.heads:
        found += head_grids(bench, params.circuit, params.heads, params.metric)
    dropped = params.circuit.size - int(kept.sum())
    if dropped:
        bench.notes.append(f"{dropped:,} of the circuit's {params.circuit.size:,} edges lie on no path of kept edges")
    return Findings(tuple(found), params.circuit.model_dump(mode="json"))


def sentence(params: Params, experiment: Experiment) -> str:
    size = params.circuit.size
    return (
        f"Keep {size:,} edge{'' if size == 1 else 's'} intact, {OUTSIDE[params.ablation]}, and compare "
        f"{metric_in_words(params.metric, experiment)} with the model's, on {prompts_in_words(experiment, CLEAN)}."
    )


ANALYSIS = Analysis(
    name="circuit_evaluation",
    title="Circuit evaluation",
    Params=Params,
    inputs=(CLEAN,),
    summary="how faithful, complete and minimal a circuit is, against random circuits",
    source="Mueller et al. 2025, arXiv 2504.13151; Wang et al. 2022, arXiv 2211.00593",
    compute=compute,
    sentence=sentence,
    example={
        "circuit": dict(EXAMPLE),
        "ablation": "counterfactual",
        "metric": "logit_diff",
    },
)
