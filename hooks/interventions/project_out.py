"""Directional ablation: what a part says along one direction is removed (Arditi et al. 2024, arXiv 2406.11717)."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator
from torch import Tensor

from hooks.interventions.base import EditContext, Intervention, Kind, Vector, check_features, named, vector_in_words


class ProjectOut(Intervention):
    """Remove the component along `vector` at every addressed position: x − (x·û)û, û of length 1.

    vector: the name of one of the experiment's vectors, or its numbers along the site's last axis; its length does not
    matter, but it must not be 0.
    """

    kind: Literal["project_out"] = "project_out"
    vector: Vector

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_features(self.at, "project_out", whole=True)
        if not isinstance(self.vector, str) and not any(self.vector):
            raise ValueError("a vector of zeros has no direction to project out")
        return self

    @property
    def vectors(self) -> tuple[str, ...]:
        return named(self.vector)

    def edit(self, x: Tensor, ctx: EditContext) -> Tensor:
        direction = ctx.vector(self.vector)
        direction = direction / direction.norm(dim=-1, keepdim=True)
        return x - (x * direction).sum(dim=-1, keepdim=True) * direction


KIND = Kind(
    "project_out",
    ProjectOut,
    "project out of",
    lambda edit, parts: f"project {vector_in_words(edit.vector)} out of {parts}",
)
