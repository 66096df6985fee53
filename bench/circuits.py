"""Circuit search on this machine, as ratios to a plain forward; prints one JSON object.

EAP and EAP-IG over all edges on one IOI pair, alternating in one process with a forward of plain transformers on the
clean prompt; and on many pairs in one batch, per pair, over the same. Medians of several rounds, with the smallest and
the largest ratio. memory: the process' peak above its size before the search.

Usage: python bench/circuits.py [MODEL] [--rounds N] [--pairs N] [--wall]; the default is smollm2-135m. Times are the
process' own (--wall: of the clock), since a machine is rarely idle.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil
import torch
from transformers import AutoModelForCausalLM

from analyses.bench import Bench
from analyses.circuit import Graph
from analyses.circuit_slopes import Search
from analyses.experiment import Experiment
from analyses.metrics import METRICS
from hooks.model import Instrumented
from hooks.prompts import PromptSet
from workbench.api import open_model
from workbench.models import resolve
from workbench.settings import Settings

CLEAN = "When Mary and John went to the store, John gave a drink to"
CORRUPT = "When Mary and John went to the store, Mary gave a drink to"
MIB = 1 << 20
STEPS = 5


def search_on(model: Instrumented, pairs: int) -> Search:
    """The same pair, so many times."""
    inputs = {
        "clean": PromptSet(prompts=(CLEAN,) * pairs, answers=(" Mary",) * pairs, foils=(" John",) * pairs),
        "corrupt": PromptSet(prompts=(CORRUPT,) * pairs),
    }
    experiment = Experiment.model_validate({"model": model.name, "inputs": inputs, "analysis": "circuit_search"})
    return Search(Bench(model, experiment), Graph.of(model), METRICS["logit_diff"], 1.0)


def eap(search: Search) -> None:
    for pairs in search.chunks():
        pairs.at_clean()


def eap_ig(search: Search) -> None:
    for pairs in search.chunks():
        pairs.along_inputs([(step + 1) / STEPS for step in range(STEPS)])


def peak(work: Callable[[], None]) -> int:
    """The most bytes that the process had while `work` ran, above what it had before."""
    process, stop, most = psutil.Process(), threading.Event(), 0
    gc.collect()
    before = process.memory_info().rss

    def watch() -> None:
        nonlocal most
        while not stop.wait(0.001):
            most = max(most, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    stop.set()
    watcher.join()
    return max(0, most - before)


def main(name: str, rounds: int, pairs: int, clock: Callable[[], float]) -> dict[str, Any]:
    """The ratios for one model."""
    model = open_model(name)
    folder = resolve(name, Settings.load()).folder
    plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    one, many = search_on(model, 1), search_on(model, pairs)
    ids = one.bench.batch("clean").ids

    def forward() -> None:
        with torch.inference_mode():
            plain(ids, use_cache=False)

    work = {"plain": forward, "eap": lambda: eap(one), "eap_ig": lambda: eap_ig(one),
            "eap_many": lambda: eap(many), "eap_ig_many": lambda: eap_ig(many)}  # fmt: skip
    times: dict[str, list[float]] = {label: [] for label in work}
    # The first time, when nothing of what the search needs is held yet.
    memory = {label: peak(run) for label, run in work.items()}
    for _ in range(rounds):
        for label, run in work.items():
            start = clock()
            run()
            times[label].append(clock() - start)
    middle = statistics.median(times["plain"])
    found: dict[str, Any] = {"model": name, "edges": one.graph.n_edges, "tokens": ids.shape[1], "pairs": pairs,
                             "threads": torch.get_num_threads(), "plain_ms": round(1e3 * middle, 1)}  # fmt: skip
    for label in list(work)[1:]:
        each = pairs if label.endswith("many") else 1
        ratios = sorted(t / p / each for t, p in zip(times[label], times["plain"], strict=True))
        found[label] = {"median": round(statistics.median(ratios), 2), "least": round(ratios[0], 2),
                        "most": round(ratios[-1], 2), "memory_mib": round(memory[label] / MIB)}  # fmt: skip
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--wall", action="store_true")
    given = parser.parse_args()
    timer = time.perf_counter if given.wall else time.process_time
    print(json.dumps(main(given.model, given.rounds, given.pairs, timer)))
