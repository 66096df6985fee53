"""The clean past of one layer, as a layer of the library's cache: apart, since it needs the library's class."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicLayer


class Past(DynamicLayer):
    """One layer's clean keys and values [prompt kv_head pos d_head], put before the new ones of every row."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.keys, self.values, self.is_initialized = keys, values, True
        self.dtype, self.device = keys.dtype, keys.device

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        assert self.keys is not None and self.values is not None
        return _behind(self.keys, key_states), _behind(self.values, value_states)


def _behind(past: Tensor, new: Tensor) -> Tensor:
    """`new` [row kv_head pos d] after `past` [prompt kv_head pos d]; rows are blocks of prompts."""
    length = past.shape[-2]
    whole = new.new_empty((*new.shape[:2], length + new.shape[-2], new.shape[-1]))
    whole[..., length:, :] = new
    whole.unflatten(0, (-1, past.shape[0]))[..., :length, :] = past
    return whole
