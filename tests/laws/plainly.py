"""The unhooked model, called by the tests themselves: nothing here is taken from the product.

Edges of modules are named by hand for each family, so that a wrong guess of the product cannot confirm itself.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

DECODER, ENCODER, VISION = "decoder", "encoder", "vision"

# The lists of blocks by family and stack. ALBERT's one block is called once per layer.
BLOCKS: dict[str, dict[str, str]] = {
    "albert": {DECODER: "albert.encoder.albert_layer_groups.0.albert_layers"},
    "bart": {ENCODER: "model.encoder.layers", DECODER: "model.decoder.layers"},
    "bert": {DECODER: "bert.encoder.layer"},
    "bloom": {DECODER: "transformer.h"},
    "clip": {DECODER: "text_model.encoder.layers", VISION: "vision_model.encoder.layers"},
    "deberta-v2": {DECODER: "deberta.encoder.layer"},
    "deit": {DECODER: "deit.layers"},
    "distilbert": {DECODER: "distilbert.transformer.layer"},
    "falcon": {DECODER: "transformer.h"},
    "gpt2": {DECODER: "transformer.h"},
    "gpt_neo": {DECODER: "transformer.h"},
    "gpt_neox": {DECODER: "gpt_neox.layers"},
    "gptj": {DECODER: "transformer.h"},
    "mamba": {DECODER: "backbone.layers"},
    "mpt": {DECODER: "transformer.blocks"},
    "opt": {DECODER: "model.decoder.layers"},
    "roberta": {DECODER: "roberta.encoder.layer"},
    "siglip": {DECODER: "text_model.encoder.layers", VISION: "vision_model.encoder.layers"},
    "t5": {ENCODER: "encoder.block", DECODER: "decoder.block"},
    "vit": {DECODER: "vit.layers"},
    "whisper": {ENCODER: "model.encoder.layers", DECODER: "model.decoder.layers"},
}
USUAL_BLOCKS = {DECODER: "model.layers"}

# Output projections inside a block: of self-attention, and of cross-attention where there is one.
PROJECTIONS: dict[str, tuple[str, ...]] = {
    "albert": ("attention.dense",),
    "bart": ("self_attn.out_proj", "encoder_attn.out_proj"),
    "bert": ("attention.output.dense",),
    "bloom": ("self_attention.dense",),
    "clip": ("self_attn.out_proj",),
    "deberta-v2": ("attention.output.dense",),
    "deit": ("attention.o_proj",),
    "distilbert": ("attention.out_lin",),
    "falcon": ("self_attention.dense",),
    "gpt2": ("attn.c_proj",),
    "gpt_neo": ("attn.attention.out_proj",),
    "gpt_neox": ("attention.dense",),
    "gptj": ("attn.out_proj",),
    "modernbert": ("attn.Wo",),
    "mpt": ("attn.out_proj",),
    "opt": ("self_attn.out_proj",),
    "phi": ("self_attn.dense",),
    "roberta": ("attention.output.dense",),
    "siglip": ("self_attn.out_proj",),
    "t5": ("layer.0.SelfAttention.o", "layer.1.EncDecAttention.o"),
    "vit": ("attention.o_proj",),
    "whisper": ("self_attn.out_proj", "encoder_attn.out_proj"),
}
USUAL_PROJECTIONS = ("self_attn.o_proj",)

# Norms of the sums inside the blocks of post-norm families, in order.
POST_NORMS: dict[str, dict[str, tuple[str, ...]]] = {
    "albert": {DECODER: ("attention.LayerNorm", "full_layer_layer_norm")},
    "bart": {
        ENCODER: ("self_attn_layer_norm", "final_layer_norm"),
        DECODER: ("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"),
    },
    "bert": {DECODER: ("attention.output.LayerNorm", "output.LayerNorm")},
    "deberta-v2": {DECODER: ("attention.output.LayerNorm", "output.LayerNorm")},
    "distilbert": {DECODER: ("sa_layer_norm", "output_layer_norm")},
    "roberta": {DECODER: ("attention.output.LayerNorm", "output.LayerNorm")},
}

# What is embedded beside tokens and positions, and the norm of that sum. DeBERTa's norm is not the last word: what it
# gives is then masked, and `embed` is the masked tensor.
EMBEDDING_NORMS: dict[str, dict[str, str]] = {
    "bart": {ENCODER: "model.encoder.layernorm_embedding", DECODER: "model.decoder.layernorm_embedding"},
    "bert": {DECODER: "bert.embeddings.LayerNorm"},
    "bloom": {DECODER: "transformer.word_embeddings_layernorm"},
    "distilbert": {DECODER: "distilbert.embeddings.LayerNorm"},
    "modernbert": {DECODER: "model.embeddings.norm"},
    "roberta": {DECODER: "roberta.embeddings.LayerNorm"},
}
TOKEN_TYPES = {"bert": "bert.embeddings.token_type_embeddings", "roberta": "roberta.embeddings.token_type_embeddings"}

# The norm between the last block and the head, by family; None where the last block norms by itself.
FINAL_NORMS: dict[str, str | None] = {
    "bloom": "transformer.ln_f",
    "clip": "text_model.final_layer_norm",
    "deit": "deit.layernorm",
    "falcon": "transformer.ln_f",
    "falcon_h1": "model.final_layernorm",
    "gpt2": "transformer.ln_f",
    "gpt_neo": "transformer.ln_f",
    "gpt_neox": "gpt_neox.final_layer_norm",
    "gptj": "transformer.ln_f",
    "jamba": "model.final_layernorm",
    "mamba": "backbone.norm_f",
    "modernbert": "model.final_norm",
    "mpt": "transformer.norm_f",
    "opt": "model.decoder.final_layer_norm",
    "phi": "model.final_layernorm",
    "siglip": "text_model.final_layer_norm",
    "t5": "decoder.final_layer_norm",
    "vit": "vit.layernorm",
    "whisper": "model.decoder.layer_norm",
    **dict.fromkeys(POST_NORMS),
}
USUAL_FINAL_NORM = "model.norm"


def part(plain: nn.Module, path: str) -> nn.Module:
    """A module by its path, which in a model without a head lacks its first name."""
    try:
        return plain.get_submodule(path)
    except AttributeError:
        return plain.get_submodule(path.partition(".")[2])


def apply(module: nn.Module, x: Tensor) -> Tensor:
    """What a module makes of a tensor."""
    with torch.no_grad():
        return module(x)


def blocks(plain: nn.Module) -> dict[str, nn.ModuleList]:
    """The blocks of each stack."""
    paths = BLOCKS.get(plain.config.model_type, USUAL_BLOCKS)
    return {stack: part(plain, path) for stack, path in paths.items()}


def block(plain: nn.Module, stack: str, layer: int) -> nn.Module:
    """The block of a layer; the only one where layers share it."""
    listed = blocks(plain)[stack]
    return listed[min(layer, len(listed) - 1)]


def arguments(plain: nn.Module, batch: Any) -> dict[str, Tensor]:
    """What the model's forward takes for a batch, by the names in its signature."""
    taken = inspect.signature(plain.forward).parameters
    sides = {name: given for side in batch.sides.values() for name, given in side.inputs.items()}
    if plain.config.is_encoder_decoder:
        source = batch.sides[ENCODER]
        read = sides or {"input_ids": source.ids, "attention_mask": source.mask.long()}
        return {**read, "decoder_input_ids": batch.ids, "decoder_attention_mask": batch.mask.long()}
    if batch.inputs:
        return dict(batch.inputs)
    masked = {"attention_mask": batch.mask.long()} if "attention_mask" in taken else {}
    return {"input_ids": batch.ids, **masked, **sides}


