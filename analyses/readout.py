"""The way from the last residual stream to a logit difference, with the final norm's scale held at the run's own.

With the scale s of the run the final norm is linear, N(x) = s · γ ⊙ (x − mean(x)) + β (no mean is taken out in an RMS
norm), so each addend c of the stream adds c · v to the difference of two logits, where v = s · γ ⊙ u, its own mean
taken out for a LayerNorm, and u is the difference of the two columns of W_U. β · u and the unembedding's bias are terms
of their own. Which norm it is, and that the logits are linear in what it gives, is checked on the run's own numbers.

Source: Elhage et al. 2021, A Mathematical Framework for Transformer Circuits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from analyses.held_norm import EXACT, held_norm
from hooks.errors import SiteMissing
from hooks.model import Instrumented
from hooks.tokens import TokenBatch


@dataclass(frozen=True, eq=False)
class Readout:
    """direction v [batch d_model]; constants: what is added whatever the stream holds [batch], by name.

    value: the difference that the model gives [batch]. cap: c of a soft cap c · tanh(x / c), before which the
    differences are taken.
    """

    direction: Float[Tensor, "batch d_model"]
    constants: dict[str, Float[Tensor, " batch"]]
    value: Float[Tensor, " batch"]
    cap: float | None


def readout(
    model: Instrumented,
    batch: TokenBatch,
    stream: Float[Tensor, "batch d_model"],
    normed: Float[Tensor, "batch d_model"],
    logits: Float[Tensor, "batch d_vocab"],
) -> Readout:
    """How the stream at the answer position becomes the difference of mean answer and mean foil logits.

    stream, normed: the last residual and what the final norm makes of it. Without foils, the mean answer logit. Raises
    SiteMissing where the equations do not hold on this run.
    """
    stream, normed, logits = stream.double(), normed.double(), logits.double()
    held = held_norm(*model.weights.final_norm(), stream, normed, f"the final norm of {model.name}")
    weights = model.weights
    factor, cap, given = linear_logits(model, normed, logits)
    u, b = (factor * _difference(rows, batch) for rows in (weights.W_U().T, weights.b_U()))
    direction = held.led_back(u)
    constants = {"norm bias": (held.bias * u).sum(-1), "unembedding bias": b}
    value = torch.stack([_difference(row[:, None], batch.select([n]))[0, 0] for n, row in enumerate(given)])
    return Readout(direction, {name: x for name, x in constants.items() if x.any()}, value, cap)


def _difference(rows: Tensor, batch: TokenBatch) -> Tensor:
    """Mean over each prompt's answers minus mean over its foils of `rows` [d_vocab ...], [batch ...]."""

    def mean(ids: tuple[tuple[int, ...], ...]) -> Tensor:
        return torch.stack([rows[list(chosen)].double().mean(0) for chosen in ids])

    return mean(batch.answers) - mean(batch.foils) if batch.foils else mean(batch.answers)


def linear_logits(model: Instrumented, normed: Tensor, logits: Tensor) -> tuple[float, float | None, Tensor]:
    """Factor and soft cap with which the unembedding of `normed` gives the logits, and these before the cap.

    Raises SiteMissing where the logits are no linear function of what the final norm gives.
    """
    raw = normed @ model.weights.W_U().double() + model.weights.b_U().double()
    cap = model.weights.logit_cap()
    factor = 1.0 if cap else float((raw * logits).sum() / (raw * raw).sum())
    made = cap * torch.tanh(raw / cap) if cap else factor * raw
    error = float((made - logits).abs().max())
    if error > EXACT * max(1.0, float(logits.abs().max())):
        raise SiteMissing(
            f"the logits of {model.name} are no linear function of what its final norm gives: off by {error:.2g}.",
            "Direct attribution needs an unembedding right after the final norm; ablate instead.",
        )
    return (1.0 if abs(factor - 1) < EXACT else factor), cap, raw if cap else logits
