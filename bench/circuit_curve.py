"""What judging circuits costs, in process time over that of one plain forward of the same prompts; prints JSON.

opening: both runs of the pairs, with every check. curve: faithfulness at the ten usual sizes, edges ranked by EAP.
edit: one edge of a circuit of `--edges` edges cut or added, by the layer that reads it. Medians of several rounds.

Usage: python bench/circuit_curve.py [MODEL] [--rounds N] [--prompts N] [--edges N] [--keys query_head|kv_head]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import islice, permutations

import numpy as np
import torch

from analyses.bench import Bench
from analyses.circuit import Graph
from analyses.circuit_ranking import laid_out, scores_by_prompt
from analyses.circuit_run import CircuitRuns
from analyses.experiment import Experiment
from analyses.faithfulness import SHARES, shares_of
from analyses.pairs import measure_of
from workbench.api import open_model

NAMES = ("Mary", "John", "Tom", "James", "Dan", "Sam", "Anna", "Mark")


def experiment(name: str, prompts: int) -> Experiment:
    """IOI pairs whose corrupt prompt names a third person."""
    people = list(islice(permutations(NAMES, 3), prompts))
    text = "When {} and {} went to the store, {} gave a drink to"
    clean = {
        "prompts": [text.format(a, b, b) for a, b, _ in people],
        "answers": [f" {a}" for a, _, _ in people],
        "foils": [f" {b}" for _, b, _ in people],
    }
    inputs = {"clean": clean, "corrupt": {"prompts": [text.format(a, b, c) for a, b, c in people]}}
    return Experiment.model_validate({"model": name, "inputs": inputs, "analysis": "circuit_evaluation"})


def seconds(what: Callable[[], object]) -> float:
    """Process time: other work on the machine does not count."""
    started = time.process_time()
    what()
    return time.process_time() - started


def one_round(bench: Bench, graph: Graph, scores: np.ndarray, edges: int) -> Iterator[tuple[str, float]]:
    """What everything took, by name, in plain forwards."""
    batch = bench.batch("clean")
    at = torch.tensor(batch.answer_at)
    plain = min(seconds(lambda: bench.model.run(batch, logits_at=at)) for _ in range(3))
    runs = CircuitRuns(bench, graph, measure_of("logit_diff", bench), "counterfactual")
    yield "plain_seconds", plain
    yield "opening", seconds(lambda: runs.full) / plain
    counts = shares_of(SHARES, graph.n_edges)
    masks = np.stack([graph.prune(graph.top(scores, count, by="signed")) for count in counts])
    yield "curve", seconds(lambda: runs.values(masks)) / plain
    kept = graph.prune(graph.top(scores, edges, by="signed"))
    for layer in sorted({0, graph.info.n_layers // 2, graph.info.n_layers - 1}):
        yield f"edit_at_{layer}", _edit(bench, graph, kept, layer) / plain


def _edit(bench: Bench, graph: Graph, kept: np.ndarray, layer: int) -> float:
    """Seconds for one edge into the MLP of a layer, after the circuit has run."""
    runs = CircuitRuns(bench, graph, measure_of("logit_diff", bench), "counterfactual")
    runs.values(kept[None], remember=True)
    edited = kept.copy()
    edited[0, graph.reader_index[f"L{layer}.mlp_out", "in"]] ^= True
    return seconds(lambda: runs.values(edited[None], remember=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--edges", type=int, default=1500)
    parser.add_argument("--keys", choices=("query_head", "kv_head"), default="query_head")
    given = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(open_model(given.model), experiment(given.model, given.prompts))
    graph = Graph.of(bench.model, keys=given.keys)
    metric = measure_of("logit_diff", bench).metric
    by_prompt = scores_by_prompt(bench, graph, metric, "eap", 1)
    scores = np.abs(laid_out(graph, by_prompt.mean(axis=0)))
    scores[~graph.allowed] = -np.inf
    # What is tried once per model does not belong to any round.
    _ = bench.model.edge_runs.stills, bench.model.edge_runs.keeps_apart
    rounds = [dict(one_round(bench, graph, scores, given.edges)) for _ in range(given.rounds)]
    found = {name: [one[name] for one in rounds] for name in rounds[0]}
    report = {
        name: {"median": statistics.median(all_), "spread": [min(all_), max(all_)]} for name, all_ in found.items()
    }
    print(json.dumps({"model": given.model, "edges": graph.n_edges, **report}, indent=1))


if __name__ == "__main__":
    main()
