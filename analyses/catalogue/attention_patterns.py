"""Attention patterns: where each head looks.

For a query position q, a head spreads a weight of 1 over the key positions that it may see: k ≤ q in causal models, all
in encoders and on images. `pattern[q, k]` is that weight. With `cross`, keys are the encoder's positions. A large
weight says where information could come from, not that it mattered: an ablation says that.

Shapes: pattern [layer, head, q_pos, k_pos], values 0 to 1, each row of a real query sums to 1 (less with a sink).
Rows and columns of padding are left out. Several prompts: the mean over the prompts that have the position.
Source: Vaswani et al. 2017, arXiv 1706.03762.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from analyses.analysis import Analysis, Findings
from analyses.averages import averaged
from analyses.bench import Bench
from analyses.experiment import Experiment
from analyses.phrases import prompts_in_words
from hooks.errors import SiteMissing
from hooks.plan import CapturePlan
from hooks.schedule import stack_of
from hooks.sites import MAIN, Site
from hooks.spec import Spec


class Params(Spec):
    """layers, heads: which to keep, all that have attention without them. per_prompt: each prompt's patterns as well.

    stack: which stack of a model that has several, such as "encoder"; its main one without it. cross: where its
    cross-attention looks instead.
    """

    layers: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    # Not written where they are the usual ones: experiments keep the id they had before stacks could be chosen.
    stack: str = Field(default=MAIN, exclude_if=lambda stack: stack == MAIN)
    cross: bool = Field(default=False, exclude_if=lambda cross: not cross)
    per_prompt: bool = False


def compute(params: Params, bench: Bench) -> Findings:
    info, name = bench.model.info.stack(params.stack), "cross_pattern" if params.cross else "pattern"
    whole = bench.batch("clean")
    queries, keys = (whole.side(stack_of(Site(name, 0, params.stack), axis)) for axis in ("q_pos", "k_pos"))
    every = range(info.n_layers)
    readable = tuple(layer for layer in every if Site(name, layer, params.stack) in bench.model.sites)
    layers = params.layers or readable or tuple(every)
    heads = params.heads or tuple(range(info.n_heads))
    for head in heads:
        if head >= info.n_heads:
            raise SiteMissing(
                f"head {head} does not exist: layers have {info.n_heads} heads.", f"0–{info.n_heads - 1}."
            )
    sites = [Site(name, layer, params.stack) for layer in layers]
    bench.step(0, 1, "reading attention")
    captured = bench.capture("clean", CapturePlan(sites=frozenset(sites)))
    by_prompt = np.stack([captured[site][:, list(heads)].float().cpu().numpy() for site in sites], axis=1)
    real = (queries.mask[:, :, None] & keys.mask[:, None, :]).numpy()
    seen = np.broadcast_to(real[:, None, None], by_prompt.shape)
    width, reach = (tuple(range(side.ids.shape[1])) for side in (queries, keys))
    coords = {"layer": layers, "head": heads, "q_pos": width, "k_pos": reach}
    bench.step(1, 1, "reading attention")
    return Findings(
        averaged(
            "pattern",
            by_prompt,
            ("layer", "head", "q_pos", "k_pos"),
            coords,
            "attention",
            about="attention weight from query position to key position; rows sum to 1",
            per_prompt=params.per_prompt,
            valid=None if real.all() else seen,
            interval=False,
        )
    )


def sentence(params: Params, experiment: Experiment) -> str:
    which = "all layers" if params.layers is None else f"layers {', '.join(map(str, params.layers))}"
    heads = "all heads" if params.heads is None else f"heads {', '.join(map(str, params.heads))}"
    sort = "Cross-attention patterns" if params.cross else "Attention patterns"
    stack = "" if params.stack == MAIN else f" of the {params.stack}"
    return f"{sort} of {heads} in {which}{stack} on {prompts_in_words(experiment, 'clean')}."


ANALYSIS = Analysis(
    name="attention_patterns",
    title="Attention patterns",
    Params=Params,
    inputs=("clean",),
    summary="where each head looks, for every query position",
    source="Vaswani et al. 2017, arXiv 1706.03762",
    compute=compute,
    sentence=sentence,
    example={},
)
