"""What finding roles looks at: a model, one observed pass of it, and whether what modules gave is alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hooks.conventions import Blueprint, first
from hooks.observe import Call, Observation
from hooks.projections import is_projection

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, eq=False)
class Look:
    """n_heads: query heads by config, for attention that is not seen. rows: prompts of the observed batch."""

    model: PreTrainedModel
    seen: Observation
    blueprint: Blueprint
    n_heads: int
    rows: int

    def projections(self, calls: Iterable[Call]) -> list[Call]:
        """Those of `calls` that multiply with a matrix."""
        return [call for call in calls if call.gave is not None and is_projection(call.module)]

    def named(self, block: str, names: tuple[str, ...]) -> str | None:
        """Path of the first of `names` that is a module of a block."""
        found = first(names, {path for path, _ in self.model.get_submodule(block).named_modules()})
        return f"{block}.{found}" if found else None

    def in_rows(self, x: Tensor) -> Tensor:
        """`x` with its batch axis, which some modules fold into the positions."""
        return x.unflatten(0, (self.rows, -1)) if x.ndim == 2 else x

    def same(self, one: Tensor | None, other: Tensor | None) -> bool:
        """Whether two tensors are equal bit for bit."""
        return one is not None and other is not None and equal(self.in_rows(one), self.in_rows(other))


def equal(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and values."""
    return one.shape == other.shape and bool(torch.equal(one, other))


def inside(path: str, home: str) -> bool:
    """Whether a module is `home` or lies in it."""
    return path == home or path.startswith(f"{home}.")


def common(paths: list[str]) -> str:
    """The deepest module that holds all of `paths`, or is one of them and holds the others."""
    shared = []
    for names in zip(*(path.split(".") for path in paths), strict=False):
        if len(set(names)) > 1:
            break
        shared.append(names[0])
    return ".".join(shared)
