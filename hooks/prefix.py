"""The clean past of a batch: keys and values of the positions before a sweep's first edit, shared by all its worlds.

In a causal model an edit at position p changes nothing before p. A forward may then run the positions from p on alone,
each world reading the clean prompts' keys and values for those before. Nothing that such a forward computes is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from transformers import Cache


def past_of(cache: Cache, start: int, prompts: slice) -> Cache:
    """The clean past of some prompts before position `start`, from a cache that holds whole prompts."""
    from transformers import Cache

    from hooks.past import Past

    return Cache(
        layers=[
            Past(keys[prompts, :, :start, :], values[prompts, :, :start, :]) for keys, values in keys_and_values(cache)
        ]
    )


def keys_and_values(cache: Cache) -> tuple[tuple[Tensor, Tensor], ...]:
    """What each layer of a filled cache holds, [prompt kv_head pos d_head]; () for a cache of another kind.

    Another kind drops positions, quantises, or holds the state of a recurrence: no past can be cut off from it.
    """
    from transformers.cache_utils import DynamicLayer

    found = []
    for layer in cache.layers:
        if type(layer) is not DynamicLayer or layer.keys is None or layer.values is None or not layer.keys.numel():
            return ()
        found.append((layer.keys, layer.values))
    return tuple(found)
