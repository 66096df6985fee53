"""Zero ablation: the part becomes 0 (definitions: Olsson et al. 2022, arXiv 2209.11895)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from hooks.interventions.base import EditContext, Intervention, Kind


class Zero(Intervention):
    """Set the part to zero. At a head's z this leaves the output projection's bias, which belongs to no head."""

    kind: Literal["zero"] = "zero"

    def edit(self, x: Tensor, ctx: EditContext) -> Tensor:
        return torch.zeros_like(x)


KIND = Kind("zero", Zero, "zero", lambda edit, parts: f"zero {parts}")
