"""The clean past of a batch: keys and values of the positions before a sweep's first edit, shared by all its worlds.

In a causal model an edit at position p changes nothing before p. A forward may then run the positions from p on alone,
each world reading the clean prompts' keys and values for those before. Nothing that such a forward computes is kept.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer


class _Past(DynamicLayer):
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


def past_of(cache: Cache, start: int, prompts: slice) -> Cache:
    """The clean past of some prompts before position `start`, from a cache that holds whole prompts."""
    return Cache(
        layers=[
            _Past(keys[prompts, :, :start, :], values[prompts, :, :start, :]) for keys, values in keys_and_values(cache)
        ]
    )


def keys_and_values(cache: Cache) -> tuple[tuple[Tensor, Tensor], ...]:
    """What each layer of a filled cache holds, [prompt kv_head pos d_head]; () for a cache of another kind.

    Another kind drops positions, quantises, or holds the state of a recurrence: no past can be cut off from it.
    """
    found = []
    for layer in cache.layers:
        if type(layer) is not DynamicLayer or layer.keys is None or layer.values is None or not layer.keys.numel():
            return ()
        found.append((layer.keys, layer.values))
    return tuple(found)
