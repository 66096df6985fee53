"""Activations read and replaced by plain hooks on plain transformers: nothing here is taken from the product.

Edges are named by hand for four families: GPT-2 (fused projection in blocks), Llama (grouped queries), Gemma 2
(sandwich norms, soft-caps) and GPT-NeoX (parallel blocks, a fused projection per head). Head axes are opened: q, k, v
and z are [prompt pos head d_head].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

VARIANTS = ("gpt2", "llama", "gemma2", "gpt_neox")
SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 64}
SETTINGS: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 4, "vocab_size": 64, "n_positions": 32},
    "llama": {**SIZES, "num_key_value_heads": 2, "intermediate_size": 48},
    "gemma2": {**SIZES, "num_key_value_heads": 2, "intermediate_size": 48, "head_dim": 8, "sliding_window": 4},
    "gpt_neox": {**SIZES, "intermediate_size": 48},
}
LAYERS, HEADS, WIDTH = 3, 4, 8
Write = tuple[str, int, Callable[[Tensor], Tensor]]


def build(variant: str) -> nn.Module:
    """A random model of three layers, with weights large enough for every part to matter."""
    torch.manual_seed(1)
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None}
    config = AutoConfig.for_model(variant, **SETTINGS[variant], **ids)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.2) if parameter.ndim >= 2 else parameter.add_(0.1 * torch.randn_like(parameter))
    return model


class ByHand:
    """A plain model with its edges named: `read` gives activations, `logits` runs with some of them replaced."""

    def __init__(self, variant: str) -> None:
        self.variant, self.model = variant, build(variant)
        self.kv_heads = HEADS if variant in ("gpt2", "gpt_neox") else 2

    def _block(self, layer: int) -> nn.Module:
        if self.variant == "gpt2":
            return self.model.transformer.h[layer]
        return (self.model.gpt_neox if self.variant == "gpt_neox" else self.model.model).layers[layer]

    def attention(self, layer: int) -> nn.Module:
        return getattr(self._block(layer), {"gpt2": "attn", "gpt_neox": "attention"}.get(self.variant, "self_attn"))

    def _edge(self, name: str, layer: int) -> tuple[nn.Module, str]:
        """The module and the side of it at which a tensor is."""
        block, attention = self._block(layer), self.attention(layer)
        fused = {"gpt2": "c_attn", "gpt_neox": "query_key_value"}.get(self.variant)
        if name in ("q", "k", "v"):
            return getattr(attention, fused or f"{name}_proj"), "out"
        if name == "z":
            return getattr(attention, {"gpt2": "c_proj", "gpt_neox": "dense"}.get(self.variant, "o_proj")), "in"
        if name == "attn_out":
            return (block.post_attention_layernorm if self.variant == "gemma2" else attention), "out"
        if name == "mlp_out":
            return (block.post_feedforward_layernorm if self.variant == "gemma2" else block.mlp), "out"
        return block, "in" if name == "resid_pre" else "out"

    def _open(self, name: str, x: Tensor) -> Tensor:
        """The named part of what an edge carries, with its heads apart; a view."""
        if name == "z":
            return x.unflatten(-1, (HEADS, WIDTH))
        if name in ("q", "k", "v"):
            if self.variant == "gpt2":
                return x.unflatten(-1, (3, HEADS, WIDTH))[..., "qkv".index(name), :, :]
            if self.variant == "gpt_neox":
                return x.unflatten(-1, (HEADS, 3, WIDTH))[..., "qkv".index(name), :]
            return x.unflatten(-1, (HEADS if name == "q" else self.kv_heads, WIDTH))
        return x

    def _hook(self, name: str, layer: int, change: Callable[[Tensor], Tensor | None]) -> Any:
        module, side = self._edge(name, layer)

        def changed(x: Tensor) -> Tensor:
            x = x.clone()
            view = self._open(name, x)
            new = change(view.clone())
            if new is not None:
                view.copy_(new)
            return x

        if side == "in":

            def before(_: Any, args: Any, kwargs: Any) -> Any:
                if args:
                    return (changed(args[0]), *args[1:]), kwargs
                return args, {**kwargs, "hidden_states": changed(kwargs["hidden_states"])}

            return module.register_forward_pre_hook(before, with_kwargs=True)

        def after(_: Any, __: Any, out: Any) -> Any:
            return (changed(out[0]), *out[1:]) if isinstance(out, tuple) else changed(out)

        return module.register_forward_hook(after)

    def run(
        self, ids: list[int], writes: Iterable[Write] = (), reads: Iterable[tuple[str, int]] = (), masks: Any = ()
    ) -> tuple[Tensor, Mapping[tuple[str, int], Tensor]]:
        """Logits of the last position, and the activations in `reads` of that run, after its writes.

        masks: (layer, heads or None, q_pos, k_pos) of attention edges that get no weight.
        """
        seen: dict[tuple[str, int], Tensor] = {}
        with ExitStack() as stack, torch.no_grad():
            for name, layer, change in writes:
                stack.callback(self._hook(name, layer, change).remove)
            for name, layer in reads:
                stack.callback(self._hook(name, layer, lambda x, at=(name, layer): seen.update({at: x})).remove)
            for layer in {mask[0] for mask in masks}:
                chosen = [mask[1:] for mask in masks if mask[0] == layer]
                stack.callback(self._cut(layer, chosen, len(ids)).remove)
            out = self.model(input_ids=torch.tensor([ids]), use_cache=False)
        return out.logits[0, -1], seen

    def _cut(self, layer: int, edges: list[Any], length: int) -> Any:
        """Scores of the edges at the lowest number, by the mask that the attention is given."""

        def before(_: Any, args: Any, kwargs: Any) -> Any:
            mask = kwargs["attention_mask"]
            assert mask.shape[-2:] == (length, length)
            mask = mask.expand(-1, HEADS, -1, -1).clone()
            for heads, q, k in edges:
                mask[:, slice(None) if heads is None else heads, q, k] = torch.finfo(mask.dtype).min
            return args, {**kwargs, "attention_mask": mask}

        return self.attention(layer).register_forward_pre_hook(before, with_kwargs=True)


def put(value: Tensor, *, pos: Any = None, head: int | None = None) -> Callable[[Tensor], Tensor]:
    """A write: `value` at a position, at a head, or everywhere."""

    def change(x: Tensor) -> Tensor:
        index = (slice(None), slice(None) if pos is None else pos, *(() if head is None else (head,)))
        x[index] = value[index]
        return x

    return change
