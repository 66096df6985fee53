"""What generation needs to know of a model: an empty key/value cache of its kind, and the tokens that end a text."""

from __future__ import annotations

import inspect
from typing import Any

from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from hooks.errors import ModelError


def check_causal(model: PreTrainedModel, *, causal: bool) -> None:
    """Raises ModelError for a model that does not continue a text from left to right.

    causal: whether no query of it sees a later token; a class made for generation may be used in both directions.
    """
    if model.config.is_encoder_decoder or not type(model).can_generate() or not causal:
        raise ModelError(
            f"{type(model).__name__} does not continue a text token by token.",
            "Generation needs a causal language model.",
        )


def takes_cache(model: PreTrainedModel) -> bool:
    """Whether the model keeps keys and values between forward passes in the library's cache."""
    return "cache" in inspect.signature(type(model).forward).parameters


def fresh_cache(model: PreTrainedModel) -> Cache:
    """An empty cache that drops nothing. Raises ModelError for a model that takes none.

    The library's own forgets keys that a sliding window has left behind; a pattern would then lack columns whose
    weight is known to be 0. The mask hides them as well, so keeping them changes no number.
    """
    if not takes_cache(model):
        raise ModelError(f"{type(model).__name__} takes no key/value cache.", 'Generate with "cache": false.')
    cache = DynamicCache(config=model.config)
    for layer, kept in enumerate(cache.layers):
        if type(kept) is DynamicSlidingWindowLayer:
            cache.layers[layer] = DynamicLayer()
    return cache


def end_tokens(model: PreTrainedModel, tokenizer: Any) -> frozenset[int]:
    """The ids that end a text: those of the generation settings, of the config and of the tokenizer."""
    found: set[int] = set()
    for holder in (getattr(model, "generation_config", None), model.config, tokenizer):
        given = getattr(holder, "eos_token_id", None)
        if given is not None:
            found |= set(given) if isinstance(given, (list, tuple)) else {int(given)}
    return frozenset(found)
