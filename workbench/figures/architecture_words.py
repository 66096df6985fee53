"""The plan of a model in words: the text beside its block diagram, and the diagram's text alternative."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.figures.numbers import whole
from workbench.figures.plan import MAIN, Block, Stack, runs, stacks_of

TASKS = {
    "causal": "It gives the logits of the next token after every position",
    "masked": "It gives the logits of the token at every position, a mask above all",
    "seq2seq": "It gives the logits of the next token of the target",
    "classify": "It gives one logit per class and text",
    "token-classify": "It gives one logit per class at every token",
    "image-classify": "It gives one logit per class and image",
    "pairs": "It gives the similarity of a text and an image",
    "features": "It has no head: what it gives is the mean of its last hidden states, a sentence embedding",
}


def describe(info: Mapping[str, Any], stack: Stack | None = None) -> str:
    """One stack in words, the last one where none is named; `info` is ModelInfo as plain JSON values."""
    stack = stack or stacks_of(info)[-1]
    sizes = stack.info
    attends = any("attention" in block.parts for block in stack.blocks)
    parts = [
        f"{whole(sizes['n_layers'])} layers, each {_norms(sizes)}.",
        *([_order(sizes)] if len(stack.blocks) == 1 and attends else [_block(block, sizes) for block in stack.blocks]),
        *([f"Attention has {heads_in_words(sizes)}, {sizes['d_head']} dimensions each, {_sees(sizes)}"
           f"with {_positions(sizes)}."] if attends else []),
        *_mlp(stack),
        *(["Cross-attention reads the encoder’s output."] if any("cross" in b.parts for b in stack.blocks) else []),
    ]  # fmt: skip
    return " ".join([*parts, _ends(stack, info)])


def _ends(stack: Stack, info: Mapping[str, Any]) -> str:
    stream = f"The residual stream has {whole(stack.info['d_model'])} dimensions"
    if stack.name != MAIN:
        return f"{stream}."
    gives = TASKS.get(info.get("task", "causal"), "")
    if info.get("task", "causal") in ("causal", "masked", "seq2seq"):
        return f"{stream}, the vocabulary {whole(info['d_vocab'])} tokens. {gives}."
    return f"{stream}. {gives}."


def _order(info: Mapping[str, Any]) -> str:
    if info["parallel"]:
        return "Attention and MLP read the same residual stream side by side."
    return "Attention writes first, then the MLP reads."


def _block(block: Block, info: Mapping[str, Any]) -> str:
    names = {
        "attention": "attention",
        "mixer": "a state-space or convolution mixer",
        "cross": "cross-attention",
        "experts": "a mixture of experts",
        "mlp": "an MLP",
    }
    several = 1 < len(block.layers) < info["n_layers"]
    which = "Every layer" if len(block.layers) == info["n_layers"] else f"Layer{'s' * several} {runs(block.layers)}"
    verb = "have" if several else "has"
    words = [names[part] for part in block.parts] or ["no part that was found"]
    return f"{which} {verb} {' and '.join(words)}."


def _mlp(stack: Stack) -> list[str]:
    info, parts = stack.info, {part for block in stack.blocks for part in block.parts}
    gate = " behind a gate" if info["gated"] else ""
    words = []
    if "mlp" in parts and info["d_mlp"]:
        words.append(f"The MLP has {whole(info['d_mlp'])} neurons{gate}.")
    if "experts" in parts:
        words.append(f"A router chooses among {info['n_experts']} experts of {whole(info['d_expert'])} neurons{gate}.")
    return words


def _norms(info: Mapping[str, Any]) -> str:
    kind = info["norm_kind"]
    return {
        "pre": f"with {kind} before attention and before the MLP",
        "post": f"with {kind} after each addition",
        "sandwich": f"with {kind} before and after attention and the MLP",
    }[info["norm"]]


def _sees(info: Mapping[str, Any]) -> str:
    return "" if info.get("causal", True) else "in both directions, "


def heads_in_words(info: Mapping[str, Any]) -> str:
    """How many heads, and over how many key/value heads where these are fewer."""
    if info["n_kv_heads"] == info["n_heads"]:
        return f"{info['n_heads']} heads"
    return (
        f"{info['n_heads']} query heads over {info['n_kv_heads']} key/value head{'s' if info['n_kv_heads'] > 1 else ''}"
    )


def short_heads(info: Mapping[str, Any]) -> str:
    """The same in few letters."""
    grouped = f" / {info['n_kv_heads']} kv" if info["n_heads"] != info["n_kv_heads"] else ""
    return f"{info['n_heads']} heads{grouped}"


def _positions(info: Mapping[str, Any]) -> str:
    return {
        "rotary": "rotary positions",
        "learned": "learned positions added at the bottom",
        "relative": "a learned bias by distance",
        "alibi": "a slope by distance (ALiBi)",
        "none": "no positions",
    }.get(info["positions"], f"{info['positions']} positions")
