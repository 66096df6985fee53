"""Per-head views of a model's weights. Nothing is copied or folded."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from hooks.errors import SiteMissing
from hooks.projections import head_slices, weight_of
from hooks.wiring import Wiring


class Weights:
    """Weight matrices by layer, in the axes of the vocabulary."""

    def __init__(self, model: PreTrainedModel, wiring: Wiring) -> None:
        self._model, self._wiring = model, wiring

    def _attention(self, layer: int) -> tuple[nn.Module, int]:
        roles = self._wiring.main.layers[layer].attention
        if roles is None or roles.o is None:
            raise SiteMissing(f"layer {layer} has no attention with an output projection.", "Choose another layer.")
        return self._model.get_submodule(roles.o), roles.n_heads

    def W_O(self, layer: int) -> Float[Tensor, "head d_head d_model"]:
        """[head d_head d_model]: what each head's z is multiplied with to give its write. Raises SiteMissing."""
        projection, n_heads = self._attention(layer)
        transposed = not hasattr(projection, "in_features")
        return head_slices(weight_of(projection).detach(), n_heads, transposed=transposed)

    def b_O(self, layer: int) -> Float[Tensor, " d_model"]:
        """[d_model]: the output projection's bias, zeros where there is none; it belongs to no head."""
        projection, _ = self._attention(layer)
        if isinstance(projection.bias, Tensor):
            return projection.bias.detach()
        weight = weight_of(projection)
        return torch.zeros(self.W_O(layer).shape[-1], dtype=weight.dtype, device=weight.device)

    def W_U(self) -> Float[Tensor, "d_model d_vocab"]:
        """[d_model d_vocab]: the unembedding. Raises SiteMissing for a model without one."""
        if self._wiring.unembed is None:
            raise SiteMissing("this model has no unembedding.", "It is no language model.")
        return weight_of(self._model.get_submodule(self._wiring.unembed)).detach().T
