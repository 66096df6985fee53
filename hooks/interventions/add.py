"""Steering: a vector is added to the part (Turner et al. 2023, arXiv 2308.10248; Panickssery et al. 2312.06681)."""

from __future__ import annotations

from typing import Literal, Self

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


class Add(Intervention):
    """Add `coefficient` times `vector` at every addressed position: x + c·v.

    vector: the name of one of the experiment's vectors, or its numbers along the site's last axis.
    """

    kind: Literal["add"] = "add"
    vector: Vector
    coefficient: Finite = 1.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_features(self.at, "add")
        return self

    @property
    def vectors(self) -> tuple[str, ...]:
        return named(self.vector)

    def edit(self, x: Tensor, ctx: EditContext) -> Tensor:
        return x + self.coefficient * ctx.vector(self.vector)


def _words(edit: Add, parts: str) -> str:
    times = "" if edit.coefficient == 1 else f"{edit.coefficient:g} × "
    return f"add {times}{vector_in_words(edit.vector)} to {parts}"


KIND = Kind("add", Add, "add to", _words)
