"""The Prompt page's continuation: which experiment an address means, and what is read from its result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from hooks.errors import InputError
from hooks.prompts import PromptSet
from tests.workbench.components import text_of
from workbench.parts import generation_data as data
from workbench.parts import generation_views as views
from workbench.parts import generation_watch as watching
from workbench.parts.next_token import appended, inputs_of
from workbench.urls import State, read, write
from workbench.workspace import Workspace

PROMPT = "When Mary and John went to the store"
EDIT = "zero:L1.z[head=2]"


@pytest.fixture
def state(opened: Workspace, tiny_folder: Path) -> State:
    """Three greedy steps on the tiny model."""
    return State(model=str(tiny_folder), prompt=PROMPT, answer="", foil="", steps=3)


def done(workspace: Workspace, state: State) -> Any:
    job = workspace.wait(workspace.submit(data.continuation_request(workspace, state)).id)
    result = workspace.result(job.id)
    assert result is not None
    return result


@pytest.fixture
def plain(opened: Workspace, state: State) -> tuple[list[int], torch.Tensor, Any]:
    """Ids, logits and attention of the greedy continuation by the unobserved model, the cache off."""
    model = AutoModelForCausalLM.from_pretrained(state.model, attn_implementation="eager").eval()
    ids = list(opened.tokens(state.model, inputs_of(state)).id_lists()[0])
    rows = []
    with torch.inference_mode():
        for _ in range(state.steps):
            out = model(torch.tensor([ids]), output_attentions=True, use_cache=False)
            rows.append((out.logits[0, -1], [pattern[0, :, -1] for pattern in out.attentions]))
            ids.append(int(rows[-1][0].argmax()))
    return ids[-state.steps :], torch.stack([row for row, _ in rows]), [looked for _, looked in rows]


def test_the_tokens_and_their_alternatives_are_the_unobserved_models(
    opened: Workspace, state: State, plain: tuple[list[int], torch.Tensor, Any]
) -> None:
    result, (ids, logits, _) = done(opened, state), plain
    taken = data.taken(result, 20)
    assert [(step.step, step.pos, step.id) for step in taken] == [(n, 20 + n, ids[n]) for n in range(3)]
    assert [step.prob for step in taken] == pytest.approx(logits.softmax(-1).max(-1).values.tolist(), abs=1e-6)
    for step in range(3):
        rows, top = data.alternatives(result, step), logits[step].topk(data.ALTERNATIVES)
        assert [row.id for row in rows] == top.indices.tolist()
        assert [row.logit for row in rows] == pytest.approx(top.values.tolist(), abs=1e-4)
        assert [row.taken for row in rows] == [True, *[False] * (data.ALTERNATIVES - 1)]
    with pytest.raises(InputError, match="no step 4"):
        data.alternatives(result, 3)


def test_the_attention_of_a_step_is_the_last_query_of_the_text_so_far_averaged_over_what_is_open(
    opened: Workspace, state: State, plain: tuple[list[int], torch.Tensor, Any]
) -> None:
    result, (_, _, looked) = done(opened, state), plain
    strings = opened.tokens(state.model, inputs_of(state)).strings[0]
    stacked = [torch.stack(layers).numpy() for layers in looked]

    def row(step: int, **at: int) -> data.AttentionRow:
        found = data.attention_row(result, state.model_copy(update=at), strings, step)
        assert found is not None
        return found

    assert row(1).weights == pytest.approx(stacked[1].mean((0, 1)), abs=1e-6)
    assert row(1).tokens == (*strings, data.taken(result, 0)[0].token)
    assert row(2, layer=1).weights == pytest.approx(stacked[2][1].mean(0), abs=1e-6)
    assert row(2, head=3).weights == pytest.approx(stacked[2][:, 3].mean(0), abs=1e-6)
    assert row(0, layer=1, head=3).weights == pytest.approx(stacked[0][1, 3], abs=1e-6)
    assert row(0, layer=1, head=3).of == "Layer 1, head 3"
    # A head of another model is no head of this one.
    assert row(0, layer=99, head=99).weights == pytest.approx(stacked[0].mean((0, 1)), abs=1e-6)


def test_a_greedy_continuation_is_one_experiment_whatever_the_sliders_and_the_seed_say(
    opened: Workspace, state: State
) -> None:
    def experiment(**changes: Any) -> str:
        return data.continuation_request(opened, state.model_copy(update=changes)).id

    assert experiment() == experiment(temperature=0.3, top_k=3, top_p=0.5, seed=9, chosen=1, layer=0)
    drawn = {"sampled": True, "temperature": 0.3}
    assert len({experiment(), experiment(**drawn), experiment(**drawn, seed=1), experiment(**drawn, top_k=3)}) == 4
    assert experiment(edits=EDIT) != experiment()


def test_the_address_alone_makes_the_same_continuation_again(opened: Workspace, state: State) -> None:
    drawn = state.model_copy(update={"sampled": True, "seed": 7, "temperature": 1.7, "steps": 5, "edits": EDIT})
    assert data.continuation_request(opened, read(write(drawn))) == data.continuation_request(opened, drawn)


def test_drawn_tokens_are_among_the_rows_of_the_table(opened: Workspace, state: State) -> None:
    drawn = state.model_copy(update={"sampled": True, "seed": 3, "top_k": 2, "temperature": 5.0, "steps": 6})
    result = done(opened, drawn)
    for step in range(len(data.taken(result, 0))):
        rows = data.alternatives(result, step)
        assert sum(row.taken for row in rows[:2]) == 1
        assert sum(row.sampled for row in rows[:2]) == pytest.approx(1) and rows[2].sampled == 0


def test_the_clean_continuation_stands_beside_the_edited_one_only_with_edits(opened: Workspace, state: State) -> None:
    edited = state.model_copy(update={"edits": EDIT})
    assert data.taken(done(opened, state), 0, clean=True) == []
    clean = data.taken(done(opened, edited), 0, clean=True)
    assert [step.id for step in clean] == [step.id for step in data.taken(done(opened, state), 0)]


def test_the_panel_is_computed_when_it_is_looked_at_and_tells_what_is_there(opened: Workspace, state: State) -> None:
    nothing = watching.watch(opened, state.model_copy(update={"steps": 0}), "window")
    assert nothing.job == "" and "Nothing generated yet" in text_of(nothing.strip)
    seen = watching.watch(opened, state, "window")
    while seen.strip is None:
        opened.wait(seen.job)
        seen = watching.watch(opened, state, "window")
    assert seen.status.startswith("3 tokens, greedy; mean entropy")
    assert watching.watch(opened, state, "window").key == seen.key
    assert watching.opened(opened, state) is None
    shown = watching.opened(opened, state.model_copy(update={"chosen": 1}))
    assert shown is not None and "step 2" in text_of(shown.heading)
    assert "edited" not in text_of(shown.heading)


def test_what_cannot_be_generated_is_said_beside_the_chips_with_a_way_to_try_again(
    opened: Workspace, state: State
) -> None:
    wrong = state.model_copy(update={"edits": "zero:L9.z"})
    assert opened.wait(watching.watch(opened, wrong, "window").job).state == "failed"
    seen = watching.watch(opened, wrong, "window")
    assert seen.strip is None
    assert "L9.z does not exist" in text_of(seen.status) and "Run again" in text_of(seen.status)


def test_several_tokens_become_the_prompt_only_as_text_that_splits_into_them(opened: Workspace, state: State) -> None:
    def ids(text: str) -> tuple[int, ...]:
        return opened.tokens(state.model, PromptSet(prompts=(text,))).id_lists()[0]

    assert appended(opened, state, *ids(" Mary and")) == PROMPT + " Mary and"
    with pytest.raises(InputError, match="cannot be appended"):
        appended(opened, state, *ids(" Mary"), *ids("😊")[:2])


def test_hiding_the_first_token_changes_colours_and_no_number() -> None:
    row = data.AttentionRow(np.array([0.8, 0.16, 0.04]), ("<s>", "a", "b"), "Layer 0, head 0")
    plain, hidden = (views.attention(row, hide_first=hide) for hide in (False, True))
    cells = [[cell for cell in shown[0].children] for shown in (plain, hidden)]
    shares = [[cell.style["--share"] for cell in row_of] for row_of in cells]
    assert shares == [["100%", "20%", "5%"], ["0%", "100%", "25%"]]
    numbers = [[text_of(cell.children[1]) for cell in row_of] for row_of in cells]
    assert numbers[0] == numbers[1]
    assert text_of(plain[1]).startswith("Layer 0, head 0. Most weight: “<s>” 0.800")
    assert text_of(hidden[1]).startswith("Layer 0, head 0. Most weight: “a” 0.160")
