"""Every architecture's tiny config with random weights: the laws hold for each of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import pytest
import torch
from torch import nn

from hooks.model import Instrumented, instrument
from hooks.prompts import IdsPrompt, PromptSet
from hooks.tiny import build, variants
from hooks.tokens import TokenBatch

VARIANTS = variants()


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
