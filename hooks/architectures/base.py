"""What a family's module exports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hooks.conventions import CONVENTIONS, Blueprint


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
