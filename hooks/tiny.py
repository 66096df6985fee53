"""Every family's tiny random model: what the laws are tried on, and what `workbench check --all-tiny` opens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from hooks.architectures.base import Architecture
from hooks.discover import discover

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CAUSAL = "AutoModelForCausalLM"
SPREAD = 0.2


def variants() -> dict[str, Architecture]:
    """The variants of all families by name, sorted."""
    found = discover("hooks.architectures", "ARCHITECTURE", Architecture)
    return dict(sorted((name, family) for family in found for name in family.tiny))


def build(variant: str, seed: int = 0) -> PreTrainedModel:
    """A random model of a variant. Weights are large, so that wrong wiring shows as errors of 1 and more."""
    architecture = variants()[variant]
    return build_with(variant, settings_of(architecture.tiny[variant]), seed)


def build_with(variant: str, settings: Mapping[str, Any], seed: int = 0) -> PreTrainedModel:
    """A random model of a variant's class with other settings than its own."""
    import transformers

    architecture = variants()[variant]
    torch.manual_seed(seed)
    config = transformers.AutoConfig.for_model(architecture.family, **settings)
    kind = getattr(transformers, architecture.classes.get(variant, CAUSAL))
    made = kind.from_config if hasattr(kind, "from_config") else kind._from_config
    model: PreTrainedModel = made(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0.0, SPREAD)
            else:
                parameter.add_(SPREAD * torch.randn_like(parameter))
    return model


def settings_of(tiny: Mapping[str, Any]) -> dict[str, Any]:
    """The config's arguments, with the special ids of a vocabulary of at least 64."""
    return {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None, **tiny}
