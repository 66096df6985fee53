"""Per-head views of a model's weights. Nothing is copied or folded."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hooks.wiring import Wiring, head_slices


class Weights:
    """Weight matrices by layer, in the axes of the vocabulary."""

    def __init__(self, model: nn.Module, wiring: Wiring, n_heads: int) -> None:
        self._model, self._wiring, self._n_heads = model, wiring, n_heads

    def _projection(self, layer: int) -> nn.Module:
        return self._model.get_submodule(self._wiring.output_projection[layer])

    def W_O(self, layer: int) -> Tensor:
        """[head d_head d_model]: what each head's z is multiplied with to give its write."""
        projection = self._projection(layer)
        transposed = not hasattr(projection, "in_features")
        return head_slices(projection.weight.detach(), self._n_heads, transposed=transposed)

    def b_O(self, layer: int) -> Tensor:
        """[d_model]: the output projection's bias, zeros where there is none; it belongs to no head."""
        projection = self._projection(layer)
        if projection.bias is not None:
            return projection.bias.detach()
        return torch.zeros(self.W_O(layer).shape[-1], dtype=projection.weight.dtype, device=projection.weight.device)

    def W_U(self) -> Tensor:
        """[d_model d_vocab]: the unembedding."""
        return self._model.get_submodule(self._wiring.unembed).weight.detach().T
