"""Attention patterns: where each head looks.

For a query position q, a head spreads a weight of 1 over the key positions k ≤ q that it may see; `pattern[q, k]` is
that weight. A large weight says where information could come from, not that it mattered: an ablation says that.

Shapes: pattern [layer, head, q_pos, k_pos], values 0 to 1, each row of a real query sums to 1 (less with a sink).
Rows and columns of padding are left out. Several prompts: the mean over the prompts that have the position.
Source: Vaswani et al. 2017, arXiv 1706.03762.
"""

from __future__ import annotations

import numpy as np

from analyses.analysis import Analysis, Findings
from analyses.averages import averaged
from analyses.bench import Bench
from analyses.experiment import Experiment
from analyses.phrases import prompts_in_words
from hooks.errors import SiteMissing
from hooks.plan import CapturePlan
from hooks.sites import Site
from hooks.spec import Spec


class Params(Spec):
    """layers, heads: which to keep, all without them. per_prompt: the patterns of each prompt as well."""

    layers: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    per_prompt: bool = False


def compute(params: Params, bench: Bench) -> Findings:
    info, batch = bench.model.info, bench.batch("clean")
    layers = params.layers or tuple(range(info.n_layers))
    heads = params.heads or tuple(range(info.n_heads))
    for head in heads:
        if head >= info.n_heads:
            raise SiteMissing(
                f"head {head} does not exist: layers have {info.n_heads} heads.", f"0–{info.n_heads - 1}."
            )
    sites = [Site("pattern", layer) for layer in layers]
    bench.step(0, 1, "reading attention")
    captured = bench.capture("clean", CapturePlan(sites=frozenset(sites)))
    by_prompt = np.stack([captured[site][:, list(heads)].float().cpu().numpy() for site in sites], axis=1)
    real = batch.mask.numpy()
    seen = np.broadcast_to((real[:, :, None] & real[:, None, :])[:, None, None], by_prompt.shape)
    width = tuple(range(batch.ids.shape[1]))
    coords = {"layer": layers, "head": heads, "q_pos": width, "k_pos": width}
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
        )
    )


def sentence(params: Params, experiment: Experiment) -> str:
    which = "all layers" if params.layers is None else f"layers {', '.join(map(str, params.layers))}"
    heads = "all heads" if params.heads is None else f"heads {', '.join(map(str, params.heads))}"
    return f"Attention patterns of {heads} in {which} on {prompts_in_words(experiment, 'clean')}."


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
