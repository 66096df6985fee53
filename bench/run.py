"""The project's own timings on this machine, as ratios; prints one JSON object.

    observe   a run that keeps every head's pattern, over a plain eager forward of transformers with attentions
    sweep     the packed sweep over all heads, over the same cells one forward at a time (less than 1 is faster)
    check     wiring and proving the model when it opens, over a plain forward on the same prompt as `observe`
    check_own the same over a plain forward on the few tokens that the proof runs on

Each time is the median of several runs. Usage: python bench/run.py [MODEL]; the default is the bundled toy.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
from transformers import AutoModelForCausalLM

from hooks.feed import Feed
from hooks.interventions.zero import Zero
from hooks.loading import from_memory
from hooks.opening import understand
from hooks.plan import CapturePlan
from hooks.prompts import PromptSet
from hooks.sites import Part, Site
from workbench.api import example, open_model, run
from workbench.models import FALLBACK, resolve
from workbench.settings import Settings

RUNS = 5
PROMPT = "When Mary and John went to the store, John gave a drink to Mary. " * 4


def seconds(work: Callable[[], object]) -> float:
    """The median time of `work` in seconds, after one run that is not counted."""
    work()
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main(name: str) -> dict[str, object]:
    """The ratios for one model."""
    model = open_model(name)
    folder = resolve(name, Settings.load()).folder
    plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    batch = model.tokens(PromptSet(prompts=(PROMPT,)))
    with torch.inference_mode():
        forward = seconds(lambda: plain(batch.ids, output_attentions=True, use_cache=False))
    observed = seconds(lambda: model.run(batch, CapturePlan.of("L*.pattern")))
    experiment = example("ablation", model=name)
    short = model.tokens(experiment.inputs["clean"])
    last = torch.tensor([short.lengths[0] - 1])
    heads = [(layer, head) for layer in range(model.info.n_layers) for head in range(model.info.n_heads)]

    def one_at_a_time() -> None:
        for layer, head in heads:
            model.run(short, edits=[Zero(at=Part(Site("z", layer), head=head))], logits_at=last)

    packed, single = seconds(lambda: run(experiment, model)), seconds(one_at_a_time)
    loaded = from_memory(plain, model.tokenizer)
    checked, feed = seconds(lambda: understand(loaded)), Feed.of(plain)
    own = feed.arguments(feed.probe(plain, model.tokenizer), 1, plain.device)
    with torch.inference_mode():
        short_forward = seconds(lambda: plain(**own, use_cache=False))
    return {
        "model": name,
        "tokens": batch.lengths[0],
        "threads": torch.get_num_threads(),
        "observe": round(observed / forward, 3),
        "sweep": round(packed / single, 3),
        "check": round(checked / forward, 3),
        "check_own": round(checked / short_forward, 3),
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1] if len(sys.argv) > 1 else FALLBACK)))
