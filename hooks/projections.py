"""A projection seen from outside: its widths, and its weight split by head. Linear and Conv1D alike."""

from __future__ import annotations

from typing import cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from hooks.dense import dense_weight, is_plain


def weight_of(module: nn.Module) -> Tensor:
    """A projection's weight; dequantised where it is stored otherwise. Raises ModelError where it cannot be."""
    return cast(Tensor, module.weight) if is_plain(module) else dense_weight(module)


def is_projection(module: nn.Module) -> bool:
    """Whether a module multiplies with a matrix (and is no table of embeddings)."""
    if isinstance(module, nn.Embedding):
        return False
    weight = getattr(module, "weight", None)
    # GPTQ keeps packed numbers in place of a weight, but says its widths.
    return isinstance(getattr(module, "in_features", None), int) or (isinstance(weight, Tensor) and weight.ndim == 2)


def in_features(module: nn.Module) -> int:
    """Input width of a Linear or a Conv1D (whose weight is [in, out])."""
    width = getattr(module, "in_features", None)
    return weight_of(module).shape[0] if width is None else cast(int, width)


def out_features(module: nn.Module) -> int:
    """Output width of a Linear or a Conv1D."""
    width = getattr(module, "out_features", None)
    return weight_of(module).shape[1] if width is None else cast(int, width)


def head_slices(
    weight: Float[Tensor, "rows columns"], n_heads: int, *, transposed: bool
) -> Float[Tensor, "head d_head d_model"]:
    """An output projection's weight split by head: [head d_head d_model]. Linear stores [out, in], Conv1D [in, out]."""
    if transposed:
        return rearrange(weight, "(head d_head) d_model -> head d_head d_model", head=n_heads)
    return rearrange(weight, "d_model (head d_head) -> head d_head d_model", head=n_heads)


def head_slices_of(projection: nn.Module, n_heads: int) -> Float[Tensor, "head d_head d_model"]:
    """An output projection's weight split by head: [head d_head d_model]."""
    return head_slices(weight_of(projection), n_heads, transposed=not hasattr(projection, "in_features"))


def head_writes(
    projection: nn.Module, z: Float[Tensor, "batch pos head d_head"]
) -> Float[Tensor, "batch pos head d_model"]:
    """What each head writes, [batch pos head d_model], from z [batch pos head d_head]; the bias belongs to no head."""
    return torch.einsum("bqhd,hdm->bqhm", z, head_slices_of(projection, z.shape[-2]))
