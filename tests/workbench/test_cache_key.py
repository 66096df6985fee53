"""The content address of a capture: whatever a model reads is in it, token ids or not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from hooks.interventions import parse_intervention
from hooks.model import Instrumented, instrument
from hooks.prompts import PromptSet
from hooks.sites import Site
from hooks.tiny import build
from hooks.tokens import TokenBatch
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


def test_a_capture_under_edits_depends_on_the_vectors_that_they_name_and_on_templates() -> None:
    model = instrument(build("gpt2"), name="gpt2")
    batch = model.tokens(PromptSet.model_validate({"prompts": [{"ids": ids} for ids in ROWS]}))
    facts, edits = ModelFacts(model.summary()), [parse_intervention({"kind": "add", "at": "L0.z", "vector": "mary"})]
    other = batch.select([1])

    def address(batch: TokenBatch, vectors: Any = None) -> str:
        return capture_key(facts, batch, [Site("logits")], edits, {}, vectors)

    made_of = {"of": "clean"}, {"clean": batch}
    keys = [
        address(batch),
        address(batch, {"mary": ([1.0, 2.0], {})}),
        address(batch, {"mary": made_of}),
        address(batch, {"mary": (made_of[0], {"clean": other})}),
        address(replace(batch, templates=("a", "a"))),
        address(replace(batch, templates=("a", "b"))),
    ]
    assert len(set(keys)) == len(keys)
    assert address(batch, {"mary": made_of}) == keys[2]
