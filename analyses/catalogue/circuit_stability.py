"""Circuit stability: whether a circuit holds for other prompts of its task, and whether a search would find it again.

A circuit is judged, as in `circuit_evaluation`, on several draws of a task's generator: other names, other objects, and
the task's other wordings. Its faithfulness is given for every draw, for every wording (over all draws together), and
for all prompts; how far draws scatter stands beside them. With `search` the circuit is looked for anew on every draw,
and the found sets of edges are compared: their Jaccard overlap is |A ∩ B| / |A ∪ B|.

Source: Méloux et al. 2025, arXiv 2510.00845 (how much circuits owe to the sample).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from analyses.ablated_writes import Ablation
from analyses.analysis import Analysis, Findings
from analyses.averages import recoveries
from analyses.bench import Bench
from analyses.circuit import Circuit, Graph
from analyses.circuit_example import EXAMPLE
from analyses.circuit_live import runs_of
from analyses.circuit_notes import BARE
from analyses.circuit_ranking import laid_out, scores_by_prompt
from analyses.circuit_run import Mask
from analyses.datasets import task_named
from analyses.experiment import Experiment
from analyses.faithfulness import jaccard, mean_jaccard
from analyses.grid import Coord, Grid
from analyses.metric_choice import MetricChoice
from analyses.phrases import metric_in_words
from hooks.spec import Spec

MOST_DRAWS = 100


class Params(Spec):
    """task, n, variant: the generator, prompts per draw, kind of corruption. seeds: one draw each.

    search: score all edges of every draw by this method (`steps` points of eap_ig), and compare the best, as many as
    the circuit has. reference: the input of mean ablation, as in `circuit_evaluation`.
    """

    circuit: Annotated[Circuit, BARE]
    task: str
    n: int = Field(default=16, ge=1, le=1000)
    variant: str = ""
    seeds: Annotated[tuple[int, ...], Field(min_length=1, max_length=MOST_DRAWS)] = (1, 2, 3, 4, 5)
    ablation: Ablation = "counterfactual"
    reference: str | None = None
    metric: MetricChoice = "logit_diff"
    search: Literal["eap", "eap_ig"] | None = None
    steps: int = Field(default=5, ge=1, le=1000)
    per_prompt: bool = False

    @model_validator(mode="after")
    def _distinct(self) -> Params:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed is named twice: draws of one seed are the same prompts")
        return self


@dataclass(frozen=True, eq=False)
class _Draw:
    """What one draw gave: the metric of circuit, model and ablated run [prompt], and the edges that a search keeps."""

    templates: tuple[str, ...]
    circuit: np.ndarray
    full: np.ndarray
    empty: np.ndarray
    found: Mask | None

    @property
    def measured(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.circuit, self.full, self.empty


def compute(params: Params, bench: Bench) -> Findings:
    draws = [_drawn(params, bench, number) for number in range(len(params.seeds))]
    templates = tuple(name for draw in draws for name in draw.templates)
    circuit, full, empty = (np.concatenate(parts) for parts in zip(*(draw.measured for draw in draws), strict=True))
    pooled = _Draw(templates, circuit, full, empty, None)
    by_draw = {str(seed): draw for seed, draw in zip(params.seeds, draws, strict=True)}
    by_template = {name: _of(pooled, name) for name in dict.fromkeys(pooled.templates)}
    what = f"faithfulness of the circuit, {params.ablation} ablation"
    grids = [
        *recoveries("faithfulness", pooled.circuit, pooled.full, pooled.empty, (), {}, baseline=1.0,
                    about=f"{what}, on all prompts of all draws", per_prompt=params.per_prompt),
        *_each("faithfulness_by_draw", "draw", by_draw, f"{what}, of each draw: one seed of the task {params.task}"),
        *_spread(by_draw),
        *_each("faithfulness_by_template", "template", by_template, f"{what}, of each wording, all draws together"),
    ]  # fmt: skip
    if params.search:
        grids += _overlaps(params, bench, draws)
    return Findings(tuple(grids), params.circuit.model_dump(mode="json"))


def _drawn(params: Params, bench: Bench, number: int) -> _Draw:
    """One draw measured. It has a bench of its own, since its prompts are other inputs."""
    seed = params.seeds[number]
    bench.step(number, len(params.seeds), f"draw {number + 1} of {len(params.seeds)}: the circuit")
    made = task_named(params.task).make(bench.model.tokenizer, params.n, seed, params.variant)
    if made.note:
        bench.notes.append(f"seed {seed}: {made.note}")
    experiment = bench.experiment.model_copy(update={"inputs": dict(made.inputs)})
    own = Bench(bench.model, experiment, budget_bytes=bench.budget_bytes, pace=bench.pace)
    runs = runs_of(own, params.metric, params.ablation, params.circuit.keys, params.reference)
    graph = runs.graph
    kept = graph.prune(graph.kept(params.circuit))
    circuit = runs.values(kept[None])[0]
    found = None
    if params.search:
        bench.step(number, len(params.seeds), f"draw {number + 1} of {len(params.seeds)}: the search")
        scores = scores_by_prompt(own, graph, runs.measure.metric, params.search, params.steps).mean(axis=0)
        rank = np.where(graph.allowed, np.abs(laid_out(graph, scores)), -np.inf)
        found = graph.prune(graph.top(rank, params.circuit.size, by="signed"))
    bench.forwards += own.forwards
    return _Draw(made.inputs["clean"].templates, circuit, runs.full, runs.empty, found)


def _of(draw: _Draw, template: str) -> _Draw:
    """The prompts of one wording."""
    chosen = np.array([name == template for name in draw.templates])
    return _Draw((template,) * int(chosen.sum()), draw.circuit[chosen], draw.full[chosen], draw.empty[chosen], None)


def _each(name: str, axis: str, parts: Mapping[str, _Draw], about: str) -> list[Grid]:
    """Faithfulness of each part of the prompts with its interval over the prompts of that part."""
    found = [recoveries("one", part.circuit, part.full, part.empty, (), {}) for part in parts.values()]
    coords: dict[str, tuple[Coord, ...]] = {
        axis: tuple(parts),
        "prompts": tuple(len(part.circuit) for part in parts.values()),
    }
    grids = []
    for place, end in enumerate(("", "_low", "_high")):
        if any(len(one) <= place for one in found):
            break
        known = np.array([one[place].valid is None for one in found])
        values = np.array([float(one[place].values) for one in found])
        said = found[0][place].about if end else f"{about}; ratio of means over prompts"
        valid = None if known.all() else known
        grids.append(Grid(f"{name}{end}", values, (axis,), coords, "fraction", 1.0, said, valid))
    return grids


def _spread(draws: Mapping[str, _Draw]) -> list[Grid]:
    """How far draws scatter: their standard deviation, beside which a single draw's interval can be held."""
    values = np.array([_ratio(draw) for draw in draws.values()])
    if len(values) < 2 or not np.isfinite(values).all():
        return []
    about = f"standard deviation (n − 1) of faithfulness over {len(values)} draws, which go from {values.min():.3g} to "
    about += f"{values.max():.3g}"
    return [Grid("faithfulness_spread", np.array(values.std(ddof=1)), (), {}, "fraction", None, about)]


