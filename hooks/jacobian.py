"""jacobian: how one site depends on another at one position, in one run, as a rotated query on the query itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooks.gradients import Probe, constant_weights
from hooks.run import forward
from hooks.schedule import on_prompts
from hooks.sites import Part, Site
from hooks.tokens import TokenBatch
from hooks.wiring import Wiring

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def jacobian(
    model: PreTrainedModel,
    wiring: Wiring,
    batch: TokenBatch,
    of: Site,
    by: Site,
    head: int,
    at: Int[Tensor, " batch"],
    *,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "batch d_of head d_by"]:
    """Derivatives of one head of a site, at one position per prompt, by all heads of an earlier one at that position.

    Both have axes [batch pos head d_head]. One forward, and as many short backward passes as the head has numbers.
    """
    here, there = Probe(at=Part(by)), Probe(at=Part(of))
    with constant_weights(model):
        forward(
            model, wiring, batch, reads=frozenset(), schedule=on_prompts(batch, [here, there]),
            logits_at=torch.tensor(batch.answer_at), grads=True, device=device,
        )  # fmt: skip
        rows = torch.arange(len(batch))
        values = there.value[rows, at, head]
        found = [
            torch.autograd.grad(values[:, number].sum(), here.zeros, retain_graph=True)[0][rows, at]
            for number in range(values.shape[-1])
        ]
    return torch.stack(found, dim=1)
