"""Mean ablation: the part becomes its mean over a reference set (Wang et al. 2022, arXiv 2211.00593)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from hooks.interventions.base import EditContext, Intervention, Kind


class Mean(Intervention):
    """Set the part to its mean over the prompts of `reference`.

    over: "prompts" keeps every position apart and needs prompts of equal length; "positions" averages over prompts and
    real positions together.
    """

    kind: Literal["mean"] = "mean"
    reference: str = "clean"
    over: Literal["prompts", "positions"] = "prompts"

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.reference,)

    def edit(self, x: Tensor, ctx: EditContext) -> Tensor:
        return ctx.mean(self.reference, self.over).expand_as(x)


KIND = Kind("mean", Mean, "mean-ablate")
