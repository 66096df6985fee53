"""Sweeps against their peers on this machine, as ratios; prints one JSON object.

The same cells on the same prompt by three means, in one process, alternating: the workbench's sweep; TransformerLens'
own loop (`run_with_hooks`, one cell at a time), where it is installed; plain hooks on plain transformers, one cell at a
time. The loops cost the same for every cell, so a sample of their cells is timed and scaled. Medians of several rounds,
with the smallest and the largest ratio. memory: the process' peak above its size before the first sweep of its kind;
later ones reuse what it has freed.

Usage: python bench/sweeps.py [MODEL] [--rounds N]; the default is smollm2-135m.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from analyses.bench import Bench
from analyses.catalogue import attribution_patching
from analyses.experiment import Experiment
from analyses.metrics import METRICS
from analyses.sweep import sweep
from hooks.interventions import Intervention
from hooks.interventions.patch import Patch
from hooks.interventions.zero import Zero
from hooks.model import Instrumented
from hooks.prompts import PromptSet
from hooks.sites import Part, Site
from workbench.api import open_model
from workbench.models import resolve
from workbench.settings import Settings

CLEAN = "When Mary and John went to the store, John gave a drink to"
CORRUPT = "When Mary and John went to the store, Mary gave a drink to"
SAMPLE = 30
MIB = 1 << 20


@dataclass(frozen=True)
class Cell:
    """One cell in the terms of every tool: a site, its layer, and a head or a position."""

    site: str
    layer: int
    head: int | None = None
    pos: int | None = None

    def edit(self, *, patch: bool) -> Intervention:
        """The cell as an intervention of the workbench."""
        part = Part(Site(self.site, self.layer), head=self.head, pos=self.pos)
        return Patch(at=part, source="corrupt") if patch else Zero(at=part)


def experiment(name: str) -> Experiment:
    """The prompt pair with its answers."""
    answers: dict[str, Any] = {"answers": (" Mary",), "foils": (" John",)}
    inputs = {"clean": PromptSet(prompts=(CLEAN,), **answers), "corrupt": PromptSet(prompts=(CORRUPT,), **answers)}
    return Experiment.model_validate({"model": name, "inputs": inputs, "analysis": "ablation"})


class Plain:
    """Plain hooks on plain transformers of the Llama family, one cell at a time."""

    def __init__(self, folder: str, clean: Tensor, corrupt: Tensor) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
        self.model.to(clean.device).eval()
        self.clean, self.values = clean, self._capture(corrupt)

    def _capture(self, ids: Tensor) -> dict[tuple[str, int], Tensor]:
        kept: dict[tuple[str, int], Tensor] = {}

        def keep(key: tuple[str, int]) -> Callable[..., None]:
            return lambda _, args: kept.update({key: args[0].clone()})

        handles = []
        for layer, block in enumerate(self.model.model.layers):
            handles.append(block.register_forward_pre_hook(keep(("resid_pre", layer))))
            handles.append(block.self_attn.o_proj.register_forward_pre_hook(keep(("z", layer))))
        self.forward(ids)
        for handle in handles:
            handle.remove()
        return kept

    def forward(self, ids: Tensor) -> Tensor:
        with torch.inference_mode():
            return self.model(ids, use_cache=False).logits[0, -1]

    def run(self, cells: Sequence[Cell], patch: bool) -> None:
        """Every cell in a forward of its own."""
        for cell in cells:
            block = self.model.model.layers[cell.layer]
            module: nn.Module = block if cell.site == "resid_pre" else block.self_attn.o_proj
            width = self.model.config.head_dim
            source = self.values[cell.site, cell.layer]

            def edit(_: nn.Module, args: Any, cell: Cell = cell, source: Tensor = source, width: int = width) -> Any:
                value = args[0].clone()
                at = slice(None) if cell.head is None else slice(cell.head * width, (cell.head + 1) * width)
                pos = slice(None) if cell.pos is None else slice(cell.pos, cell.pos + 1)
                value[:, pos, at] = source[:, pos, at] if patch else 0
                return (value, *args[1:])

            handle = module.register_forward_pre_hook(edit)
            self.forward(self.clean)
            handle.remove()


class Lens:
    """TransformerLens on the same weights, one cell at a time."""

    def __init__(self, folder: str, clean: Tensor, corrupt: Tensor) -> None:
        from transformer_lens import TransformerBridge

        plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        device = str(clean.device)
        self.model = TransformerBridge.boot_transformers(folder, hf_model=plain, tokenizer=tokenizer, device=device)
        self.clean = clean
        with torch.inference_mode():
            self.values = self.model.run_with_cache(corrupt)[1]

    def run(self, cells: Sequence[Cell], patch: bool) -> None:
        """Every cell through `run_with_hooks`."""
        for cell in cells:
            place = "hook_resid_pre" if cell.site == "resid_pre" else "attn.hook_z"
            name = f"blocks.{cell.layer}.{place}"
            source = self.values[name]

            def edit(value: Tensor, hook: Any, cell: Cell = cell, source: Tensor = source) -> Tensor:
                index = (slice(None), slice(None) if cell.pos is None else cell.pos)
                index = (*index, cell.head) if cell.head is not None else index
                value[index] = source[index] if patch else 0
                return value

            with torch.inference_mode():
                self.model.run_with_hooks(self.clean, fwd_hooks=[(name, edit)])


def seconds(work: Callable[[], object]) -> float:
    _finished()
    start = time.perf_counter()
    work()
    _finished()
    return time.perf_counter() - start


def _finished() -> None:
    """Wait for what a GPU was asked to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_above(work: Callable[[], object]) -> int:
    """The process' peak size while `work` runs, above its size before, in bytes."""
    gc.collect()
    process, before, peak, ended = psutil.Process(), psutil.Process().memory_info().rss, 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.005):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        ended.set()
        watcher.join()
    return max(0, peak - before)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": round(statistics.median(values), 4), "min": round(min(values), 4), "max": round(max(values), 4)}


