"""The bundled model: small, safe to load, with the mechanisms that its card states."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPT = "When Mary and John went to the store, John gave a drink to"
N = 50


@pytest.fixture(scope="module")
def model(toy):
    return AutoModelForCausalLM.from_pretrained(toy, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def tokenizer(toy):
    return AutoTokenizer.from_pretrained(toy)


@pytest.fixture(scope="module")
def card(toy: Path) -> dict[str, list[float]]:
    """The rows of the card's tables that hold numbers, by their first cell."""
    rows = {}
    for line in (toy / "MODEL.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split("|")]
        numbers = [float(cell) for cell in cells[1:] if re.fullmatch(r"-?\d+\.\d+", cell)]
        if numbers and len(numbers) == len(cells) - 1:
            rows[cells[0]] = numbers
    return rows


@pytest.fixture(scope="module")
def scores(model, tokenizer):
    """Induction, previous-token and duplicate-token scores by head, on the card's eight sequences."""
    bos = tokenizer.bos_token_id
    r = torch.randint(0, bos, (8, N), generator=torch.Generator().manual_seed(0))
    tokens = torch.cat([torch.full((8, 1), bos), r, r], dim=1)
    with torch.no_grad():
        attentions = model(tokens, output_attentions=True).attentions
    table = {}
    for layer, pattern in enumerate(attentions):
        for head in range(pattern.shape[1]):
            a = pattern[:, head]
            induction = torch.stack([a[:, q, q - N + 1] for q in range(1 + N, 1 + 2 * N)]).mean()
            previous = torch.stack([a[:, q, q - 1] for q in range(1, 1 + 2 * N)]).mean()
            duplicate = torch.stack([a[:, q, q - N] for q in range(1 + N, 1 + 2 * N)]).mean()
            table[f"L{layer}H{head}"] = [float(induction), float(previous), float(duplicate)]
    return table


def test_it_is_small_and_holds_no_pickle(toy):
    files = [path for path in toy.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 4 << 20
    assert not [path for path in files if path.suffix in (".bin", ".pt", ".pth", ".pkl")]


def test_induction_heads_stand_above_a_previous_token_head(scores):
    assert max(scores[f"L1H{head}"][0] for head in range(4)) > 0.6
    assert max(scores[f"L0H{head}"][1] for head in range(4)) > 0.35
    assert max(scores[f"L0H{head}"][0] for head in range(4)) < 0.1


def test_the_card_states_the_scores_that_are_measured(card, scores):
    for head, values in scores.items():
        assert card[head] == pytest.approx(values, abs=0.02), head


def test_the_worked_prompt_turns_with_its_names(card, model, tokenizer):
    mary, john = (tokenizer(text)["input_ids"] for text in (" Mary", " John"))
    assert len(mary) == len(john) == 1

    def difference(text):
        with torch.no_grad():
            logits = model(torch.tensor([tokenizer(text)["input_ids"]])).logits[0, -1]
        return float(logits[mary[0]] - logits[john[0]])

    usual, swapped = difference(PROMPT), difference(PROMPT.replace(", John", ", Mary"))
    assert usual > 0 > swapped
    assert card["logit difference, usual prompt"] == pytest.approx([usual], abs=0.02)
    assert card["logit difference, names swapped"] == pytest.approx([swapped], abs=0.02)


@pytest.mark.parametrize("text", ["Café déjà vu — 123 😊", "When Mary went", "a\n\tb  c", "<b>x</b> هذا"])
def test_any_text_comes_back_as_it_was(tokenizer, text):
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
