"""Circuit search: how much each edge, or node, of the residual graph helps the metric on the clean prompts.

A score is positive where the part helps: cutting it, so that it carries what it carries on the corrupt prompt (or
nothing, with zero ablation), makes the metric worse. Gradient methods estimate that for all edges at once:

    eap                 Σ (out_u clean − out_u corrupt) · ∂M/∂in_v, the slope being that of the clean run
    eap_ig              the same with the mean slope at m points between the corrupt and the clean input embeddings
    eap_ig_activations  the same with the mean slope while u's own output goes from corrupt to clean
    exact               every edge cut for real, one at a time
    acdc                edges cut for good, from the logits back, while the metric gets worse by less than tau

summed over positions and width, averaged over prompts. For a metric that falls as the model does better, such as KL,
signs are turned, so that positive means the same.

Sources: Syed et al. 2023, arXiv 2310.10348 (EAP); Hanna et al. 2024, arXiv 2403.17806 (EAP-IG); Mueller et al. 2025,
arXiv 2504.13151 (EAP-IG of activations); Conmy et al. 2023, arXiv 2304.14997 (ACDC).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator

from analyses.analysis import Analysis, Findings
from analyses.averages import averaged
from analyses.bench import Bench
from analyses.circuit import EMBED, LOGITS, Circuit, Graph, Keys, Order
from analyses.circuit_exact import Acdc, exact
from analyses.circuit_slopes import Ablation, Level, Pairs, Search
from analyses.experiment import Experiment
from analyses.grid import Coord, Grid
from analyses.held_reads import Norms
from analyses.metric_choice import FLAT, LESS_IS_BETTER, MetricChoice, metric_of
from analyses.pairs import CLEAN, CORRUPT, check_pairs
from analyses.phrases import metric_in_words, prompts_in_words
from hooks.errors import SpecError
from hooks.spec import Spec

Method = Literal["eap", "eap_ig", "eap_ig_activations", "exact", "acdc"]
TITLES: dict[Method, str] = {
    "eap": "edge attribution patching",
    "eap_ig": "edge attribution patching with integrated gradients of the inputs",
    "eap_ig_activations": "edge attribution patching with integrated gradients of the activations",
    "exact": "exact patching",
    "acdc": "ACDC",
}
LISTED = 5_000
"""Up to so many edges the scores are a list of edges with intervals, beyond a table of writers and readers."""
FEWEST = {"edge": 20, "node": 5}
SHARE = {"edge": 0.01, "node": 0.1}


class Params(Spec):
    """method: see above. level: edges, or nodes by themselves.

    steps, includes: of the integrating methods, the number of points and which end of the path is one of them (the
    clean end: k = 1 … m of m, as in the paper; the corrupt end: k = 0 … m − 1, as in its code). ablation: what a part
    carries that is cut. norms: whether the norms by which nodes read divide by what they are given, or stay at what
    they divided by in the clean run ("frozen"), so that a cut takes away what it carried and scales nothing else. keys:
    count the k and v edges once per query head, or once per key/value head. size: edges (or nodes) of the circuit
    before those that lead nowhere are dropped; by default 1 % of them and at least 20 (10 %, at least 5 nodes). rank:
    by absolute or by signed score. tau: of ACDC, in the metric's unit.
    """

    method: Method = "eap_ig"
    level: Level = "edge"
    metric: MetricChoice = "logit_diff"
    steps: int = Field(default=5, ge=1, le=1_000)
    includes: Literal["clean", "corrupt"] = "clean"
    ablation: Ablation = "counterfactual"
    norms: Norms = "live"
    keys: Keys = "query_head"
    size: int | None = Field(default=None, ge=1)
    rank: Order = "absolute"
    tau: float = Field(default=0.01, ge=0, allow_inf_nan=False)
    per_prompt: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Params:
        if self.integrates and self.ablation == "zero":
            raise ValueError(f"{self.method} goes from the corrupt to the clean prompt: use counterfactual ablation")
        if self.method == "acdc" and self.level == "node":
            raise ValueError("acdc cuts edges: use level edge, or method exact for nodes")
        return self

    @property
    def integrates(self) -> bool:
        return self.method in ("eap_ig", "eap_ig_activations")

    @property
    def shares(self) -> tuple[float, ...]:
        """The points of the path, 0 at the corrupt end and 1 at the clean one."""
        first = 1 if self.includes == "clean" else 0
        return tuple((first + number) / self.steps for number in range(self.steps))


def compute(params: Params, bench: Bench) -> Findings:
    check_pairs(bench)
    metric = metric_of(params.metric, bench.model)
    metric.check(bench.batch(CLEAN), bench.model.info)
    if metric.name in FLAT and params.method == "eap":
        raise SpecError(
            f"{metric.title} has no slope in the clean run, where it is at its extreme.",
            'Use "method": "eap_ig", or another metric.',
        )
    graph = Graph.of(bench.model, keys=params.keys)
    sign = -1.0 if metric.name in LESS_IS_BETTER else 1.0
    search = Search(bench, graph, metric, sign, params.ablation, params.level, params.norms)
    kept = None
    if params.method == "acdc":
        acdc = Acdc(search, params.tau)
        acdc.run()
        by_prompt, kept = acdc.rise[None], graph.prune(acdc.kept)
    else:
        by_prompt = exact(search) if params.method == "exact" else _estimated(params, search)
    scores = by_prompt.mean(axis=0)
    circuit = _circuit(params, graph, scores, kept)
    return Findings(_grids(params, search, by_prompt), circuit.model_dump(mode="json"))


def _estimated(params: Params, search: Search) -> np.ndarray:
    """Scores [prompt writer reader] or [prompt writer]; the mean alone, [1 …], of a graph that is not listed."""
    total, bench, say = len(search.bench.batch(CLEAN)), search.bench, f"{TITLES[params.method]}: prompts"
    parts: list[np.ndarray] = []
    done = 0
    for pairs in search.chunks():
        bench.step(done, total, say)
        found = _of_pairs(params, search, pairs)
        done += len(found)
        whole = params.level == "node" or search.graph.n_edges <= LISTED
        parts.append((found if whole else found.sum(0, keepdim=True)).double().cpu().numpy())
    if params.level == "node" or search.graph.n_edges <= LISTED:
        return np.concatenate(parts)
    return np.sum(parts, axis=0) / total


def _of_pairs(params: Params, search: Search, pairs: Pairs) -> torch.Tensor:
    if params.method == "eap":
        return pairs.at_clean()
    if params.method == "eap_ig":
        return pairs.along_inputs(params.shares)
    say = "integrating each writer's output"
    return pairs.along_activations(params.shares, lambda done, total: search.bench.step(done, total, say))


def _circuit(params: Params, graph: Graph, scores: np.ndarray, kept: np.ndarray | None) -> Circuit:
    if params.level == "node":
        size = _size(params, len(graph.writers))
        rank = np.abs(scores) if params.rank == "absolute" else scores
        chosen = {graph.writers[place] for place in np.argsort(-rank, kind="stable")[:size]}
        return graph.circuit(graph.prune(graph.between({EMBED, LOGITS} | chosen)), params.method)
    if kept is None:
        kept = graph.prune(graph.top(scores, _size(params, graph.n_edges), by=params.rank))
    return graph.circuit(kept, params.method, scores)


def _size(params: Params, of: int) -> int:
    usual = max(FEWEST[params.level], round(SHARE[params.level] * of))
    return min(of, usual if params.size is None else params.size)


def _grids(params: Params, search: Search, by_prompt: np.ndarray) -> tuple[Grid, ...]:
    graph, metric = search.graph, search.metric
    coords: dict[str, tuple[Coord, ...]]
    about = f"{TITLES[params.method]}: positive where the {params.level} helps {metric.title} on the clean prompts"
    if params.integrates:
        about += f"; mean slope of {params.steps} points, the {params.includes} end included"
    if params.method == "acdc":
        about += (
            f"; how much worse cutting it made the metric in its turn, 0 where it was not tried; tau {params.tau:g}"
        )
    about += f"; {params.ablation} ablation" + ("; norms frozen at the clean run" if params.norms == "frozen" else "")
    if params.level == "node":
        return averaged("score", by_prompt, ("node",), {"node": graph.writers}, metric.unit, baseline=0.0, about=about,
                        per_prompt=params.per_prompt)  # fmt: skip
    about += f"; k and v edges per {params.keys.replace('_', ' ')}"
    if graph.n_edges > LISTED:
        coords = {"writer": graph.writers, "reader": tuple(f"{target} {channel}" for target, channel in graph.readers)}
        about += "; masked where there is no edge; the mean over prompts, without intervals"
        return (Grid("score", by_prompt[0], ("writer", "reader"), coords, metric.unit, 0.0, about, graph.allowed),)
    sources, targets, channels = (tuple(labels) for labels in zip(*graph.edges, strict=True))
    coords = {"edge": tuple(f"{u} → {v} {c}" for u, v, c in graph.edges), "source": sources, "target": targets,
              "channel": channels}  # fmt: skip
    places = np.argwhere(graph.allowed.T)
    listed = by_prompt[:, places[:, 1], places[:, 0]]
    return averaged("score", listed, ("edge",), coords, metric.unit, baseline=0.0, about=about,
                    per_prompt=params.per_prompt, interval=params.method != "acdc")  # fmt: skip


def sentence(params: Params, experiment: Experiment) -> str:
    what = f"Score every {params.level} of the residual graph by {TITLES[params.method]}"
    if params.integrates:
        what += f" ({params.steps} points)"
    cut = f"its write on {CORRUPT}" if params.ablation == "counterfactual" else "nothing"
    held = ", with norms at the scales of the clean run" if params.norms == "frozen" else ""
    return (
        f"{what} for what it adds to {metric_in_words(params.metric, experiment)} on "
        f"{prompts_in_words(experiment, CLEAN)}; what is cut carries {cut}{held}."
    )


ANALYSIS = Analysis(
    name="circuit_search",
    title="Circuit search",
    Params=Params,
    inputs=(CLEAN, CORRUPT),
    summary="scores of all edges or nodes of the residual graph, and the circuit of the highest",
    source="EAP, arXiv 2310.10348; EAP-IG, arXiv 2403.17806; MIB, arXiv 2504.13151; ACDC, arXiv 2304.14997",
    compute=compute,
    sentence=sentence,
    example={"method": "eap_ig", "steps": 5, "level": "edge", "metric": "logit_diff"},
)
