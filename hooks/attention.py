"""The one attention function: eager attention that shows what it computes to the active tap.

`transformers` lets a model call a registered function between its rotated queries and keys and its output projection.
Ours does what every family's eager attention does, in the same order, so the result is the same bit for bit; when a run
of ours is active it shows q_rot, k_rot, scores and pattern, and takes edits of them. Outside such a run it is plain.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

NAME = "workbench"
# How results name the kernel that made them.
IMPLEMENTATION = "workbench (eager numerics)"


@dataclass(frozen=True, eq=False)
class AttentionFacts:
    """How scores come about: factor, soft-cap, and how many keys back a query may look (None: all).

    bias: position bias added to the scores, broadcastable to [batch head q_pos k_pos]. sinks: [head] one more logit per
    head that takes probability and gives no value.
    """

    scaling: float
    softcap: float | None
    window: int | None
    bias: Tensor | None = None
    sinks: Tensor | None = None


class AttentionTap(Protocol):
    """What the attention function and the experts function need of a run."""

    def attention(self, name: str, module: nn.Module, x: Tensor) -> Tensor:
        """`x`, perhaps edited: site `name` of the layer whose attention is `module`, in the site's axes.

        "value" and "mixed" (v and z as the function has them) are shown for recognition only.
        """

    def each(self, name: str, module: nn.Module, x: Tensor) -> Tensor:
        """`x` [batch head pos d]: keys ("k", rotated) or values ("v") as each query head has them."""

    def experts(self, name: str, module: nn.Module, x: Tensor) -> Tensor:
        """`x` [token expert …], perhaps edited: site `name` of the layer whose experts `module` holds."""

    def facts(self, module: nn.Module, facts: AttentionFacts) -> None:
        """Told, when a call begins, how `module` turns queries and keys into scores."""


ACTIVE: ContextVar[AttentionTap | None] = ContextVar("active_tap", default=None)


def register() -> None:
    """Make the function selectable by name. Both entries are needed: without the mask's, models turn bidirectional."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, eager_mask

    AttentionInterface.register(NAME, workbench_attention)
    AttentionMaskInterface.register(NAME, eager_mask)


def workbench_attention(
    module: nn.Module,
    query: Float[Tensor, "batch head q_pos d_qk"],
    key: Float[Tensor, "batch kv_head k_pos d_qk"],
    value: Float[Tensor, "batch kv_head k_pos d_head"],
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    position_bias: Tensor | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Float[Tensor, "batch q_pos head d_head"], Float[Tensor, "batch head q_pos k_pos"]]:
    """Mixed values and pattern. The mask is added to the scores. Dropout does not apply: runs are in
    evaluation mode.
    """
    tap = ACTIVE.get()
    if tap is not None:
        factor = query.shape[-1] ** -0.5 if scaling is None else scaling
        tap.facts(module, AttentionFacts(factor, softcap, sliding_window, position_bias, s_aux))
        query = tap.attention("q_rot", module, query.transpose(1, 2)).transpose(1, 2)
        key = tap.attention("k_rot", module, key.transpose(1, 2)).transpose(1, 2)
    keys, values = (_repeat(x, query.shape[1]) for x in (key, value))
    if tap is not None:
        keys, values = tap.each("k", module, keys), tap.each("v", module, values)
    scores = _scores(query, keys, attention_mask, scaling, softcap, position_bias)
    if tap is not None:
        tap.attention("scores", module, scores)
    pattern = _pattern(scores, s_aux).to(query.dtype)
    if tap is not None:
        pattern = tap.attention("pattern", module, pattern)
    z = torch.matmul(pattern, values).transpose(1, 2).contiguous()
    if tap is not None:
        tap.attention("value", module, value.transpose(1, 2))
        tap.attention("mixed", module, z)
    return z, pattern


def _repeat(x: Tensor, n_heads: int) -> Tensor:
    """Keys or values once per query head: query head h reads key/value head h // group."""
    group = n_heads // x.shape[1]
    if group == 1:
        return x
    expanded = x[:, :, None].expand(x.shape[0], x.shape[1], group, *x.shape[2:])
    return rearrange(expanded, "batch kv_head group pos d -> batch (kv_head group) pos d")


def _scores(
    query: Tensor, key: Tensor, mask: Tensor | None, scaling: float | None, softcap: float | None, bias: Tensor | None
) -> Tensor:
    scores = torch.matmul(query, key.transpose(2, 3)) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if bias is not None:
        scores = scores + bias
    return scores if mask is None else scores + mask


def _pattern(scores: Tensor, sinks: Tensor | None) -> Tensor:
    """Softmax in float32. A sink is one more logit per head that takes probability and gives no value."""
    if sinks is None:
        return torch.softmax(scores, dim=-1, dtype=torch.float32)
    column = sinks.reshape(1, -1, 1, 1).expand(scores.shape[0], -1, scores.shape[2], 1)
    return torch.softmax(torch.cat([scores, column], dim=-1), dim=-1, dtype=torch.float32)[..., :-1]
