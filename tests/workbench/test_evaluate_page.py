"""The Evaluate page without a browser: which experiment a test set and a tray make, what its scores say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from hooks.errors import InputError, SpecError
from tests.workbench.components import all_of, text_of
from workbench.pages import evaluate as page
from workbench.parts import evaluate_layout, evaluate_request
from workbench.requests import ExperimentRequest
from workbench.urls import State
from workbench.workspace import Workspace

PAIRS = [
    {"sentence_good": "Mary went to the store", "sentence_bad": "Mary went to store the", "UID": "order"},
    {"sentence_good": "The cat sat on the mat", "sentence_bad": "The cat sat the on mat", "UID": "other"},
]
CHOICES = [
    {"prompt": "Mary gave a", "choices": [" drink", " mat"], "right": 0},
    {"prompt": "The cat sat on", "choices": [" hello", " the mat"], "right": 1},
]


def lines(items: list[dict[str, Any]]) -> str:
    return "\n".join(map(json.dumps, items))


@pytest.fixture
def state(tiny_folder: Path) -> Callable[..., State]:
    """States of the page on the tiny model."""
    return lambda **fields: State(model=str(tiny_folder), **fields)


def finished(workspace: Workspace, state: State) -> Any:
    request = ExperimentRequest(experiment=evaluate_request.experiment_of(workspace, state))
    job = workspace.wait(workspace.submit(request, session="me").id)
    assert job.state == "done", job.error
    return page.watch(workspace, state, "me").content


def by_id(component: Any, name: str) -> Any:
    (found,) = all_of(component, lambda item: getattr(item, "id", None) == name)
    return found


def test_the_items_are_measured_under_the_edits_of_the_tray(opened: Workspace, state: Callable[..., State]) -> None:
    key = opened.tests.put("blimp.jsonl", lines(PAIRS), json_lines=True)
    experiment = evaluate_request.experiment_of(opened, state(items=key, edits="zero:L0.z[head=1]"))
    assert experiment.analysis == "evaluation"
    assert (experiment.params["kind"], experiment.params["edits"][0]["at"]) == ("minimal_pairs", "L0.z[head=1]")
    assert experiment.inputs["corrupt"].prompts == tuple(item["sentence_bad"] for item in PAIRS)


def test_means_and_vectors_of_edits_are_of_the_page_s_prompts_not_of_the_items(
    opened: Workspace, state: Callable[..., State]
) -> None:
    key = opened.tests.put("blimp.jsonl", lines(PAIRS), json_lines=True)
    vector = '{"kind":"add","at":"L0.resid_post","vector":{"of":"clean","minus":"corrupt"}}'
    given = state(items=key, edits=f"mean:L1.mlp_out;{vector}", prompt="Mary went", corrupt="The cat")
    experiment = evaluate_request.experiment_of(opened, given)
    assert experiment.params["edits"][0]["reference"] == "prompts_clean"
    (made,) = experiment.to_json()["vectors"].values()
    assert (made["of"], made["minus"]) == ("prompts_clean", "prompts_corrupt")
    assert experiment.inputs["prompts_clean"].prompts == ("Mary went",)
    assert experiment.inputs["clean"].prompts[0] == PAIRS[0]["sentence_good"]


def test_without_edits_scores_stand_alone_and_with_edits_beside_their_change(
    opened: Workspace, state: Callable[..., State]
) -> None:
    key = opened.tests.put("mine.jsonl", lines(CHOICES), json_lines=True)
    alone = finished(opened, state(items=key))
    assert "→" not in text_of(by_id(alone, "eva-accuracy"))
    both = finished(opened, state(items=key, edits="zero:L0.mlp_out;zero:L1.attn_out"))
    before, after = text_of(by_id(both, "eva-accuracy")).split(" → ")
    assert before == text_of(by_id(alone, "eva-accuracy")) and after
    assert "change" in text_of(both) and "lost" in text_of(by_id(both, "eva-items-about"))
    rows = by_id(both, "eva-items").rowData
    assert [abs(row["change"]) for row in rows] == sorted((abs(row["change"]) for row in rows), reverse=True)
    assert by_id(both, "eva-reliability") is not None


def test_a_plain_text_is_measured_by_its_perplexity(opened: Workspace, state: Callable[..., State]) -> None:
    key = opened.tests.put("pasted", "Mary went to the store. The cat sat on the mat.", json_lines=False)
    assert text_of(by_id(finished(opened, state(items=key)), "eva-perplexity"))


def test_window_and_stride_of_a_text_are_those_of_the_address(opened: Workspace, state: Callable[..., State]) -> None:
    """Perplexity by hand: windows of 8 tokens that begin 4 apart, each token counted in the first that holds it."""
    text = "Mary and John went to the store, and John gave a drink to Mary."
    given = state(items=opened.tests.put("text.txt", text, json_lines=False), text_window=8, stride=4)
    experiment = evaluate_request.experiment_of(opened, given)
    assert (experiment.params["window"], experiment.params["stride"]) == (8, 4)
    fields = all_of(page.layout(opened, given), lambda part: type(part).__name__ == "NumberInput")
    assert {field.id["name"]: field.value for field in fields} == {"text_window": 8, "stride": 4}
    plain = AutoModelForCausalLM.from_pretrained(given.model, attn_implementation="eager").eval()
    ids, losses = AutoTokenizer.from_pretrained(given.model)(text, return_tensors="pt").input_ids[0], {}
    for start in range(0, len(ids), 4):
        with torch.inference_mode():
            logs = plain(ids[None, start : start + 8]).logits[0].log_softmax(-1)
        for at in range(start + 1, min(start + 8, len(ids))):
            losses.setdefault(at, -float(logs[at - 1 - start, ids[at]]))
    assert set(losses) == set(range(1, len(ids)))
    finished(opened, given)
    found = opened.result(experiment.id)
    assert found is not None
    assert float(found.grid("loss").values[0]) == pytest.approx(sum(losses.values()) / len(losses), rel=1e-4)
    with pytest.raises(SpecError, match="stride must be smaller than window"):
        evaluate_request.experiment_of(opened, given.model_copy(update={"stride": 8}))
    pairs = opened.tests.put("blimp.jsonl", lines(PAIRS), json_lines=True)
    assert evaluate_request.experiment_of(opened, given.model_copy(update={"items": pairs})).params["window"] is None


def test_a_test_set_says_what_it_is_and_a_bad_one_what_it_lacks(opened: Workspace, state: Callable[..., State]) -> None:
    key = opened.tests.put("blimp.jsonl", lines(PAIRS), json_lines=True)
    assert "2 minimal pairs, format BLiMP, 2 groups" in text_of(evaluate_layout.chosen(opened, state(items=key)))
    with pytest.raises(InputError, match="which no format has"):
        opened.tests.put("x.jsonl", '{"a": 1}', json_lines=True)
    for unknown in ("0" * 64, "../data"):
        assert "not in the workspace" in text_of(page.watch(opened, state(items=unknown), "me").content)


def test_without_a_test_set_the_page_says_the_one_next_step(opened: Workspace, state: Callable[..., State]) -> None:
    seen = page.watch(opened, state(), "me")
    assert seen.busy and "Give a test set" in text_of(seen.content)
    assert "Choose a test set" in str(page.heading(opened, state()))


def test_an_edit_that_copies_from_a_pair_fails_in_words(opened: Workspace, state: Callable[..., State]) -> None:
    key = opened.tests.put("mine.jsonl", lines(CHOICES), json_lines=True)
    given = state(items=key, edits="patch:L0.resid_pre")
    request = ExperimentRequest(experiment=evaluate_request.experiment_of(opened, given))
    assert opened.wait(opened.submit(request, session="me").id).state == "failed"
    seen = page.watch(opened, given, "me")
    assert (seen.run, seen.busy) == ("Run again", False)
    assert "copies from paired prompts" in text_of(seen.content)
