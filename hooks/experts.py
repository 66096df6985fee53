"""The one experts function: eager mixture of experts that shows what it computes to the active tap.

`transformers` keeps the weights of all experts in one module and lets a registered function compute it. Ours does what
every family's eager experts do, in the same order, so the result is the same bit for bit; when a run of ours is active
it shows the weights after selection and the neurons of each chosen expert, and takes edits of them.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hooks.attention import ACTIVE, NAME


def register() -> None:
    """Make the function selectable by the same name as the attention function."""
    from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

    ALL_EXPERTS_FUNCTIONS.register(NAME, workbench_experts)


def workbench_experts(
    self: Any,
    hidden_states: Float[Tensor, "token d_model"],
    top_k_index: Int[Tensor, "token chosen"],
    top_k_weights: Float[Tensor, "token chosen"],
) -> Float[Tensor, "token d_model"]:
    """What the chosen experts write. An expert whose weight is edited to 0 writes nothing; the others keep theirs."""
    tap = ACTIVE.get()
    n_experts = int(self.num_experts)
    if tap is not None:
        dense = torch.zeros(len(hidden_states), n_experts, dtype=top_k_weights.dtype, device=top_k_weights.device)
        dense = tap.experts("router", self, dense.scatter(1, top_k_index, top_k_weights))
        top_k_weights = dense.gather(1, top_k_index)
    # Slot by slot, as eager goes through them: the order of rows can change how a product rounds.
    hit = [(e, torch.eq(top_k_index.T, e).nonzero(as_tuple=True)) for e in range(n_experts)]
    places = [(expert, tokens, slots) for expert, (slots, tokens) in hit if len(tokens)]
    neurons = [_neurons(self, e, hidden_states[tokens]) for e, tokens, _ in places]
    if tap is not None and neurons:
        post = torch.zeros(
            len(hidden_states), n_experts, neurons[0].shape[-1], dtype=neurons[0].dtype, device=neurons[0].device
        )
        for (expert, tokens, _), value in zip(places, neurons, strict=True):
            post[tokens, expert] = value
        post = tap.experts("expert_post", self, post)
        neurons = [post[tokens, expert] for expert, tokens, _ in places]
    total = torch.zeros_like(hidden_states)
    for (expert, tokens, slots), value in zip(places, neurons, strict=True):
        written = _written(self, expert, value) * top_k_weights[tokens, slots, None]
        total.index_add_(0, tokens, written.to(total.dtype))
    return total


def written_by(
    self: Any, router: Float[Tensor, "batch pos expert"], neurons: Float[Tensor, "batch pos expert d_mlp"]
) -> Float[Tensor, "batch pos d_model"]:
    """What the experts of module `self` write, from their weights after selection and their neurons."""
    parts = [router[..., e, None] * _written(self, e, neurons[..., e, :]) for e in range(router.shape[-1])]
    return torch.stack(parts).sum(0)


def _neurons(self: Any, expert: int, x: Tensor) -> Tensor:
    """What an expert's output matrix reads."""
    if not self.has_gate:
        return self.act_fn(_linear(self, "up_proj", expert, x))
    return self._apply_gate(_linear(self, "gate_up_proj", expert, x))


def _written(self: Any, expert: int, neurons: Tensor) -> Tensor:
    return _linear(self, "down_proj", expert, neurons)


def _linear(self: Any, name: str, expert: int, x: Tensor) -> Tensor:
    weight = getattr(self, name)[expert]
    bias = getattr(self, f"{name}_bias")[expert] if self.has_bias else None
    if self.is_transposed:
        return x @ weight if bias is None else x @ weight + bias
    return nn.functional.linear(x, weight, bias)
