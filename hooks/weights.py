"""Per-head views of a model's weights. Nothing is copied or folded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hooks.errors import SiteMissing
from hooks.ports import Port
from hooks.projections import head_slices_of, weight_of
from hooks.sites import Site
from hooks.wiring import Wiring

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Weights:
    """Weight matrices by layer, in the axes of the vocabulary."""

    def __init__(self, model: PreTrainedModel, wiring: Wiring) -> None:
        self._model, self._wiring = model, wiring

    def port(self, site: Site) -> Port:
        """The module's edge on which a site is seen. Raises SiteMissing for a site that no module shows."""
        if site not in self._wiring.ports:
            raise SiteMissing(f"no module reads or gives {site} in this model.", "Choose another site.")
        return self._wiring.ports[site]

    def module(self, path: str) -> nn.Module:
        """The module at a port's path."""
        return self._model.get_submodule(path)

    def _attention(self, layer: int) -> tuple[nn.Module, int]:
        roles = self._wiring.main.layers[layer].attention
        if roles is None or roles.o is None:
            raise SiteMissing(f"layer {layer} has no attention with an output projection.", "Choose another layer.")
        return self._model.get_submodule(roles.o), roles.n_heads

    def W_O(self, layer: int) -> Float[Tensor, "head d_head d_model"]:
        """[head d_head d_model]: what each head's z is multiplied with to give its write. Raises SiteMissing."""
        projection, n_heads = self._attention(layer)
        return head_slices_of(projection, n_heads).detach()

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

    def b_U(self) -> Float[Tensor, " d_vocab"]:
        """[d_vocab]: the unembedding's bias, zeros where there is none. Raises SiteMissing for a model without one."""
        bias = getattr(self._model.get_submodule(self._wiring.unembed or ""), "bias", None)
        return bias.detach() if isinstance(bias, Tensor) else torch.zeros_like(self.W_U()[0])

    def logit_cap(self) -> float | None:
        """c where the model gives c · tanh(logits / c) in place of logits, by its config; else None."""
        return getattr(self._model.config.get_text_config(), "final_logit_softcapping", None)

    def W_out(self, layer: int) -> Float[Tensor, "d_mlp d_model"]:
        """[d_mlp d_model]: what each neuron is multiplied with to give its write. Raises SiteMissing."""
        module = self._neurons(layer)
        weight = weight_of(module).detach()
        return weight.T if hasattr(module, "in_features") else weight

    def b_out(self, layer: int) -> Float[Tensor, " d_model"]:
        """[d_model]: the bias of what reads the neurons, zeros where there is none. Raises SiteMissing."""
        bias = getattr(self._neurons(layer), "bias", None)
        return bias.detach() if isinstance(bias, Tensor) else torch.zeros_like(self.W_out(layer)[0])

    def _neurons(self, layer: int) -> nn.Module:
        mlp = self._wiring.main.layers[layer].mlp
        if mlp is None:
            raise SiteMissing(
                f"layer {layer} has no MLP whose neurons are read by one matrix.", "Choose another layer."
            )
        return self._model.get_submodule(mlp.down)

    def expert_W_out(self, layer: int) -> tuple[nn.Module, Float[Tensor, "expert d_mlp d_model"]]:
        """The module that holds a layer's experts, and what each of their neurons is multiplied with.

        Raises SiteMissing.
        """
        experts = self._wiring.main.layers[layer].experts
        if experts is None or not experts.shared:
            raise SiteMissing(f"layer {layer} has no experts whose weights lie together.", "Choose another layer.")
        module = self._model.get_submodule(experts.holder)
        weight = module.get_parameter("down_proj").detach()
        return module, weight if module.is_transposed else weight.transpose(1, 2)

    def final_norm(self) -> tuple[Tensor | None, Tensor | None]:
        """Weight and bias [d_model] of the final norm; see `norm`. Raises SiteMissing for a model without one."""
        return self.norm(Site("ln_final"))

    def norm(self, site: Site) -> tuple[Tensor | None, Tensor | None]:
        """Weight and bias [d_model] of the norm that gives a site, as its module holds them; None for what it lacks.

        Raises SiteMissing for a site that no module shows. Some families multiply by 1 + weight.
        """
        module = self.module(self.port(site).module)
        held = (getattr(module, name, None) for name in ("weight", "bias"))
        weight, bias = (x.detach() if isinstance(x, Tensor) else None for x in held)
        return weight, bias
