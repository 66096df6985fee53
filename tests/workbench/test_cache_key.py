"""The content address of a capture: whatever a model reads is in it, token ids or not."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hooks.model import Instrumented, instrument
from hooks.prompts import PromptSet
from hooks.sites import Site
from hooks.tiny import build
from workbench.cache.key import ModelFacts, capture_key

ROWS = ([5, 9, 12], [8, 21, 4])
IMAGES = tuple(torch.full((3, 8, 8), shade).tolist() for shade in (0.0, 1.0))


def prompts(variant: str) -> tuple[Any, Any]:
    return ({"pixels": IMAGES[0]}, {"pixels": IMAGES[1]}) if variant == "vit" else tuple({"ids": ids} for ids in ROWS)


def key(model: Instrumented, *given: Any) -> str:
    batch = model.tokens(PromptSet.model_validate({"prompts": given}))
    return capture_key(ModelFacts(model.summary()), batch, [Site("logits")])


@pytest.mark.parametrize("variant", ["gpt2", "vit", "t5"])
def test_other_inputs_have_another_address_whether_they_are_ids_pixels_or_an_encoders(variant: str) -> None:
    model = instrument(build(variant), name=variant)
    one, other = prompts(variant)
    keys = [key(model, one), key(model, other), key(model, one, other), key(model, other, one)]
    assert len(set(keys)) == 4
    assert key(model, one) == keys[0]