@contextmanager
def eager_experts(plain: nn.Module) -> Iterator[None]:
    """While open, experts run as the eager reference, not as a fused kernel."""
    held = getattr(plain.config, "_experts_implementation", None)
    if held is not None:
        plain.set_experts_implementation("eager")
    try:
        yield
    finally:
        if held is not None:
            plain.set_experts_implementation(held)


@contextmanager
def default_kernel(plain: nn.Module) -> Iterator[str]:
    """While open, attention runs by the kernel that the library would choose by itself, whose name is given."""
    held = plain.config._attn_implementation
    kernel = type(plain)._from_config(copy.deepcopy(plain.config), attn_implementation=None).config._attn_implementation
    configs = {id(module.config): module.config for module in plain.modules() if hasattr(module, "config")}.values()
    try:
        for config in configs:
            config._attn_implementation_internal = kernel
        yield kernel
    finally:
        for config in configs:
            config._attn_implementation_internal = held


def call(plain: nn.Module, batch: Any, **options: bool) -> Any:
    """One eager forward pass of the unhooked model; an option that its forward does not take is left out."""
    taken = inspect.signature(plain.forward).parameters
    cache = {"use_cache": False} if "use_cache" in taken else {}
    with torch.no_grad(), eager_experts(plain):
        return plain(**arguments(plain, batch), **cache, **options)


