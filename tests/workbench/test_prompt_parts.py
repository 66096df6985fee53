"""The Prompt page's numbers and chips, against arithmetic done here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from hooks.errors import InputError
from hooks.prompts import PromptSet
from hooks.tokens import TokenBatch
from workbench.parts import next_token
from workbench.parts.chips import chips_of
from workbench.requests import OpenRequest
from workbench.urls import State
from workbench.workspace import Workspace

PROMPT = "When Mary and John went to the store"


def batch(strings: tuple[str, ...], special: tuple[bool, ...] | None = None) -> TokenBatch:
    n = len(strings)
    flags = torch.tensor([special or (False,) * n])
    ids = torch.arange(n)[None] + 100
    return TokenBatch(ids, torch.ones(1, n, dtype=torch.bool), flags, (strings,), (n,), {"last": (n - 1,)})


def test_chips_stand_in_logical_order_with_their_ids_and_kinds() -> None:
    chips = chips_of(batch(("<s>", "هذا", "·a"), (True, False, False)))
    assert [(chip.index, chip.id, chip.shown, chip.special) for chip in chips] == [
        (0, 100, "<s>", True),
        (1, 101, "هذا", False),
        (2, 102, "·a", False),
    ]


def test_pieces_of_one_character_carry_it_together() -> None:
    chips = chips_of(batch(("a", "⟨20⟩⟨f0⟩⟨9f⟩", "⟨98⟩", "⟨8a⟩", "b")))
    assert [chip.shown for chip in chips] == ["a", "·😊", "2/3", "3/3", "b"]
    assert [chip.part for chip in chips] == [None, (0, 3), (1, 3), (2, 3), None]
    assert chips[2].token == "⟨98⟩"


def test_bytes_that_make_no_character_stay_as_they_are() -> None:
    chips = chips_of(batch(("⟨f0⟩", "a", "⟨9f⟩")))
    assert [chip.shown for chip in chips] == ["⟨f0⟩", "a", "⟨9f⟩"]
    assert all(chip.part is None for chip in chips)


def test_two_characters_in_a_row_are_two_groups() -> None:
    chips = chips_of(batch(("⟨c3⟩", "⟨a9⟩", "⟨c3⟩", "⟨a8⟩")))
    assert [chip.shown for chip in chips] == ["é", "2/2", "è", "2/2"]


@pytest.fixture
def state(workspace: Workspace, tiny_folder: Path) -> State:
    """A prompt on the tiny model, its logits captured."""
    state = State(model=str(tiny_folder), prompt=PROMPT, answer=" Mary")
    workspace.wait(workspace.submit(OpenRequest(model=state.model)).id)  # type: ignore[arg-type]
    assert workspace.wait(workspace.submit(next_token.capture_request(state)).id).state == "done"
    return state


@pytest.fixture
def logits(workspace: Workspace, state: State) -> np.ndarray:
    """The logits [pos d_vocab] of the unobserved model."""
    model = AutoModelForCausalLM.from_pretrained(state.model, attn_implementation="eager").eval()
    ids = workspace.tokens(state.model, next_token.inputs_of(state)).ids
    with torch.inference_mode():
        return model(ids).logits[0].numpy()


def softmax(values: np.ndarray) -> np.ndarray:
    grown = np.exp(values.astype(np.float64) - values.max(-1, keepdims=True))
    return np.asarray(grown / grown.sum(-1, keepdims=True))


def test_the_stored_logits_are_those_of_the_unobserved_model(
    workspace: Workspace, state: State, logits: np.ndarray
) -> None:
    stored = next_token.stored_logits(workspace, state)
    assert np.abs(stored.read("logits", prompt=0) - logits).max() == 0
    assert np.array_equal(next_token.RecentRows().get(stored, 3), logits[3])


def test_surprisal_is_minus_log_probability_of_the_token_that_came(
    workspace: Workspace, state: State, logits: np.ndarray
) -> None:
    ids = workspace.tokens(state.model, next_token.inputs_of(state)).id_lists()[0]
    expected = [-np.log(softmax(logits[i - 1])[ids[i]]) for i in range(1, len(ids))]
    assert next_token.surprisals(logits, ids) == pytest.approx(expected, abs=1e-5)
    assert next_token.surprisals(logits[:1], ids[:1]) == []


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_candidates_are_the_softmax_at_the_temperature(
    workspace: Workspace, state: State, logits: np.ndarray, temperature: float
) -> None:
    at = state.model_copy(update={"temperature": temperature, "top_k": 5})
    rows = next_token.candidates(workspace, at, logits[-1])
    expected = softmax(logits[-1] / temperature)
    order = np.argsort(-expected)[:5]
    assert [row.id for row in rows] == order.tolist()
    assert [row.rank for row in rows] == [0, 1, 2, 3, 4]
    assert [row.prob for row in rows] == pytest.approx(expected[order], abs=1e-6)
    assert [row.logit for row in rows] == pytest.approx(logits[-1][order])


def test_top_p_keeps_the_smallest_set_that_reaches_it(workspace: Workspace, state: State) -> None:
    row = np.log(np.array([0.5, 0.3, 0.15, 0.05])).astype(np.float32)

    def kept(top_p: float) -> int:
        return len(next_token.candidates(workspace, state.model_copy(update={"top_p": top_p}), row))

    assert [kept(0.4), kept(0.5), kept(0.6), kept(0.81), kept(1.0)] == [1, 1, 2, 3, 4]


def test_rank_counts_the_tokens_with_a_larger_logit() -> None:
    row = np.array([1.0, 3.0, 3.0, 0.0], dtype=np.float32)
    assert next_token.place_of(row, 1, 1.0)[0] == 0
    assert next_token.place_of(row, 2, 1.0)[0] == 0
    assert next_token.place_of(row, 0, 1.0)[0] == 2
    assert next_token.place_of(row, 0, 1.0)[1] == pytest.approx(softmax(row)[0], abs=1e-7)


def test_an_appended_token_is_the_next_token_of_the_new_prompt(workspace: Workspace, state: State) -> None:
    before = workspace.tokens(state.model, next_token.inputs_of(state)).id_lists()[0]
    (mary,) = workspace.tokens(state.model, PromptSet(prompts=(" Mary",))).id_lists()[0]
    prompt = next_token.appended(workspace, state, mary)
    assert prompt == PROMPT + " Mary"
    after = workspace.tokens(state.model, PromptSet(prompts=(prompt,))).id_lists()[0]
    assert after == (*before, mary)


def test_a_token_that_is_half_a_character_cannot_be_appended(workspace: Workspace, state: State) -> None:
    piece = workspace.tokens(state.model, PromptSet(prompts=("😊",))).id_lists()[0][0]
    with pytest.raises(InputError, match="cannot be appended") as caught:
        next_token.appended(workspace, state, piece)
    assert caught.value.hint


def test_a_position_outside_the_prompt_is_an_error_that_says_how_long_it_is() -> None:
    assert next_token.position_of(State(), 5) == 4
    assert next_token.position_of(State(position=2), 5) == 2
    with pytest.raises(InputError, match="5 tokens"):
        next_token.position_of(State(position=5), 5)


def test_the_saved_result_holds_the_numbers_of_the_page(workspace: Workspace, state: State, logits: np.ndarray) -> None:
    at = state.model_copy(update={"temperature": 0.7, "top_k": 4, "position": 3})
    request = next_token.experiment_request(at)
    job = workspace.wait(workspace.submit(request).id)
    result = workspace.result(job.id)
    assert result is not None
    rows = next_token.candidates(workspace, at, logits[3])
    assert result.grid("prob").values == pytest.approx([row.prob for row in rows], abs=1e-6)
    assert result.grid("logit").values == pytest.approx([row.logit for row in rows], abs=1e-6)
