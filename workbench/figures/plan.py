"""The plan of a model as its figures need it: stacks of blocks, and what each sort of block is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from workbench.figures.numbers import whole

MAIN = "decoder"
ATTENTION = ("z", "pattern", "q", "attn_out")
SUMMED = "attention and a mixer"
"""How the reason begins that tells of a block whose attention and mixer write together."""
TITLES = {"encoder": "Encoder", "vision": "Image tower"}


@dataclass(frozen=True)
class Block:
    """One sort of block: the layers that are built like this, and their parts in the order in which they write."""

    layers: tuple[int, ...]
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Stack:
    """One stack of blocks. name: as in addresses. title: in words, "" where there is no other. info: its sizes."""

    name: str
    title: str
    info: Mapping[str, Any]
    blocks: tuple[Block, ...]
    final_norm: bool


def stacks_of(info: Mapping[str, Any], sites: Iterable[Mapping[str, Any]] = ()) -> tuple[Stack, ...]:
    """The stacks in the order in which data passes them.

    info: ModelInfo as plain JSON values. sites: the proof's rows; without them every block has attention and an MLP.
    """
    rows, others = list(sites), info.get("stacks") or {}
    main = {"encoder": "Decoder", "vision": "Text tower"}.get(next(iter(others), ""), "")
    found = [_stack(name, TITLES.get(name, name), sizes, rows) for name, sizes in others.items()]
    return (*found, _stack(MAIN, main, info, rows))


def _stack(name: str, title: str, info: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Stack:
    own = {row["site"].removeprefix("L*."): row for row in rows if row["stack"] == name}
    kinds = [(_parts(own, layer, info), layer) for layer in range(info["n_layers"])]
    blocks: dict[tuple[str, ...], list[int]] = {}
    for parts, layer in kinds:
        blocks.setdefault(parts, []).append(layer)
    norm = own["ln_final"]["readable"] if "ln_final" in own else info["norm"] != "post"
    return Stack(name, title, info, tuple(Block(tuple(layers), parts) for parts, layers in blocks.items()), norm)


def _parts(rows: Mapping[str, Mapping[str, Any]], layer: int, info: Mapping[str, Any]) -> tuple[str, ...]:
    if not rows:
        return ("attention", "experts" if info.get("n_experts") and not info["d_mlp"] else "mlp")

    def has(*names: str) -> bool:
        return any(_in_layer(rows.get(name), layer) for name in names)

    parts = ["attention"] if has(*ATTENTION) else []
    if has("mixer_out") or SUMMED in (rows["attn_out"]["reason"] or ""):
        parts.append("mixer")
    if has("cross_z", "cross_pattern"):
        parts.append("cross")
    if has("router", "expert_post"):
        parts.append("experts")
    elif has("mlp_post", "mlp_pre", "mlp_out"):
        parts.append("mlp")
    return tuple(parts)


def _in_layer(row: Mapping[str, Any] | None, layer: int) -> bool:
    return row is not None and bool(row["readable"]) and (row["layers"] is None or layer in row["layers"])


def runs(layers: Sequence[int]) -> str:
    """Layer numbers with neighbours joined: "0–2, 5"; long lists of runs are cut with a count."""
    joined = [[layer for _, layer in group] for _, group in groupby(enumerate(layers), lambda pair: pair[1] - pair[0])]
    texts = [str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in joined]
    return ", ".join(texts) if len(texts) <= 5 else f"{', '.join(texts[:4])} … {texts[-1]}"


def bottom_of(stack: Stack, info: Mapping[str, Any]) -> tuple[str, str]:
    """What a stack starts with: its name and its size. info: of the whole model."""
    width, pixels = whole(stack.info["d_model"]), info.get("pixels")
    sees = stack.name != MAIN or not info.get("stacks")
    if pixels and sees and info.get("grid"):
        rows, columns = info["grid"]
        return "Patch embedding", f"{rows} × {columns} patches → {width}"
    if pixels and sees:
        return "Sound embedding", f"{whole(stack.info['n_positions'])} frames → {width}"
    return "Token embedding", f"{whole(info.get('n_embed') or info['d_vocab'])} × {width}"


def top_of(stack: Stack, info: Mapping[str, Any]) -> tuple[str, str]:
    """What reads the end of a stack: its name and what it gives. info: of the whole model."""
    task, width, gives = info.get("task", "causal"), whole(stack.info["d_model"]), whole(info["d_vocab"])
    if stack.name == "encoder":
        return "Read by cross-attention", "in each decoder layer"
    classes = f"{width} → {gives} classes"
    return {
        "masked": ("Masked-token head → logits", f"{width} × {gives}"),
        "classify": ("Classifier → logits", classes),
        "image-classify": ("Classifier → logits", classes),
        "token-classify": ("Classifier at each token", classes),
        "pairs": ("Projection → similarity", "text · image"),
        "features": ("Mean over tokens → embedding", width),
    }.get(task, ("Unembedding → logits", f"{width} × {gives}"))
