"""Every architecture's tiny config with random weights: the laws hold for each of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from hooks.architectures.base import Architecture
from hooks.discover import discover
from hooks.model import Instrumented, instrument
from hooks.prompts import IdsPrompt, PromptSet
from hooks.tokens import TokenBatch

VARIANTS = {
    name: (architecture.family, dict(tiny))
    for architecture in discover("hooks.architectures", "ARCHITECTURE", Architecture)
    for name, tiny in architecture.tiny.items()
}


def build(variant: str, seed: int = 0) -> nn.Module:
    """A random model of the variant. Weights are large, so that wrong wiring shows as errors of 1 and more."""
    family, tiny = VARIANTS[variant]
    torch.manual_seed(seed)
    config = AutoConfig.for_model(family, **tiny)
    config.bos_token_id, config.eos_token_id, config.pad_token_id = 0, 1, None
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0.0, 0.2)
            else:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@lru_cache(maxsize=len(VARIANTS))
def opened(variant: str) -> tuple[nn.Module, Instrumented]:
    model = build(variant)
    return model, instrument(model, name=variant)


@pytest.fixture(params=sorted(VARIANTS))
def variant(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def plain(variant: str) -> nn.Module:
    """The Hugging Face model itself."""
    return opened(variant)[0]


@pytest.fixture
def model(variant: str) -> Instrumented:
    """The same model under observation."""
    return opened(variant)[1]


def ids_batch(model: Instrumented, *lengths: int, seed: int = 1) -> TokenBatch:
    """Random prompts of the given lengths."""
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(2, 64, (length,), generator=generator).tolist() for length in lengths]
    return model.tokens(PromptSet(prompts=tuple(IdsPrompt(ids=tuple(row)) for row in rows)))


@pytest.fixture
def batch_of(model: Instrumented) -> Callable[..., TokenBatch]:
    """Makes batches of random prompts: `batch_of(7, 5)`."""
    return lambda *lengths, seed=1: ids_batch(model, *lengths, seed=seed)
