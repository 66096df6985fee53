"""A norm with its scale held at a run's own value: then it is linear, N(x) = s · γ ⊙ (x − mean(x)) + β.

No mean is taken out in an RMS norm, and some families multiply by 1 + weight: which of these a norm is, the run shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from jaxtyping import Float
from torch import Tensor

from hooks.errors import SiteMissing

EXACT = 1e-4
"""Largest deviation, relative to the largest value, at which an equation counts as holding in float32."""


@dataclass(frozen=True, eq=False)
class HeldNorm:
    """gain, bias [d_model]; centred: whether the mean is taken out first; scale [batch 1]."""

    gain: Float[Tensor, " d_model"]
    bias: Float[Tensor, " d_model"]
    centred: bool
    scale: Float[Tensor, "batch 1"]

    def led_back(self, direction: Float[Tensor, "batch d_model"]) -> Float[Tensor, "batch d_model"]:
        """The direction in the stream along which what is added changes what the norm gives along `direction`."""
        found = self.scale * self.gain * direction
        return found - found.mean(-1, keepdim=True) if self.centred else found


def held_norm(
    weight: Float[Tensor, " d_model"] | None,
    bias: Float[Tensor, " d_model"] | None,
    stream: Float[Tensor, "batch d_model"],
    normed: Float[Tensor, "batch d_model"],
    what: str,
) -> HeldNorm:
    """The norm that made `normed` of `stream`, both in float64. weight, bias: its own, None where it has none.

    Raises SiteMissing, naming it `what`, for a norm that is neither an RMS norm nor a LayerNorm.
    """
    ones = normed.new_ones(normed.shape[-1])
    beta = ones.new_zeros(ones.shape) if bias is None else bias.double()
    gains = [ones] if weight is None else [weight.double(), 1 + weight.double()]
    found = []
    for gain, centred in product(gains, (False, True)):
        unscaled = gain * (stream - stream.mean(-1, keepdim=True) if centred else stream)
        scale = ((normed - beta) * unscaled).sum(-1, keepdim=True) / (unscaled**2).sum(-1, keepdim=True)
        found.append((float((scale * unscaled + beta - normed).abs().max()), HeldNorm(gain, beta, centred, scale)))
    error, held = min(found, key=lambda one: one[0])
    if error > EXACT * max(1.0, float(normed.abs().max())):
        raise SiteMissing(
            f"{what} is neither an RMS norm nor a LayerNorm: off by {error:.2g}.",
            "Direct attribution needs a norm that is linear once its scale is held; ablate instead.",
        )
    return held
