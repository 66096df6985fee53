"""The address holds the state: whatever is written is read back, and a stale link still opens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hooks.errors import WorkbenchError
from workbench import edit_text, urls
from workbench.urls import State

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(
    prompt=TEXT,
    answer=TEXT,
    plain=st.booleans(),
    layer=st.none() | st.integers(0, 99),
    temperature=st.floats(0.01, 100.0),
    top_k=st.integers(1, 1000),
)
def test_every_state_survives_the_address(**fields: object) -> None:
    state = State.model_validate(fields)
    assert urls.read(urls.write(state)) == state


def test_the_usual_state_has_an_empty_address() -> None:
    assert urls.write(State()) == ""
    assert urls.read("") == State() == urls.read(None)


@pytest.mark.parametrize(
    "search",
    ["?layer=minus", "?temperature=0", "?top_k=-3", "?top_p=2", "?special=all", "?kind=magic", "?nothing=1", "?%"],
)
def test_a_field_that_cannot_be_read_falls_back_and_the_others_stay(search: str) -> None:
    state = urls.read(search + "&prompt=hello")
    assert state == State(prompt="hello")


def test_empty_texts_are_not_the_default_texts() -> None:
    assert urls.read("?answer=&foil=").answer == ""
    assert urls.read(urls.write(State(answer=""))).answer == ""


def test_change_keeps_the_other_fields() -> None:
    search = urls.change("?prompt=a%26b%3Dc&head=3", layer=2)
    assert urls.read(search) == State(prompt="a&b=c", head=3, layer=2)
    assert urls.read(urls.change(search, head=None)).head is None


def test_edits_are_read_in_order_and_written_back_the_same() -> None:
    text = "zero:L3.z[head=5];mean:L5.mlp_out"
    edits = State(edits=text).interventions()
    assert [edit.kind for edit in edits] == ["zero", "mean"]
    assert edit_text.write(edits, {}) == text


@pytest.mark.parametrize("text", ["L3.z", "burn:L3.z", "zero:L3.nothing", "zero:"])
def test_an_unreadable_edit_is_an_error_with_a_hint(text: str) -> None:
    with pytest.raises(WorkbenchError) as caught:
        State(edits=text).interventions()
    assert caught.value.hint


def test_a_foil_without_an_answer_is_left_out() -> None:
    assert State(answer="", foil=" John").inputs().foils == ()
