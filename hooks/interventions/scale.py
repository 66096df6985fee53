"""Scaling: the part is multiplied by a number: 0 removes it, 1 leaves it, more than 1 makes it louder."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from hooks.interventions.base import EditContext, Finite, Intervention, Kind


class Scale(Intervention):
    """Multiply the part by `factor`. At a head's z, its write is scaled and the projection's bias is not."""

    kind: Literal["scale"] = "scale"
    factor: Finite

    def edit(self, x: Tensor, ctx: EditContext) -> Tensor:
        return x * self.factor


KIND = Kind("scale", Scale, "scale", lambda edit, parts: f"multiply {parts} by {edit.factor:g}")
