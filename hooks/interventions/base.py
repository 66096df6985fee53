"""The protocol of an edit: a frozen value that says where, and one pure method that says what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from hooks.sites import Part
from hooks.spec import Spec


class EditContext(Protocol):
    """What an edit may ask while it runs. All answers have the shape of the addressed part."""

    def source(self, name: str) -> Tensor:
        """The same part, for the same prompts, captured from another input of the experiment."""

    def mean(self, name: str, over: str) -> Tensor:
        """The mean of the part over the prompts of input `name`: "prompts" (each position apart) or "positions" too."""


class Intervention(Spec):
    """An edit at one part of the forward pass."""

    kind: str
    at: Part

    @property
    def sources(self) -> tuple[str, ...]:
        """The inputs whose activations at `at.site` must be captured first."""
        return ()

    def edit(self, x: Tensor, ctx: EditContext) -> Tensor:
        """The new value of the addressed part; `x` is its present value, and the result has the same shape."""
        raise NotImplementedError


@dataclass(frozen=True)
class Kind:
    """How a module announces its intervention: the name in JSON, the class, and a word for sentences ("zero")."""

    name: str
    cls: type[Intervention]
    verb: str
