"""Masks of `torch.nn.utils.prune`: `weight_orig` and `weight_mask` in the place of `weight`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

ORIGINAL, MASK = "_orig", "_mask"


def is_pruned(files: Iterable[Path]) -> bool:
    """Whether safetensors files hold masked weights; their headers alone are read."""
    names: set[str] = set()
    for path in files:
        if path.suffix == ".safetensors":
            names.update(_names(path))
    return any(name.endswith(ORIGINAL) and name.removesuffix(ORIGINAL) + MASK in names for name in names)


def _names(path: Path) -> list[str]:
    try:
        with safe_open(path, "pt") as file:
            return list(file.keys())
    except (SafetensorError, OSError):
        # Not ours to report: whoever reads the weights names the damage.
        return []


def folded(files: Iterable[Path]) -> tuple[dict[str, Tensor], str]:
    """The weights with each mask multiplied in, as `prune.remove` leaves them, and a sentence about it."""
    state: dict[str, Tensor] = {}
    for path in files:
        with safe_open(path, "pt") as file:
            state.update({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 - not a mapping
    masks = _masks(state)
    for name, mask in masks.items():
        original = state.pop(name + ORIGINAL)
        del state[name + MASK]
        state[name] = original * mask.to(original.dtype)
    return state, _sentence(masks) + "; the masks are multiplied into the weights"


def masked(model: nn.Module) -> str:
    """A sentence about the masks that `torch.nn.utils.prune` left on a model in memory; empty without any."""
    masks = _masks({**dict(model.named_parameters()), **dict(model.named_buffers())})
    return _sentence(masks) if masks else ""


def _masks(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Mask by the name of the weight that it belongs to."""
    names = [name.removesuffix(ORIGINAL) for name in tensors if name.endswith(ORIGINAL)]
    return {name: tensors[name + MASK] for name in names if name + MASK in tensors}


def _sentence(masks: Mapping[str, Tensor]) -> str:
    total = sum(mask.numel() for mask in masks.values())
    kept = sum(int(torch.count_nonzero(mask)) for mask in masks.values())
    tensors = "1 tensor" if len(masks) == 1 else f"{len(masks)} tensors"
    return f"pruned: {(total - kept) / total:.1%} of the weights in {tensors} are masked to zero"
