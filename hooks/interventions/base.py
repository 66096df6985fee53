"""The protocol of an edit: a frozen value that says where, and one pure method that says what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from pydantic import Field
from torch import Tensor

from hooks.sites import Part, Site
from hooks.spec import Spec

Finite = Annotated[float, Field(allow_inf_nan=False)]
Numbers = tuple[Finite, ...]
Vector = str | Numbers
"""A vector of an edit: the name of one that the experiment defines, or its numbers along the site's last axis."""


class EditContext(Protocol):
    """What an edit may ask while it runs. Answers have the shape of the addressed part, or broadcast to it."""

    @property
    def addressed(self) -> tuple[slice, ...]:
        """Where the part `at` lies in what `edit` was handed, where `span` is wider; an index of all axes."""

    def source(self, name: str) -> Tensor:
        """The same part, for the same prompts, captured from another input of the experiment."""

    def mean(self, name: str, over: str) -> Tensor:
        """The mean of the part over the prompts of input `name`.

        over: "prompts" (each position apart), "positions" (both together), or "template" (each position apart, over the
        prompts made from the same template as the prompt that is run).
        """

    def resampled(self, name: str, seed: int) -> Tensor:
        """The same part from another prompt of input `name`, drawn with `seed`: never from the prompt itself."""

    def noise(self, seed: int) -> Tensor:
        """Standard normal numbers. Each depends on the seed, the site, the prompt, and its place there, alone."""

    def vector(self, vector: Vector) -> Tensor:
        """A vector along the site's last axis, cut to the units of the part; one per head where it was made of heads.

        Raises InputError for a name that is not defined, and for another length than the site's.
        """

    def reread(self, writers: Sequence[Part], source: str) -> Tensor:
        """The part computed anew from the residual stream, with the present writes of `writers` replaced.

        What they wrote in the run on `source` takes their place. Raises SiteMissing where that cannot be computed.
        """

    def embedding_sd(self) -> Tensor:
        """Standard deviation of all entries of the model's token embeddings, as they are added. Raises InputError."""


class Intervention(Spec):
    """An edit at one part of the forward pass."""

    kind: str
    at: Part

    @property
    def span(self) -> Part:
        """What `edit` is handed: `at`, or `at` with some axes left out."""
        return self.at

    @property
    def sources(self) -> tuple[str, ...]:
        """The inputs whose activations at `at.site` must be captured first."""
        return ()

    @property
    def copied(self) -> tuple[Site, ...]:
        """The sites that are copied from the sources."""
        return (self.at.site,) if self.sources else ()

    @property
    def present(self) -> tuple[Site, ...]:
        """Sites upstream whose values in the run itself the edit asks for, beside the stream that its part reads."""
        return ()

    @property
    def vectors(self) -> tuple[str, ...]:
        """Names of the vectors that the experiment must define."""
        return ()

    def edit(self, x: Tensor, ctx: EditContext) -> Tensor:
        """The new value of the addressed part; `x` is its present value, and the result has the same shape."""
        raise NotImplementedError


@dataclass(frozen=True)
class Kind:
    """How a module announces its intervention.

    name: in JSON. verb: a word for lists ("zero"). words: what the edit does to the parts that are named, as the
    predicate of a sentence: `words(edit, "head 3.2")` is "zero head 3.2".
    """

    name: str
    cls: type[Intervention]
    verb: str
    words: Callable[[Any, str], str]


def check_features(at: Part, kind: str, *, whole: bool = False) -> None:
    """Raises ValueError for a part whose last axis holds no features, or with `whole` only one of them."""
    last = at.site.axes[-1]
    if not last.startswith("d_"):
        raise ValueError(f"{kind} needs features, and the last axis of {at.site} is {last}")
    if whole and at.unit is not None:
        raise ValueError(f"{kind} needs all features of {at.site}: leave out unit={at.unit}")


def named(vector: Vector | None) -> tuple[str, ...]:
    """The name that a vector is given by, if it is."""
    return (vector,) if isinstance(vector, str) else ()


def vector_in_words(vector: Vector | Sequence[float]) -> str:
    """A vector in a sentence: "vector ‘mary’", "a vector of 64 numbers"."""
    return f"vector ‘{vector}’" if isinstance(vector, str) else f"a vector of {len(vector)} numbers"
