"""A worked experiment for a model at hand: prompts of the kind that it reads, a metric that it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analyses.analysis import Analysis, normalised
from analyses.experiment import Experiment
from analyses.metrics import METRICS
from hooks.errors import ModelError
from hooks.feed import SUFFIXES, Task
from hooks.loading import load_tokenizer
from hooks.prompts import IdAnswer, ImagePrompt, PromptSet
from hooks.reference import ModelRef
from workbench.models import resolve
from workbench.settings import Settings

PROMPT = "When Mary and John went to the store, John gave a drink to"
WORKED = {
    "clean": PromptSet(prompts=(PROMPT,), answers=(" Mary",), foils=(" John",)),
    "corrupt": PromptSet(prompts=("When Mary and John went to the store, Mary gave a drink to",)),
}
"""Prompts of the indirect-object task (Wang et al. 2022, arXiv 2211.00593): who is given the drink?"""
SENTENCE = "The movie was better than anyone had hoped."


def experiment_on(
    analysis: Analysis, ref: ModelRef, inputs: Mapping[str, PromptSet], metric: str | None = None
) -> Experiment:
    """A complete experiment of `analysis` on prompts of a task or of the user's own. metric: where it has one.

    Raises InputError for a prompt set that the analysis needs and that is not among them.
    """
    chosen = {"metric": metric} if metric and "metric" in analysis.Params.model_fields else {}
    params = {**analysis.example, **chosen}
    return normalised(Experiment(model=ref, inputs=dict(inputs), analysis=analysis.name, params=params))


def example_of(analysis: Analysis, ref: ModelRef, settings: Settings) -> Experiment:
    """A complete experiment of `analysis` on the model that `ref` names, ready to run or to change.

    A model that is not on this machine is taken for a language model, and an image model's example needs a file.
    """
    task, tokenizer = _kind(ref, settings)
    params = dict(analysis.example)
    inputs = {name: _inputs(name, task, tokenizer) for name in analysis.inputs}
    if "metric" in analysis.Params.model_fields:
        metric = "embedding_cosine" if task in ("features", "pairs") else params.get("metric", "logit_diff")
        params["metric"] = metric if task != "seq2seq" else "kl"
        assert params["metric"] in METRICS
    return normalised(Experiment(model=ref, inputs=inputs, analysis=analysis.name, params=params))


def _kind(ref: ModelRef, settings: Settings) -> tuple[Task, Any]:
    """What a model answers, by the class that its config names, and its tokenizer."""

    def refuse(sentence: str) -> None:
        raise ModelError(f"{ref} is not on this machine yet.", sentence)

    from transformers import AutoConfig

    try:
        found = resolve(ref, settings, refuse)
        config = AutoConfig.from_pretrained(found.folder)
    except (ModelError, OSError, ValueError):
        # Not here, or a GGUF file that was never converted: both are language models unless they say otherwise.
        return "causal", None
    names = config.architectures or ["CausalLM"]
    task: Task = next((task for suffix, task in SUFFIXES.items() if names[0].endswith(suffix)), "features")
    return task, load_tokenizer(found.tokenizer or found.folder) if task == "masked" else None


def _inputs(name: str, task: Task, tokenizer: Any) -> PromptSet:
    if task == "causal":
        return WORKED[name]
    classes = {"answers": (IdAnswer(id=0),), "foils": (IdAnswer(id=1),)} if name == "clean" else {}
    if task in ("classify", "token-classify"):
        return PromptSet(prompts=(SENTENCE,), **classes)
    if task == "image-classify":
        return PromptSet(prompts=(ImagePrompt(image="image.png"),), **classes)
    if task == "masked" and tokenizer is not None:
        given = {"answers": ("good",), "foils": ("bad",)} if name == "clean" else {}
        return PromptSet(prompts=(f"The movie was {tokenizer.mask_token} and everyone liked it.",), **given)
    if task == "pairs":
        return PromptSet(prompts=(ImagePrompt(image="image.png", text="a photo of a cat"),))
    return PromptSet(prompts=(SENTENCE,))
