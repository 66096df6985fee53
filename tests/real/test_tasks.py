"""Every task on the real tokenizer: pairs of equal length that the model can be measured on."""

from __future__ import annotations

import pytest
from transformers import AutoTokenizer

from analyses.datasets import tasks
from hooks.tokens import encode

pytestmark = pytest.mark.real


@pytest.mark.parametrize(("name", "variant"), [(name, v) for name, task in tasks().items() for v in task.variants])
def test_every_task_gives_16_pairs_on_smollm2(smollm2, name, variant):
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    inputs = tasks()[name].make(tokenizer, 16, 0, variant).inputs
    clean, corrupt = encode(tokenizer, inputs["clean"]), encode(tokenizer, inputs["corrupt"])
    assert clean.lengths == corrupt.lengths and clean.positions == corrupt.positions
    assert len(set(inputs["clean"].prompts)) == 16 and (clean.ids != corrupt.ids).any(1).all()
    shared = [set(right) & set(wrong) for right, wrong in zip(clean.answers, clean.foils, strict=True)]
    assert not any(shared)