def _ratio(draw: _Draw) -> float:
    gap = float(np.mean(draw.full - draw.empty))
    return float(np.mean(draw.circuit - draw.empty)) / gap if gap else float("nan")


def _overlaps(params: Params, bench: Bench, draws: list[_Draw]) -> list[Grid]:
    """Overlap of the circuits that a search finds on each draw, with each other and with the one that is judged."""
    found = [draw.found for draw in draws if draw.found is not None]
    graph = Graph.of(bench.model, keys=params.circuit.keys)
    judged = graph.prune(graph.kept(params.circuit))
    labels: tuple[Coord, ...] = tuple(map(str, params.seeds))
    of = f"Jaccard overlap of the {params.circuit.size:,} best edges by {params.search}, pruned,"
    pairs = np.array([[jaccard(a, b) for b in found] for a in found])
    own = np.array([jaccard(one, judged) for one in found])
    grids = [_overlap("jaccard_circuit", own, ("draw",), {"draw": labels}, f"{of} of each draw with the circuit")]
    grids.append(_overlap("jaccard", pairs, ("draw", "other"), {"draw": labels, "other": labels}, f"{of} of two draws"))
    if len(found) > 1:
        mean = np.array(mean_jaccard(np.stack([one[graph.allowed] for one in found])))
        grids.append(_overlap("jaccard_mean", mean, (), {}, f"mean {of} over all pairs of draws"))
    return grids


def _overlap(
    name: str, values: np.ndarray, dims: tuple[str, ...], coords: dict[str, tuple[Coord, ...]], about: str
) -> Grid:
    known = np.isfinite(values)
    valid = None if known.all() else np.asarray(known)
    about += "" if known.all() else "; undefined for two empty circuits"
    return Grid(name, np.where(known, values, 0.0), dims, coords, "fraction", None, about, valid)


def sentence(params: Params, experiment: Experiment) -> str:
    size, draws = params.circuit.size, len(params.seeds)
    again = f", and search it anew on each by {params.search}" if params.search else ""
    return (
        f"Judge a circuit of {size:,} edge{'' if size == 1 else 's'} by {metric_in_words(params.metric, experiment)} "
        f"on {draws} draw{'' if draws == 1 else 's'} of {params.n} pairs of the task {params.task}{again}."
    )


ANALYSIS = Analysis(
    name="circuit_stability",
    title="Circuit stability",
    Params=Params,
    inputs=(),
    summary="whether a circuit holds on other draws and other wordings of its task, and is found again on them",
    source="Méloux et al. 2025, arXiv 2510.00845",
    compute=compute,
    sentence=sentence,
    example={
        "circuit": dict(EXAMPLE),
        "task": "ioi",
        "seeds": [1, 2, 3],
    },
)
