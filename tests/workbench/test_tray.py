"""The tray without a browser: edits of every kind survive the address, say in words what they do, and have a form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hooks.errors import InputError, SiteMissing, SpecError
from hooks.interventions import KINDS, parse_intervention
from tests.workbench.components import all_of, text_of
from workbench import edit_text, urls
from workbench.parts import attention_data, tray
from workbench.parts.given import inputs_of
from workbench.parts.tray_form import form, kinds
from workbench.requests import CaptureRequest
from workbench.urls import State
from workbench.workspace import Workspace

EXAMPLES: dict[str, dict[str, Any]] = {
    "zero": {"at": "L1.z[head=2]"},
    "mean": {"at": "L1.mlp_out", "reference": "reference", "over": "template"},
    "patch": {"at": "L0.resid_pre[pos=last]", "source": "clean"},
    "freeze": {"at": "L1.attn_out"},
    "resample": {"at": "L0.z[head=1]", "seed": 3},
    "noise": {"at": "embed[pos=2:4]", "sd": 0.25},
    "add": {"at": "L1.resid_post", "vector": {"token": "; Mary", "minus": {"id": 3}}, "coefficient": -4.0},
    "project_out": {"at": "L1.resid_post", "vector": {"of": "clean", "minus": "corrupt", "pos": [1, 3]}},
    "scale": {"at": "L0.mlp_post[unit=17]", "factor": 0.5},
    "set": {"at": "L0.z[head=1,pos=last]", "vector": [0.5, -1.0]},
    "via": {"at": "L1.q[head=2]", "writers": ["L0.z[head=1]", "L0.mlp_out"]},
    "mask_edge": {"at": "L1.pattern[head=2,q_pos=last,k_pos=4]"},
}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


def item(kind: str) -> str:
    return edit_text.item({"kind": kind, **EXAMPLES[kind]})


def forms_of(rows: list[Any]) -> list[dict[str, Any]]:
    return [json.loads(found.to_plotly_json()["props"]["data-tray-form"]) for row in rows
            for found in all_of(row, lambda part: hasattr(part, "data-tray-form"))]  # fmt: skip


def test_the_examples_are_of_every_kind() -> None:
    assert set(EXAMPLES) == set(KINDS)


def test_edits_of_every_kind_survive_the_address() -> None:
    state = State(edits=";".join(map(item, EXAMPLES)))
    again = urls.read(urls.write(state))
    assert again == state
    read = again.tray()
    assert [edit.kind for edit in read.edits] == list(EXAMPLES)
    assert edit_text.read(edit_text.write(read.edits, read.vectors)) == read
    assert read.inputs == {"clean", "corrupt", "reference"}


@given(token=TEXT, minus=TEXT, factor=st.floats(-10, 10))
def test_whatever_a_token_is_spelled_like_it_does_not_end_an_edit(token: str, minus: str, factor: float) -> None:
    add = {"kind": "add", "at": "L0.resid_pre", "vector": {"token": token, "minus": minus}}
    text = f"{edit_text.item(add)};{edit_text.item({'kind': 'scale', 'at': 'L0.z', 'factor': factor})}"
    read = edit_text.read(text)
    (definition,) = read.vectors.values()
    assert len(text.split(";")) == len(read.edits) == 2
    assert (definition.token, definition.minus) == (token, minus)  # type: ignore[union-attr]
    assert edit_text.read(edit_text.write(read.edits, read.vectors)) == read


def test_usual_edits_are_short_and_a_short_mean_is_over_what_the_page_has() -> None:
    texts = ["zero:L3.z[head=5]", "mean:L5.mlp_out", "patch:L3.resid_pre[pos=last]"]
    alone, many = State(edits=";".join(texts)), State(edits=";".join(texts), task="ioi")
    assert edit_text.write(alone.tray().edits, {}) == alone.edits
    assert edit_text.write(many.tray().edits, {}, many.mean_over) == many.edits
    assert alone.tray().edits[1] == parse_intervention({"kind": "mean", "at": "L5.mlp_out", "over": "positions"})
    assert many.tray().edits[1] == parse_intervention({"kind": "mean", "at": "L5.mlp_out", "over": "prompts"})
    assert many.tray(alone=True) == alone.tray()


@pytest.mark.parametrize(
    "text",
    ['{"kind":"scale"', "[1]", '{"kind":"scale","at":"L0.z"}', '{"kind":"add","at":"L0.resid_pre","vector":{"x":1}}'],
)
def test_an_edit_that_cannot_be_read_says_what_was_expected(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        edit_text.read(text)
    assert caught.value.hint


def test_rows_say_in_words_what_is_done() -> None:
    rows = tray.rows(State(edits=";".join(map(item, ("scale", "add", "mask_edge")))))
    assert [text_of(row.children[1]) for row in rows] == [
        "multiply neuron 0.17 by 0.5",
        "add -4 × vector ‘W_U[; Mary] − W_U[3]’ to the residual stream leaving layer 1",
        "cut the attention of head 1.2 from the last position to position 4",
    ]


def test_a_form_has_the_kinds_that_fit_the_part_and_the_fields_of_its_own() -> None:
    state = State(edits=f"zero:L1.pattern[head=2];{item('noise')}")
    pattern, noise = forms_of(tray.rows(state))
    assert "mask_edge" in (offered := [kind["name"] for kind in pattern["kinds"]])
    assert not {"add", "noise", "project_out"} & set(offered)
    assert [(field["name"], field["type"], field["value"]) for field in noise["fields"]] == [
        ("sd", "number", 0.25),
        ("scale", "number", None),
        ("seed", "whole", 0),
    ]


@pytest.mark.parametrize("kind", EXAMPLES)
def test_every_kind_that_a_form_offers_can_be_chosen(kind: str) -> None:
    state = State(edits=item(kind))
    (edit,) = state.tray().edits
    for name, text in kinds(edit, state):
        (chosen,) = edit_text.read(text).edits
        assert (chosen.kind, chosen.at) == (name, edit.at)
    assert form(edit, state.tray().vectors, state)["kind"] == kind


def test_what_is_typed_joins_the_tray(opened: Workspace, tiny_folder: Path) -> None:
    state = State(model=str(tiny_folder), edits="zero:L0.mlp_out")
    assert tray.added(opened, state, " 1.2 ") == "zero:L0.mlp_out;zero:L1.z[head=2]"
    assert tray.added(opened, state, "L0.mlp_post[unit=17]").endswith(";zero:L0.mlp_post[unit=17]")
    assert tray.added(opened, state, item("add")).endswith(item("add"))
    for wrong, error in (("L9.z", SiteMissing), ("L1.z[head=99]", SiteMissing), ("head five", SpecError),
                         ("", SpecError), ("L0.mlp_out", SpecError)):  # fmt: skip
        with pytest.raises(error):
            tray.added(opened, state, wrong)


def test_the_edited_run_reads_what_its_edits_copy_and_is_found_again(opened: Workspace, tiny_folder: Path) -> None:
    vector = edit_text.item({"kind": "add", "at": "L0.resid_pre", "vector": {"of": "clean", "minus": "corrupt"}})
    state = State(model=str(tiny_folder), prompt="When Mary went to", corrupt="When John went to",
                  edits=f"patch:L0.resid_pre[pos=1];{vector}", tab="difference")  # fmt: skip
    _, edited = attention_data.needed(state, 1, inputs=inputs_of(opened, state))
    assert isinstance(edited, CaptureRequest)
    assert list(edited.sources) == ["corrupt"] and list(edited.vectors) == ["clean − corrupt"]
    assert opened.capture(edited) is None
    assert opened.wait(opened.submit(edited).id).state == "done"
    assert opened.capture(edited) is not None
    other = state.model_copy(update={"corrupt": "When Anna went to"})
    assert opened.capture(attention_data.needed(other, 1, inputs=inputs_of(opened, other))[1]) is None  # type: ignore[arg-type]


def test_a_source_that_is_not_there_is_named(opened: Workspace, tiny_folder: Path) -> None:
    state = State(model=str(tiny_folder), edits='{"kind":"patch","at":"L0.z","source":"reference"}', tab="difference")
    _, edited = attention_data.needed(state, 1, inputs=inputs_of(opened, state))
    assert isinstance(edited, CaptureRequest)
    with pytest.raises(InputError, match="reference"):
        opened.capture(edited)
