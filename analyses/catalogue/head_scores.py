"""Head scores: numbers that say what kind of head a head is, measured on repeated random tokens.

A sequence is s = [BOS] r r, where r is n tokens drawn uniformly from the tokenizer's ordinary tokens; o is 1 with the
BOS and 0 without. On such text a head that does induction looks, from a token's second occurrence, at the token after
its first one. Each score is a mean of attention weights, so it lies between 0 and 1; entropy is in nats.

    induction        mean over q in [o+n, T) of A[q, q−n+1]      (prefix matching; Olsson et al. 2022, arXiv 2209.11895)
    duplicate_token  mean over q in [o+n, T) of A[q, q−n]
    previous_token   mean over q in [1, T) of A[q, q−1]
    first_token      mean over q in [1, T) of A[q, 0]             (attention sink)
    entropy          mean over all q of −sum_k A log A

Given prompts of the user's own (`inputs.clean`), the scores that need no repetition are taken on them: the only way for
models that read images or two inputs. In encoders A[q, k] covers later keys too, and a row's entropy can reach log T.
A label such as "induction head" needs a threshold that the reader chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from pydantic import Field

from analyses.analysis import Analysis, Findings
from analyses.averages import averaged
from analyses.bench import Bench
from analyses.experiment import Experiment
from analyses.grid import Grid, Unit
from analyses.head_patterns import (
    Score,
    duplicate_token,
    entropy,
    first_token,
    induction,
    previous_token,
    repeated_tokens,
)
from hooks.errors import InputError, SpecError
from hooks.plan import CapturePlan
from hooks.sites import Site
from hooks.spec import Spec

ScoreName = Literal["induction", "previous_token", "duplicate_token", "first_token", "entropy"]
REPEATED = ("induction", "duplicate_token")


class Params(Spec):
    """scores: which ones. n: length of the repeated part. sequences: how many. bos: the tokenizer's BOS in front."""

    scores: tuple[ScoreName, ...] = ("induction", "previous_token", "duplicate_token", "first_token", "entropy")
    n: int = Field(default=50, ge=2)
    sequences: int = Field(default=8, ge=1)
    bos: bool = False
    per_prompt: bool = False


SCORES: Mapping[str, tuple[Callable[..., Score], Unit, str]] = {
    "induction": (induction, "attention", "attention from a repeated token to the token after its first occurrence"),
    "previous_token": (previous_token, "attention", "attention to the token just before"),
    "duplicate_token": (duplicate_token, "attention", "attention from a repeated token to its first occurrence"),
    "first_token": (first_token, "attention", "attention to the first position"),
    "entropy": (entropy, "nat", "mean entropy of the attention rows"),
}


def compute(params: Params, bench: Bench) -> Findings:
    own = "clean" in bench.experiment.inputs
    if own and (wrong := [name for name in params.scores if name in REPEATED]):
        raise SpecError(
            f"{wrong[0]} is defined on repeated random tokens, not on prompts of your own.",
            "Leave out inputs.clean, or ask for previous_token, first_token and entropy.",
        )
    batch, offset = (
        (bench.batch("clean"), 0) if own else repeated_tokens(bench, params.n, params.sequences, bos=params.bos)
    )
    if min(batch.lengths) < 2:
        raise InputError("head scores need prompts of at least two tokens.", "Use a longer prompt.")
    info, every = bench.model.info, [Site("pattern", layer) for layer in range(bench.model.info.n_layers)]
    # Where no layer has a pattern that can be read, asking for all of them says why.
    sites = [site for site in every if site in bench.model.sites] or every
    plan = CapturePlan(sites=frozenset(sites))
    values = np.zeros((len(params.scores), len(batch), info.n_layers, info.n_heads))
    for row in range(len(batch)):
        bench.step(row, len(batch), "scoring heads")
        captured = bench.capture(batch.select([row]), plan)
        for site in sites:
            pattern = captured[site][0].float()
            for i, name in enumerate(params.scores):
                values[i, row, every.index(site)] = SCORES[name][0](pattern, params.n, offset).cpu().numpy()
    bench.step(len(batch), len(batch), "scoring heads")
    return Findings(_grids(params, values, np.array([site in sites for site in every])))


def _grids(params: Params, values: np.ndarray, known: np.ndarray) -> tuple[Grid, ...]:
    """`values` [score prompt layer head] as grids. known [layer]: layers whose attention can be read."""
    coords = {"layer": tuple(range(values.shape[2])), "head": tuple(range(values.shape[3]))}
    valid = None if known.all() else np.broadcast_to(known[None, :, None], values.shape[1:])
    more = "" if valid is None else "; the other layers have no attention that can be read"
    grids: list[Grid] = []
    for i, name in enumerate(params.scores):
        grids += averaged(name, values[i], ("layer", "head"), coords, SCORES[name][1], baseline=0.0,
                          about=f"{SCORES[name][2]}{more}", per_prompt=params.per_prompt, valid=valid,
                          null=False)  # fmt: skip
    return tuple(grids)


def sentence(params: Params, experiment: Experiment) -> str:
    names = ", ".join(name.replace("_", "-") for name in params.scores)
    if "clean" in experiment.inputs:
        return f"Head scores ({names}) on {len(experiment.inputs['clean'].prompts)} prompts."
    bos = "BOS and " if params.bos else ""
    return f"Head scores ({names}) on {params.sequences} sequences of {bos}{params.n} random tokens, repeated once."


ANALYSIS = Analysis(
    name="head_scores",
    title="Head scores",
    Params=Params,
    inputs=(),
    summary="induction, previous-token, duplicate-token, first-token and entropy scores of every head",
    source="Olsson et al. 2022, arXiv 2209.11895",
    compute=compute,
    sentence=sentence,
    example={},
)
