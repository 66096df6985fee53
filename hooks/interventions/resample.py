"""Resample ablation: the part takes its value from a random other prompt (Chan et al. 2022, causal scrubbing).

Unlike the mean, what is put in is a value that the model really computes; unlike a patch, nobody chose the other
prompt.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from hooks.interventions.base import EditContext, Intervention, Kind


class Resample(Intervention):
    """Copy the part in from another prompt of `reference`, at the same positions.

    Where `reference` is the set that is run, every prompt gives its value to exactly one other: a derangement, drawn
    uniformly among prompts of equal length. From another set each prompt draws one of its own length, with replacement,
    and never one with the same tokens. The draw depends on `seed` and the prompts alone, so all edits with one seed
    take from the same prompt.
    """

    kind: Literal["resample"] = "resample"
    reference: str = "clean"
    seed: int = Field(default=0, ge=0)

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.reference,)

    def edit(self, x: Tensor, ctx: EditContext) -> Tensor:
        return ctx.resampled(self.reference, self.seed)


def _words(edit: Resample, parts: str) -> str:
    return f"resample {parts} from other prompts of ‘{edit.reference}’"


KIND = Kind("resample", Resample, "resample", _words)