def answers(output: Any, batch: Any) -> Tensor:
    """[batch pos n] logits of tokens, classes or pairs; the mean of the hidden states of a model without a head."""
    if "logits_per_text" in output:
        return output.logits_per_text.diagonal()[:, None, None]
    if "logits" in output:
        return output.logits if output.logits.ndim == 3 else output.logits[:, None]
    real = batch.mask[:, :, None].float()
    return (output.last_hidden_state * real).sum(1, keepdim=True) / real.sum(1, keepdim=True)


def logits(plain: nn.Module, batch: Any) -> Tensor:
    """[batch pos n] what the unhooked model answers."""
    return answers(call(plain, batch), batch)


def tensor_of(value: Any) -> Tensor:
    """The first tensor of a module's output."""
    return value[0] if isinstance(value, tuple) else value


def given_to(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The hidden states that a module is given."""
    return args[0] if args else kwargs["hidden_states"]


@contextmanager
def watched(modules: dict[Any, nn.Module], see: Callable[[Any, Tensor, Tensor], None]) -> Iterator[None]:
    """While open, `see(key, given, gave)` is told of every call of each module."""
    handles = []
    for key, module in modules.items():

        def told(_: nn.Module, args: Any, kwargs: Any, output: Any, key: Any = key) -> None:
            see(key, given_to(args, kwargs).clone(), tensor_of(output).clone())

        handles.append(module.register_forward_hook(told, with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def streams(plain: nn.Module, batch: Any) -> dict[tuple[str, int], tuple[Tensor, Tensor]]:
    """What each layer of each stack is given and gives, in the order of the calls of its blocks."""
    seen: dict[tuple[str, int], tuple[Tensor, Tensor]] = {}

    def see(stack: str, given: Tensor, gave: Tensor) -> None:
        layer = sum(known == stack for known, _ in seen)
        seen[stack, layer] = (given, gave)

    modules = {(stack, n): one for stack, listed in blocks(plain).items() for n, one in enumerate(listed)}
    with watched(modules, lambda key, given, gave: see(key[0], given, gave)):
        call(plain, batch)
    return seen


def outputs(plain: nn.Module, batch: Any, modules: dict[Any, nn.Module]) -> dict[Any, list[Tensor]]:
    """What each module gives, call by call."""
    seen: dict[Any, list[Tensor]] = {key: [] for key in modules}
    with watched(modules, lambda key, _, gave: seen[key].append(gave)):
        call(plain, batch)
    return seen


def attentions(plain: nn.Module, batch: Any) -> dict[tuple[str, bool], tuple[Tensor, ...]]:
    """The attention weights that the model itself returns, by stack and whether they are cross-attention's."""
    output = call(plain, batch, output_attentions=True)
    if plain.config.is_encoder_decoder:
        found = {
            (ENCODER, False): output.encoder_attentions,
            (DECODER, False): output.decoder_attentions,
            (DECODER, True): output.cross_attentions,
        }
    elif "text_model_output" in output:
        found = {
            (DECODER, False): output.text_model_output.attentions,
            (VISION, False): output.vision_model_output.attentions,
        }
    else:
        found = {(DECODER, False): output.get("attentions")}
    return {key: tuple(x for x in given if x is not None) for key, given in found.items() if given}


def projection(plain: nn.Module, stack: str, layer: int, *, cross: bool = False) -> nn.Module:
    """The output projection of a layer's attention."""
    names = PROJECTIONS.get(plain.config.model_type, USUAL_PROJECTIONS)
    return block(plain, stack, layer).get_submodule(names[int(cross)])


def experts(plain: nn.Module, layer: int) -> nn.Module:
    """The module that holds the weights of all experts of a layer."""
    home = block(plain, DECODER, layer)
    return (home.feed_forward if hasattr(home, "feed_forward") else home.mlp).experts