def compared(cells: Sequence[Cell], *, patch: bool, model: Instrumented, name: str, peers: dict[str, Any], rounds: int):
    """Ratios of the workbench's sweep to each peer's loop over the same cells, and its memory."""
    worlds = [(cell.edit(patch=patch),) for cell in cells]
    sample = [cells[place * len(cells) // SAMPLE] for place in range(SAMPLE)]
    pace = Bench(model, experiment(name)).pace

    def ours() -> None:
        sweep(Bench(model, experiment(name), pace=pace), "clean", worlds, [METRICS["logit_diff"]])

    memory = peak_above(ours)
    times: dict[str, list[float]] = {"ours": [], **{peer: [] for peer in peers}}
    for _ in range(rounds):
        times["ours"].append(seconds(ours))
        for peer, tool in peers.items():
            times[peer].append(seconds(lambda tool=tool: tool.run(sample, patch)) * len(cells) / SAMPLE)
    ratios = {
        peer: spread([own / other for own, other in zip(times["ours"], times[peer], strict=True)]) for peer in peers
    }
    return {
        "cells": len(cells),
        "seconds": {who: spread(taken) for who, taken in times.items()},
        "ratio_to": ratios,
        "memory_mib": round(memory / MIB),
    }


def attribution(model: Instrumented, name: str, plain: Plain, rounds: int) -> dict[str, Any]:
    """Attribution patching of z at all heads, over one plain forward."""
    request = experiment(name).model_copy(update={"analysis": "attribution_patching"})
    params = attribution_patching.Params.model_validate({"site": "z", "over": ["layer", "head"], "check": 0})

    def ours() -> None:
        attribution_patching.compute(params, Bench(model, request))

    memory = peak_above(ours)
    ratios = []
    for _ in range(rounds):
        own = seconds(ours)
        ratios.append(own / statistics.median([seconds(lambda: plain.forward(plain.clean)) for _ in range(5)]))
    return {"plain_forwards": spread(ratios), "memory_mib": round(memory / MIB)}


def main() -> None:
    """Print the ratios as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    model = open_model(asked.model)
    folder = str(resolve(asked.model, Settings.load()).folder)
    bench = Bench(model, experiment(asked.model))
    clean, corrupt = (bench.batch(name).ids.to(model.device) for name in ("clean", "corrupt"))
    peers: dict[str, Any] = {"plain_hooks": Plain(folder, clean, corrupt)}
    try:
        peers["transformer_lens"] = Lens(folder, clean, corrupt)
    except ImportError:
        print("TransformerLens is not installed: compared with plain hooks alone", flush=True)
    layers, heads, length = range(model.info.n_layers), range(model.info.n_heads), clean.shape[1]
    by_head = [Cell("z", layer, head=head) for layer in layers for head in heads]
    by_position = [Cell("resid_pre", layer, pos=pos) for layer in layers for pos in range(length)]
    given: dict[str, Any] = {"model": model, "name": asked.model, "peers": peers, "rounds": asked.rounds}
    report = {
        "tokens": length,
        "device": torch.cuda.get_device_name() if model.device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "zero_ablation_of_heads": compared(by_head, patch=False, **given),
        "patching_resid_pre": compared(by_position, patch=True, **given),
        "patching_z": compared(by_head, patch=True, **given),
        "attribution_of_z": attribution(model, asked.model, peers["plain_hooks"], asked.rounds),
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
