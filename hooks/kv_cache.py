"""What generation needs to know of a model: an empty key/value cache of its kind, which sites hold what such a cache
keeps, and the tokens that end a text."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from hooks.errors import ModelError
from hooks.run import forward
from hooks.schedule import Window
from hooks.sites import MAIN, Site
from hooks.tokens import TokenBatch
from hooks.wiring import Wiring

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel


def check_causal(model: PreTrainedModel, *, causal: bool) -> None:
    """Raises ModelError for a model that does not continue a text from left to right.

    causal: whether no query of it sees a later token; a class made for generation may be used in both directions.
    """
    if not type(model).can_generate() or not causal:
        raise ModelError(
            f"{type(model).__name__} does not continue a text token by token.",
            "Generation needs a causal language model, or a decoder that reads an encoder.",
        )


def takes_cache(model: PreTrainedModel) -> bool:
    """Whether the model keeps keys and values between forward passes in the library's cache."""
    return "cache" in inspect.signature(type(model).forward).parameters


def fresh_cache(model: PreTrainedModel) -> Cache:
    """An empty cache that drops nothing. Raises ModelError for a model that takes none.

    The library's own forgets keys that a sliding window has left behind; a pattern would then lack columns whose
    weight is known to be 0. The mask hides them as well, so keeping them changes no number.
    """
    from transformers import DynamicCache, EncoderDecoderCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    if not takes_cache(model):
        raise ModelError(f"{type(model).__name__} takes no key/value cache.", 'Generate with "cache": false.')
    if model.config.is_encoder_decoder:
        # The second one keeps the keys and values of cross-attention, which are made in the first step alone.
        config = model.config.get_text_config(decoder=True)
        return EncoderDecoderCache(DynamicCache(config=config), DynamicCache(config=config))
    cache = DynamicCache(config=model.config)
    for layer, kept in enumerate(cache.layers):
        if type(kept) is DynamicSlidingWindowLayer:
            cache.layers[layer] = DynamicLayer()
    return cache


def whole_sites(
    model: PreTrainedModel, wiring: Wiring, probe: TokenBatch, sites: frozenset[Site], device: torch.device | str
) -> frozenset[str]:
    """Names of the main stack's sites that hold all positions in every step over a cache, as one step shows.

    Keys do, and where a cache keeps latents of keys and values, so do the values that are made of them. probe: its
    first prompt is the text. Raises ModelError for a model that takes no cache.
    """
    cache, length = fresh_cache(model), probe.lengths[0]
    along = frozenset(site for site in sites if "pos" in site.axes and site.stack == MAIN)
    prompt = probe.select([0])
    for start, stop in ((0, length - 1), (length - 1, length)):
        text = replace(prompt, ids=prompt.ids[:, :stop], mask=prompt.mask[:, :stop])
        run = forward(model, wiring, text, reads=along, window=Window(prompt, 0, start, cache), device=device)
    return frozenset(site.name for site in along if run[site].shape[site.axes.index("pos")] > 1)


def end_tokens(model: PreTrainedModel, tokenizer: Any) -> frozenset[int]:
    """The ids that end a text: those of the generation settings, of the config and of the tokenizer."""
    found: set[int] = set()
    for holder in (getattr(model, "generation_config", None), model.config, tokenizer):
        given = getattr(holder, "eos_token_id", None)
        if given is not None:
            found |= set(given) if isinstance(given, (list, tuple)) else {int(given)}
    return frozenset(found)
