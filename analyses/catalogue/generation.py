"""Generation: how the model continues a prompt, one token at a time, and what else it could have said.

A step takes the logits after the last token, chooses a token (the most probable one, or a draw after temperature,
top-k and top-p) and appends it. `prob` is the probability that the model itself gave the token taken, by softmax of its
logits; `sampling_prob` the one it was drawn with; `entropy` says how undecided the model was at that step. With edits,
every step runs under them; the clean continuation, drawn with the same random numbers, stands beside it in the grids
that end in `_clean`.

Shapes: prob, sampling_prob, entropy [step]; alternative_prob, alternative_logit, alternative_sampling_prob
[step, rank]; attention [layer, head, step, k_pos]: the row of the query whose logits chose the token. Several prompts:
a leading prompt axis, since continuations have no mean.
Sources: Fan et al. 2018, arXiv 1805.04833 (top-k); Holtzman et al. 2019, arXiv 1904.09751 (top-p).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field, SerializeAsAny, field_validator

from analyses.analysis import Analysis, Findings
from analyses.bench import Bench
from analyses.experiment import Experiment
from analyses.grid import Coord, Grid, Unit
from analyses.phrases import listed, part_in_words, prompts_in_words
from hooks.generate import Continuation
from hooks.interventions import Intervention, parse_intervention
from hooks.plan import CapturePlan
from hooks.sampling import Choice, Sampling
from hooks.sites import MAIN
from hooks.spec import Spec
from hooks.tokens import display


class Params(Spec):
    """steps: at most this many tokens. greedy, temperature, top_k, top_p: how a token is chosen.

    cache: keep keys and values between steps; the numbers do not depend on it. stop_at_end: end where the model ends
    the text. edits: interventions at every step; position "new" is every generated token. alternatives: tokens listed
    per step. attention: keep where each step looked. The draws come from the experiment's seed.
    """

    steps: int = Field(default=20, ge=1, le=1000)
    greedy: bool = True
    temperature: float = Field(default=1.0, gt=0.0, le=100.0)
    top_k: int | None = Field(default=None, ge=1)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    cache: bool = True
    stop_at_end: bool = True
    edits: tuple[SerializeAsAny[Intervention], ...] = ()
    alternatives: int = Field(default=10, ge=1, le=1000)
    attention: bool = False

    @field_validator("edits", mode="before")
    @classmethod
    def _parsed(cls, value: Any) -> Any:
        return tuple(parse_intervention(edit) for edit in value)

    def sampling(self, seed: int) -> Sampling:
        """How these params choose a token."""
        return Sampling(greedy=self.greedy, temperature=self.temperature, top_k=self.top_k, top_p=self.top_p, seed=seed)


@dataclass(frozen=True)
class _Series:
    """One grid per run: its name, what it takes of a step, in which unit, and what it means."""

    name: str
    take: Callable[[Choice], Any]
    unit: Unit
    about: str


PER_STEP = (
    _Series("prob", lambda c: c.prob, "prob", "the model's probability of the token taken"),
    _Series("sampling_prob", lambda c: c.sampled, "prob", "probability of the token taken, as it was drawn"),
    _Series("entropy", lambda c: c.entropy, "nat", "entropy of the model's own distribution at the step"),
)
PER_ALTERNATIVE = (
    _Series("alternative_prob", lambda c: c.probs.numpy(), "prob", "the model's most probable tokens at each step"),
    _Series("alternative_logit", lambda c: c.logits.numpy(), "logit", "logits of the same tokens, before temperature"),
    _Series("alternative_sampling_prob", lambda c: c.sampling.numpy(), "prob", "probabilities that a draw had of them"),
)


def compute(params: Params, bench: Bench) -> Findings:
    runs = [("", params.edits), ("_clean", ())] if params.edits else [("", ())]
    plan = _patterns(bench) if params.attention else CapturePlan()
    cache = params.cache and bench.model.takes_cache
    if cache != params.cache:
        bench.notes.append("this model keeps no key/value cache: every step ran the whole sequence")
    grids: list[Grid] = []
    for number, (suffix, edits) in enumerate(runs):

        def told(done: int, total: int, number: int = number) -> None:
            bench.step(number * total + done, len(runs) * total, "generating")

        found = bench.generate(
            "clean", steps=params.steps, sampling=params.sampling(bench.experiment.seed), plan=plan, edits=edits,
            cache=cache, alternatives=params.alternatives, stop_at_end=params.stop_at_end, on_step=told,
        )  # fmt: skip
        grids += _grids(bench, found, suffix)
        if params.attention:
            grids.append(_attention(found, bench.batch("clean").lengths, suffix))
    total = len(runs) * len(bench.batch("clean")) * params.steps
    bench.step(total, total, "generating")
    return Findings(tuple(grids))


def _patterns(bench: Bench) -> CapturePlan:
    """The patterns that the continued stack has; asking for all of them where there are none lets the model say why."""
    sites = frozenset(site for site in bench.model.sites if site.name == "pattern" and site.stack == MAIN)
    return CapturePlan(sites=sites) if sites else CapturePlan.of("L*.pattern")


def _grids(bench: Bench, found: Sequence[Continuation], suffix: str) -> list[Grid]:
    """The numbers of each step; a continuation that ended early has no later steps."""
    steps, tokenizer = max(len(continuation.choices) for continuation in found), bench.model.tokenizer
    real = np.array([[step < len(continuation.choices) for step in range(steps)] for continuation in found])
    taken = [token for continuation in found for token in _filled(continuation.ids, steps)]
    text = " | ".join("".join(display(tokenizer, continuation.ids)) for continuation in found)
    ended = "" if real.all() else "; a continuation that ended has no later steps"
    labels = _labels(tokenizer, taken)
    grids = []
    for series in PER_STEP:
        values = np.array([_filled([series.take(c) for c in continuation.choices], steps) for continuation in found])
        about = f"{series.about}{ended}; continuation: {text}"
        grids.append(_grid(f"{series.name}{suffix}", values, ("step",), labels, series.unit, about, real))
    ranks = found[0].choices[0].ids.shape[0]
    others = [ids for continuation in found for ids in _filled([c.ids.tolist() for c in continuation.choices], steps)]
    labels = _labels(tokenizer, [token for ids in others for token in ids])
    known = np.broadcast_to(real[..., None], (*real.shape, ranks))
    for series in PER_ALTERNATIVE:
        values = np.array([_filled([series.take(c) for c in continuation.choices], steps) for continuation in found])
        about = f"{series.about}{ended}"
        grids.append(_grid(f"{series.name}{suffix}", values, ("step", "rank"), labels, series.unit, about, known))
    return grids


def _labels(tokenizer: Any, ids: Sequence[int]) -> dict[str, tuple[Coord, ...]]:
    return {"token": display(tokenizer, ids), "id": tuple(ids)}


def _filled(items: Sequence[Any], steps: int) -> list[Any]:
    """As many items as there are steps; those that never came repeat the last one and are marked as missing."""
    return [*items, *[items[-1]] * (steps - len(items))]


def _grid(
    name: str,
    values: np.ndarray,
    dims: tuple[str, ...],
    further: dict[str, tuple[Coord, ...]],
    unit: Unit,
    about: str,
    real: np.ndarray,
) -> Grid:
    """A grid with a leading prompt axis where there are several prompts. further: labels other than counts from 0."""
    if len(values) == 1:
        values, real = values[0], real[0]
    else:
        dims = ("prompt", *dims)
    coords = {dim: tuple(range(size)) for dim, size in zip(dims, values.shape, strict=True)} | further
    valid = None if real.all() else real
    return Grid(name, np.where(real, values, 0.0), dims, coords, unit, about=about, valid=valid)


def _attention(found: Sequence[Continuation], lengths: Sequence[int], suffix: str) -> Grid:
    """The rows of the queries that chose each token, over the tokens there were."""
    steps = max(len(continuation.choices) for continuation in found)
    width = max(length + len(continuation.choices) for length, continuation in zip(lengths, found, strict=True)) - 1
    sites = sorted(site for site in found[0].activations if site.name == "pattern")
    rows = np.zeros((len(found), len(sites), found[0].activations[sites[0]].shape[1], steps, width), np.float32)
    real = np.zeros(rows.shape, bool)
    for prompt, (length, continuation) in enumerate(zip(lengths, found, strict=True)):
        taken = len(continuation.choices)
        first, last = length - 1, length - 1 + taken
        for place, site in enumerate(sites):
            pattern = continuation.activations[site][0, :, first:last, :last]
            rows[prompt, place, :, :taken, :last] = pattern.float().cpu().numpy()
        for step in range(taken):
            real[prompt, :, :, step, : length + step] = True
    about = "attention weight of each step's query; keys that did not exist yet have none"
    layers: dict[str, tuple[Coord, ...]] = {"layer": tuple(int(site.layer or 0) for site in sites)}
    return _grid(f"attention{suffix}", rows, ("layer", "head", "step", "k_pos"), layers, "attention", about, real)


def sentence(params: Params, experiment: Experiment) -> str:
    if params.greedy:
        how = "greedily"
    else:
        limits = [f"temperature {params.temperature:g}"]
        limits += [] if params.top_k is None else [f"top-k {params.top_k}"]
        limits += [] if params.top_p == 1.0 else [f"top-p {params.top_p:g}"]
        how = f"drawing at {', '.join(limits)} with seed {experiment.seed}"
    tokens = "1 token" if params.steps == 1 else f"{params.steps} tokens"
    edits = ""
    if params.edits:
        edits = f", with {listed([f'{edit.kind} of {part_in_words(edit.at)}' for edit in params.edits])} at every step"
    return f"Continue {prompts_in_words(experiment, 'clean')} by up to {tokens}, {how}{edits}."


ANALYSIS = Analysis(
    name="generation",
    title="Generation",
    Params=Params,
    inputs=("clean",),
    summary="the continuation token by token, with alternatives and probabilities at each step, under edits or not",
    source="Fan et al. 2018, arXiv 1805.04833 (top-k); Holtzman et al. 2019, arXiv 1904.09751 (top-p)",
    compute=compute,
    sentence=sentence,
    example={"steps": 20},
)
