"""How models are fed: classifiers that look for the end of a text by a padding id that they lack."""

from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2ForSequenceClassification

from hooks.errors import InputError
from hooks.interventions.zero import Zero
from hooks.model import instrument
from hooks.prompts import IdsPrompt, PromptSet
from hooks.sites import Part


@pytest.fixture(scope="module")
def plain():
    torch.manual_seed(0)
    config = GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=32, n_positions=16, num_labels=3, pad_token_id=None)
    return GPT2ForSequenceClassification(config).eval()


def prompts(*rows):
    return PromptSet(prompts=tuple(IdsPrompt(ids=row) for row in rows))


def test_a_classifier_without_a_padding_id_takes_rows_of_equal_length_and_gives_each_its_own_logits(plain):
    model = instrument(plain)
    rows = (1, 2, 3), (4, 5, 6)
    together = model.run(model.tokens(prompts(*rows))).logits[:, 0]
    for row, logits in zip(rows, together, strict=True):
        with torch.no_grad():
            expected = plain(input_ids=torch.tensor([row])).logits[0]
        torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-6)
    assert plain.config.pad_token_id is None


def test_its_sweeps_pack_worlds_beside_the_prompts(plain):
    model = instrument(plain)
    batch = model.tokens(prompts((1, 2, 3)))
    world = (Zero(at=Part.parse("L0.z[head=1]")),)
    packed = model.run_worlds(batch, [world]).logits
    torch.testing.assert_close(packed[1], model.run(batch, edits=world).logits, rtol=1e-5, atol=1e-6)


def test_prompts_of_unequal_length_are_refused_since_the_end_of_the_shorter_cannot_be_found(plain):
    model = instrument(plain)
    with pytest.raises(InputError, match="no padding id, and the prompts have 2 to 3 tokens"):
        model.run(model.tokens(prompts((1, 2, 3), (4, 5))))
