"""Gaussian noise: the part is corrupted by adding random numbers (Meng et al. 2022, ROME, arXiv 2202.05262)."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator
from torch import Tensor

from hooks.interventions.base import EditContext, Finite, Intervention, Kind, check_features

ROME_SCALE = 3.0


class Noise(Intervention):
    """Add independent normal numbers of mean 0 to the part.

    sd: their standard deviation, or scale: the same in standard deviations of the model's token embeddings, 3 where
    neither is given. ROME measures that deviation on the embeddings of its subjects; here it is over the whole
    vocabulary, as the model adds them. seed: the noise of a prompt depends on it, the site and the place in the prompt,
    not on which prompts run beside it; edits of one site with one seed add the same noise where they overlap.
    """

    kind: Literal["noise"] = "noise"
    sd: Finite | None = Field(default=None, ge=0)
    scale: Finite | None = Field(default=None, ge=0)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.sd is not None and self.scale is not None:
            raise ValueError("give sd or scale, not both")
        # Rows of a pattern are probabilities: with noise they would be none.
        check_features(self.at, "noise")
        return self

    def edit(self, x: Tensor, ctx: EditContext) -> Tensor:
        if self.sd is not None:
            return x + self.sd * ctx.noise(self.seed)
        return x + self.factor * ctx.embedding_sd() * ctx.noise(self.seed)

    @property
    def factor(self) -> float:
        """Standard deviations of the embeddings, where these are the measure."""
        return ROME_SCALE if self.scale is None else self.scale


def _words(edit: Noise, parts: str) -> str:
    size = f"{edit.factor:g} × that of the embeddings" if edit.sd is None else f"{edit.sd:g}"
    return f"add Gaussian noise of standard deviation {size} to {parts}"


KIND = Kind("noise", Noise, "add noise to", _words)
