"""What a family's module exports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hooks.conventions import CONVENTIONS, Blueprint

TOWER: Mapping[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
SMALL: Mapping[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 64,
    "max_position_embeddings": 64,
}
GROUPED: Mapping[str, Any] = {**SMALL, "num_key_value_heads": 2, "intermediate_size": 48}
"""Sizes that many families name alike: of a tower, of a model of text, of one with grouped queries."""


@dataclass(frozen=True)
class Architecture:
    """A family of models.

    family: the config's `model_type`. tiny: keyword arguments for `AutoConfig.for_model` that give a small random model
    with the family's peculiarities, one per variant. classes: the class of `transformers` that a variant is built with,
    where that is no causal language model. blueprint: names of parts where the conventions fail.
    """

    family: str
    tiny: Mapping[str, Mapping[str, Any]]
    classes: Mapping[str, str] = field(default_factory=dict)
    blueprint: Blueprint = CONVENTIONS
