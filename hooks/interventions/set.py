"""Setting: the part becomes a given number or vector, such as a neuron held at an activation."""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor

from hooks.interventions.base import (
    EditContext,
    Finite,
    Intervention,
    Kind,
    Vector,
    check_features,
    named,
    vector_in_words,
)


class Set(Intervention):
    """Set the part to `value`, the same number everywhere, or at every addressed position to `vector`.

    vector: the name of one of the experiment's vectors, or its numbers along the site's last axis.
    """

    kind: Literal["set"] = "set"
    value: Finite | None = None
    vector: Vector | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.value is None) == (self.vector is None):
            raise ValueError("give value or vector")
        if self.vector is not None:
            check_features(self.at, "set to a vector")
        return self

    @property
    def vectors(self) -> tuple[str, ...]:
        return named(self.vector)

    def edit(self, x: Tensor, ctx: EditContext) -> Tensor:
        if self.vector is None:
            return torch.full_like(x, self.value or 0.0)
        return ctx.vector(self.vector).expand_as(x)


def _words(edit: Set, parts: str) -> str:
    return f"set {parts} to {f'{edit.value:g}' if edit.vector is None else vector_in_words(edit.vector)}"


KIND = Kind("set", Set, "set", _words)
