"""Activation patching: the part takes the value it has in another run (interchange, resample ablation)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from hooks.interventions.base import EditContext, Intervention, Kind


class Patch(Intervention):
    """Copy the part in from the run on input `source`, prompt by prompt at the same positions.

    Source: Zhang, Nanda 2023, arXiv 2309.16042.
    """

    kind: Literal["patch"] = "patch"
    source: str = "corrupt"

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def edit(self, x: Tensor, ctx: EditContext) -> Tensor:
        return ctx.source(self.source)


KIND = Kind("patch", Patch, "patch", lambda edit, parts: f"patch {parts} from ‘{edit.source}’")
