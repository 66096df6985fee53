"""What a patch would do, to first order: changes of activations times the slope of the metric, summed over a cell.

Queries and keys can be treated better than that (AtP*, Kramár et al. 2024, arXiv 2403.00745): the softmax is computed
again with the patched query or key, and only what follows it is taken to first order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from analyses.attribution import Contrast
from hooks.activations import Activations
from hooks.attention import AttentionFacts
from hooks.schedule import stack_of
from hooks.sites import Site
from hooks.tokens import TokenBatch

ATTENDING = ("q", "k", "q_rot", "k_rot")
"""Sites that a patch changes the softmax at."""


def estimates(
    contrast: Contrast, grads: Activations, site: Site, over: Sequence[str], *, softmax: bool = False
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Estimated M_patched − M_run of each prompt, summed over the axes that are not in `over`; and the axes left.

    softmax: compute the softmax of queries or keys again, where `grads` are at the pattern. The last axis is called
    "unit" where addresses call it so.
    """
    if softmax:
        change, axes = _rescored(contrast, grads, site, alone="pos" in over)
    else:
        change = (contrast.source[site].double() - contrast.run[site].double()) * grads[site].double()
        axes = site.axes if site.axes[-1] in ("k_pos", "expert") else (*site.axes[:-1], "unit")
    change = _without_padding(change, axes, site, contrast.batch)
    gone = [place for place, axis in enumerate(axes) if place and axis not in over]
    return (change.sum(gone) if gone else change).cpu().numpy(), tuple(axis for axis in axes[1:] if axis in over)


def _without_padding(values: Tensor, axes: tuple[str, ...], site: Site, batch: TokenBatch) -> Tensor:
    for place, axis in enumerate(axes):
        if axis in ("pos", "q_pos", "k_pos"):
            mask = batch.side(stack_of(site, axis)).mask.to(values.device)
            shape = [len(mask), *[1] * (values.ndim - 1)]
            shape[place] = mask.shape[1]
            values = torch.where(mask.reshape(shape), values, 0.0)
    return values


def needed(site: Site) -> tuple[Site, ...]:
    """What `estimates` reads of both runs to compute the softmax of a query's or key's site again."""
    return tuple(Site(name, site.layer, site.stack) for name in ("q_rot", "k_rot", "scores"))


def _rescored(
    contrast: Contrast, grads: Activations, site: Site, *, alone: bool
) -> tuple[Float[Tensor, "batch pos head"], tuple[str, ...]]:
    """grad_pattern · (pattern with the patched query or key − pattern), by query head or key/value head.

    alone: each key is patched by itself, so that only its own column of the scores changes; queries change their own
    row either way.
    """
    q_rot, k_rot, scores = needed(site)
    q, k = contrast.run[q_rot].double(), contrast.run[k_rot].double()
    facts = contrast.slopes.attention[site.stack, site.layer or 0]
    grad = grads[Site("pattern", site.layer, site.stack)].double()
    before = contrast.run[scores].double()
    by_query = site.name in ("q", "q_rot")
    new_q, new_k = (contrast.source[q_rot].double(), k) if by_query else (q, contrast.source[k_rot].double())
    moved = _dots(new_q, new_k, facts) - _dots(q, k, facts)
    pattern = _softmax(before, facts.sinks)
    if by_query:
        change = grad * (_softmax(before + moved, facts.sinks) - pattern)
        return change.sum(-1).transpose(1, 2), ("batch", "pos", "head")
    change = _one_key(grad, pattern, moved) if alone else grad * (_softmax(before + moved, facts.sinks) - pattern)
    by_head = change.sum(2).transpose(1, 2)
    return by_head.unflatten(2, (k.shape[2], -1)).sum(-1), ("batch", "pos", "kv_head")


def _dots(
    q: Float[Tensor, "batch q_pos head d_qk"], k: Float[Tensor, "batch k_pos kv_head d_qk"], facts: AttentionFacts
) -> Float[Tensor, "batch head q_pos k_pos"]:
    """Scaled and capped scores, without mask and bias, which a patch leaves as they are."""
    dots = torch.einsum("bqhd,bkhd->bhqk", q, k.repeat_interleave(q.shape[2] // k.shape[2], dim=2)) * facts.scaling
    return dots if facts.softcap is None else torch.tanh(dots / facts.softcap) * facts.softcap


def _softmax(scores: Float[Tensor, "batch head q_pos k_pos"], sinks: Tensor | None) -> Tensor:
    if sinks is None:
        return scores.softmax(-1)
    column = sinks.double().reshape(1, -1, 1, 1).expand(*scores.shape[:-1], 1)
    return torch.cat([scores, column], dim=-1).softmax(-1)[..., :-1]


def _one_key(grad: Tensor, pattern: Tensor, moved: Tensor) -> Tensor:
    """Σ_j grad_j (A'_j − A_j) of every row where the score of key k alone moves by m, [batch head q_pos k_pos].

    With A the pattern and S = Σ_j grad_j A_j it is w (grad_k − S) / (1 + w), where w = A_k (e^m − 1).
    """
    weight = torch.where(pattern > 0, pattern * torch.expm1(moved), 0.0)
    total = (grad * pattern).sum(-1, keepdim=True)
    # Where e^m overflows, the key takes the whole row.
    share = torch.where(torch.isinf(weight), 1.0, weight / (1 + weight))
    return (grad - total) * share
