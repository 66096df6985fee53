"""Attention knockout: a query no longer sees a key (Geva et al. 2023, arXiv 2304.14767).

The literature sets the score of the edge to −∞ before the softmax. The same comes about after it: the edge's weight
becomes 0 and the rest of the row is divided by one minus the removed mass, since a softmax without a term is the old
one divided by the mass of the terms that stay. Soft-caps, position biases and sinks are part of the old row already.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor

from hooks.interventions.base import EditContext, Intervention, Kind
from hooks.sites import Part


class MaskEdge(Intervention):
    """Cut attention edges: at `L3.pattern[head=2,q_pos=9,k_pos=4]` the one from position 9 to position 4.

    All of `at` is cut: without a head in every head, without k_pos whole rows. A row whose whole mass is removed
    becomes 0, so that the query mixes nothing in; masked scores would leave such a row undefined.
    """

    kind: Literal["mask_edge"] = "mask_edge"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.at.site.name not in ("pattern", "cross_pattern"):
            raise ValueError(f"mask_edge cuts edges of attention: address a pattern, not {self.at.site.name}")
        return self

    @property
    def span(self) -> Part:
        return replace(self.at, k_pos=None, unit=None)

    def edit(self, x: Tensor, ctx: EditContext) -> Tensor:
        kept = x.clone()
        kept[ctx.addressed] = 0
        rest = kept.sum(dim=-1, keepdim=True, dtype=torch.float32)
        sink = 1 - x.sum(dim=-1, keepdim=True, dtype=torch.float32)
        # What stays is summed, not taken from 1: where nearly all is removed, a difference would be mere rounding.
        # Likewise only a sink that is more than the rounding of a row counts.
        sink = torch.where(sink > max(4e-6, 2 * torch.finfo(x.dtype).eps), sink, torch.zeros_like(sink))
        total = rest + sink
        return torch.where(total > 0, kept / total, torch.zeros_like(total))


KIND = Kind("mask_edge", MaskEdge, "cut", lambda edit, parts: f"cut {parts}")
