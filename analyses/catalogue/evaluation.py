"""Evaluation: how well a model does on a test set, and what an edit does to that.

Multiple choice: every choice is scored by its log-likelihood as a continuation of the prompt, and the largest wins:
summed over the choice's tokens (`accuracy`), or per token (`acc_norm`), since sums favour short choices. Among the
choices of a prompt, softmax of the sums gives probabilities; calibration compares the winner's with how often it wins.
Minimal pairs: the good sentence should be more probable than the bad one, by summed log-probability of all tokens after
the first, without normalisation. Perplexity: exp of the mean of −log p(token | what comes before) over a text; a long
text is read in windows. With `edits`, all is measured before and after on the same items, and the change has a paired
bootstrap interval.

Shapes: accuracy, acc_norm, prob_right, ece, loss, perplexity [run]; their _change []; reliability_* [run, bin].
Sources: Hendrycks et al. 2020, arXiv 2009.03300 (MMLU); Zellers et al. 2019, arXiv 1905.07830 (HellaSwag); Lin et al.
2021, arXiv 2109.07958 (TruthfulQA); Warstadt et al. 2019, arXiv 1912.00582 (BLiMP); Guo et al. 2017, arXiv 1706.04599
(calibration).
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
from pydantic import Field, SerializeAsAny, field_validator, model_validator

from analyses.analysis import Analysis, Findings
from analyses.bench import Bench
from analyses.evaluation_files import Kind
from analyses.evaluation_grids import choice_grids, pair_grids, perplexity_grids
from analyses.experiment import Experiment
from analyses.likelihood import Row, choice_rows, log_likelihoods, usual_window, whole_rows, window_rows
from analyses.phrases import listed, part_in_words, prompts_in_words
from hooks.errors import InputError, SpecError
from hooks.interventions import Intervention, parse_intervention
from hooks.prompts import PromptSet
from hooks.spec import Spec

POSITIONWISE = ("mean",)
"""Kinds that read other prompts without pairing them with the ones that are run."""


class Params(Spec):
    """kind: what the items are. edits: interventions under which everything is measured again.

    bins: of confidence, for calibration. window, stride: tokens that a long text is read in at once, and how far apart
    windows begin (the model's length, at most 1,024 tokens, and half of that). per_prompt: keep the value of each item.
    """

    kind: Kind = "multiple_choice"
    edits: tuple[SerializeAsAny[Intervention], ...] = ()
    bins: int = Field(default=10, ge=1, le=1000)
    window: int | None = Field(default=None, ge=2)
    stride: int | None = Field(default=None, ge=1)
    per_prompt: bool = True

    @field_validator("edits", mode="before")
    @classmethod
    def _parsed(cls, value: Any) -> Any:
        return tuple(parse_intervention(edit) for edit in value)

    @model_validator(mode="after")
    def _no_gap(self) -> Params:
        if self.window is not None and self.stride is not None and self.stride >= self.window:
            raise ValueError("stride must be smaller than window: windows that do not overlap skip a token")
        return self


def compute(params: Params, bench: Bench) -> Findings:
    if bench.model.info.task != "causal":
        raise InputError(
            "log-likelihoods of texts need a model that predicts each token from those before it.",
            "Open a causal language model.",
        )
    for edit in params.edits:
        if edit.sources and edit.kind not in POSITIONWISE:
            raise SpecError(
                f"the edit at {edit.at} copies from paired prompts, and an evaluation runs texts that have no pair.",
                "Use zero, mean over positions, or an edit by a vector.",
            )
    made = {"multiple_choice": _choices, "minimal_pairs": _pairs, "perplexity": _perplexity}[params.kind]
    return Findings(tuple(made(params, bench, bench.experiment.inputs["clean"])))


def _scored(params: Params, bench: Bench, rows: list[Row]) -> np.ndarray:
    """[run row]"""
    runs = [(), params.edits] if params.edits else [()]
    return log_likelihoods(bench, rows, runs, f"scoring {len(rows)} texts")


def _choices(params: Params, bench: Bench, inputs: PromptSet) -> list[Any]:
    _check_choices(inputs)
    rows = choice_rows(bench, "clean")
    found, widths = _scored(params, bench, rows), [len(choices) for choices in inputs.choices]
    places = np.arange(max(widths)) < np.array(widths)[:, None]
    log_probs = np.full((len(found), *places.shape), -np.inf)
    log_probs[:, places] = found
    tokens = np.ones(places.shape)
    tokens[places] = [row.counted for row in rows]
    right = np.zeros(places.shape, dtype=bool)
    for item, numbers in enumerate(inputs.right):
        right[item, list(numbers)] = True
    return choice_grids(log_probs, tokens, right, bins=params.bins, templates=inputs.templates,
                        per_prompt=params.per_prompt)  # fmt: skip


def _check_choices(inputs: PromptSet) -> None:
    """Raises InputError unless each prompt has choices and knows the right ones."""
    for name in ("choices", "right"):
        if len(getattr(inputs, name)) != len(inputs.prompts):
            raise InputError(
                f"{len(inputs.prompts)} prompts, but {name} for {len(getattr(inputs, name))}.",
                'Give "choices": [[" Paris", " Rome"], …] and "right": [[0], …], one entry per prompt.',
            )
    for item, (choices, right) in enumerate(zip(inputs.choices, inputs.right, strict=True)):
        if len(choices) < 2 or not right or max(right) >= len(choices):
            raise InputError(
                f"prompt {item + 1} has {len(choices)} choices, of which {list(right)} are right.",
                "Give at least two choices, and number the right ones from 0.",
            )


def _pairs(params: Params, bench: Bench, inputs: PromptSet) -> list[Any]:
    good, bad = whole_rows(bench.batch("clean")), whole_rows(bench.batch("corrupt"))
    if len(good) != len(bad):
        raise InputError(
            f"{len(good)} good sentences in clean, {len(bad)} bad ones in corrupt.",
            "Give one bad sentence per good one.",
        )
    rows = list(chain.from_iterable(zip(good, bad, strict=True)))
    found = _scored(params, bench, rows)
    log_probs = found.reshape(len(found), len(good), 2)
    return pair_grids(log_probs, templates=inputs.templates, per_prompt=params.per_prompt)


def _perplexity(params: Params, bench: Bench, inputs: PromptSet) -> list[Any]:
    model = bench.model
    window = params.window or usual_window(model)
    if model.info.positions == "learned" and window > (model.info.n_ctx or window):
        raise SpecError(f"window {window} is longer than this model reads: {model.info.n_ctx} tokens.", "Shorten it.")
    stride = params.stride or max(1, window // 2)
    if stride >= window:
        raise SpecError(f"stride {stride} is not smaller than window {window}.", "Let windows overlap.")
    rows = window_rows(bench.batch("clean"), window, stride)
    tokens = np.array([row.counted for row in rows], dtype=np.float64)
    texts = [row.item for row in rows]
    return perplexity_grids(_scored(params, bench, rows), tokens, texts, per_prompt=params.per_prompt)


def sentence(params: Params, experiment: Experiment) -> str:
    count = prompts_in_words(experiment, "clean")
    what = {
        "multiple_choice": f"Choose among the choices of {count} by log-likelihood",
        "minimal_pairs": f"Compare the good with the bad sentence of {count.replace('prompt', 'minimal pair')}",
        "perplexity": f"Measure loss and perplexity on {count.replace('prompt', 'text')}",
    }[params.kind]
    if not params.edits:
        return f"{what}."
    return f"{what}, before and after {listed([f'{edit.kind} of {part_in_words(edit.at)}' for edit in params.edits])}."


ANALYSIS = Analysis(
    name="evaluation",
    title="Evaluation",
    Params=Params,
    inputs=("clean",),
    summary="accuracy, calibration and perplexity on a test set, before and after an edit, with paired intervals",
    source="Hendrycks et al. 2020, arXiv 2009.03300; Warstadt et al. 2019, arXiv 1912.00582; "
    "Guo et al. 2017, arXiv 1706.04599",
    compute=compute,
    sentence=sentence,
    example={"kind": "perplexity"},
    windows=True,
)
