"""Mean ablation: the part becomes its mean over a reference set (Wang et al. 2022, arXiv 2211.00593)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from hooks.interventions.base import EditContext, Intervention, Kind


class Mean(Intervention):
    """Set the part to its mean over the prompts of `reference`.

    over: "prompts" keeps every position apart and needs prompts of equal length; "positions" averages over prompts and
    real positions together; "template" is "prompts" within each template of the prompt sets, whose lengths may differ
    from template to template (Wang et al. take it over ABC prompts of the same template).
    """

    kind: Literal["mean"] = "mean"
    reference: str = "clean"
    over: Literal["prompts", "positions", "template"] = "prompts"

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.reference,)

    def edit(self, x: Tensor, ctx: EditContext) -> Tensor:
        return ctx.mean(self.reference, self.over).expand_as(x)


def _words(edit: Mean, parts: str) -> str:
    among = "" if edit.reference == "clean" else f" over ‘{edit.reference}’"
    return f"mean-ablate {parts}{among}{' within each template' if edit.over == 'template' else ''}"


KIND = Kind("mean", Mean, "mean-ablate", _words)
