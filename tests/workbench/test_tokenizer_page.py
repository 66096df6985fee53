"""The Tokenizer page: everything it says is what the tokenizer does."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel
from typer.testing import CliRunner

from hooks.errors import InputError, ModelError
from hooks.prompts import PromptSet
from hooks.reference import ModelRef
from hooks.token_build import build
from hooks.token_split import split
from hooks.tokens import encode
from tests.hooks import small_tokenizers as small
from tests.workbench.components import all_of, text_of
from workbench import tokenizer_report
from workbench.cli import app
from workbench.figures.numbers import number
from workbench.models.convert import Record, write_record
from workbench.pages.tokenizer import PAGE, layout
from workbench.parts import tokenizer_about, tokenizer_build, tokenizer_data, tokenizer_views
from workbench.parts.tokenizer_callbacks import build_content, lookup_content
from workbench.settings import Settings
from workbench.urls import State
from workbench.workspace import Workspace

MIXED = "The cat <|end|> café 😊 <b>x</b>\n"


@pytest.fixture
def state(tiny_folder: Path) -> State:
    return State(model=str(tiny_folder), prompt=MIXED, answer="", foil="")


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_folder)


def by_id(component: Any, name: str) -> Any:
    (found,) = all_of(component, lambda part: getattr(part, "id", None) == name)
    return found


def test_the_page_stands_after_the_prompt_and_needs_none() -> None:
    assert (PAGE.path, PAGE.title, PAGE.needs_prompt) == ("/tokenizer", "Tokenizer", False)


def test_chips_and_table_are_the_ids_as_fed(opened: Workspace, state: State, tokenizer: Any) -> None:
    page = layout(opened, state)
    ids = tokenizer(MIXED)["input_ids"]
    chips = all_of(page, lambda part: hasattr(part, "data-wb-token"))
    assert [getattr(chip, "data-wb-facts").split(" · ")[1] for chip in chips] == [f"id {token}" for token in ids]
    rows = by_id(page, "tokenizer-table").rowData
    assert [row["id"] for row in rows] == ids
    assert bytes.fromhex("".join(row["hex"] for row in rows)) == MIXED.encode()
    assert [row["token"] for row in rows if row["note"] == "special"] == ["<|end|>"]
    notes = [row["note"] for row in rows if row["note"]]
    assert notes == ["special", "1 of 2: é", "2 of 2: é", *(f"{n} of 4: 😊" for n in (1, 2, 3, 4))]


def test_the_tags_count_what_was_split(opened: Workspace, state: State, tokenizer: Any) -> None:
    words = text_of(by_id(layout(opened, state), "tokenizer-text-panel"))
    assert f"{len(tokenizer(MIXED)['input_ids'])} tokens, 1 special" in words
    assert f"{len(MIXED)} characters, {len(MIXED.encode())} bytes" in words
    assert "says the text exactly" in words


def test_an_empty_text_has_its_own_state_and_the_rest_stays(opened: Workspace, state: State) -> None:
    page = layout(opened, state.model_copy(update={"prompt": ""}))
    assert "No text yet" in text_of(page)
    assert text_of(by_id(page, "tokenizer-facts-panel")) and text_of(by_id(page, "tokenizer-languages-panel"))
    assert not all_of(page, lambda part: getattr(part, "id", None) == "tokenizer-table")


def test_a_text_that_cannot_be_split_says_why(opened: Workspace, state: State) -> None:
    page = layout(opened, state.model_copy(update={"prompt": "a\ud800b"}))
    assert "lone surrogate" in text_of(page)


def test_a_text_that_the_model_cannot_take_is_split_all_the_same(
    workspace: Workspace, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise InputError("prompt 1 has 17 tokens, but this model has positions for 16.", "Shorten it.")

    monkeypatch.setattr(workspace, "tokens", refuse)
    seen = tokenizer_data.see(workspace, state)
    assert seen.report is not None
    words = text_of(tokenizer_views.text_panel(seen, state))
    assert "The model does not take this text" in words and "17 tokens" in words


def test_the_address_chooses_the_token_that_is_explained(opened: Workspace, state: State, tokenizer: Any) -> None:
    ids = tokenizer(MIXED)["input_ids"]
    the = tokenizer.convert_ids_to_tokens(ids).index("Ġcat")
    words = text_of(build_content(opened, state.model_copy(update={"position": the})))
    assert f"position {the} · id {ids[the]} · byte-level BPE" in words
    assert "·cat" in words and "merges of the tokenizer’s" in words
    beyond = text_of(build_content(opened, state.model_copy(update={"position": 9_999})))
    assert f"position {len(ids) - 1}" in beyond


def test_a_special_token_and_a_piece_of_a_character_are_explained(opened: Workspace, state: State) -> None:
    seen = tokenizer_data.see(opened, state)
    assert seen.report is not None
    rows = seen.report.tokens
    special = next(row.pos for row in rows if row.special)
    assert "Added to the vocabulary whole" in text_of(
        build_content(opened, state.model_copy(update={"position": special}))
    )
    piece = next(row.pos for row in rows if row.pieces == 4 and row.piece == 1)
    words = text_of(build_content(opened, state.model_copy(update={"position": piece})))
    assert "Token 2 of the 4 that say  😊  together" in words


def test_looking_up_goes_both_ways(opened: Workspace, state: State, tokenizer: Any) -> None:
    ids = tokenizer("café <|end|>")["input_ids"]
    found = tokenizer_data.look_up(opened, state.model, "text:café <|end|>")
    assert found is not None and [token for token, _ in found.rows] == ids
    back = tokenizer_data.look_up(opened, state.model, "ids:" + ", ".join(map(str, ids)))
    assert back is not None and back.text == "café·<|end|>" == found.text
    assert (
        tokenizer_data.look_up(opened, state.model, "") is tokenizer_data.look_up(opened, state.model, "ids:") is None
    )


def test_a_word_that_is_one_token_with_a_space_in_front_says_so(
    opened: Workspace, state: State, tokenizer: Any
) -> None:
    (token,) = tokenizer(" Mary")["input_ids"]
    found = tokenizer_data.look_up(opened, state.model, "text:Mary")
    assert found is not None and len(found.rows) > 1
    assert found.note == f"With a space in front it is one token, id {token}."


@pytest.mark.parametrize(
    ("asked", "words"),
    [("ids:12 x", "“x” is not a token id"), ("ids:-1", "“-1” is not"), ("ids:999999", "Id 999999 is not in this")],
)
def test_a_look_up_that_cannot_be_answered_says_why(opened: Workspace, state: State, asked: str, words: str) -> None:
    content = text_of(lookup_content(opened, state.model_copy(update={"lookup": asked})))
    assert words in content and "whole numbers from 0" in content.lower()


def test_the_table_for_a_spreadsheet_reads_back(opened: Workspace, state: State) -> None:
    state = state.model_copy(update={"prompt": '=1+1 @a "b", \t'})
    seen = tokenizer_data.see(opened, state)
    assert seen.report is not None
    for form, delimiter in (("csv", ","), ("tsv", "\t")):
        text = tokenizer_views.exported(seen)[form]
        rows = list(csv.DictReader(io.StringIO(text), delimiter=delimiter))
        assert [int(row["id"]) for row in rows] == [row.id for row in seen.report.tokens]
        assert [row["token"].removeprefix("'") for row in rows] == [row.string for row in seen.report.tokens]
        assert not any(row["token"].startswith(("=", "+", "-", "@")) for row in rows)


def test_no_text_of_the_user_is_markup(opened: Workspace, state: State) -> None:
    page = layout(opened, state)
    kinds = {type(part).__name__ for part in all_of(page, lambda part: True)}
    assert not kinds & {"Markdown", "DangerouslySetInnerHTML"}
    assert "<b" in text_of(page) or "<" in text_of(page)


@pytest.mark.parametrize("make", small.KINDS.values(), ids=small.KINDS)
def test_languages_are_counted_as_the_tokenizer_splits_them(make: Any) -> None:
    tokenizer = make()
    counts = tokenizer_report.languages(tokenizer)
    assert len(counts) == 12
    for count in counts:
        ids = tokenizer(count.text, add_special_tokens=False)["input_ids"]
        assert count.tokens == len(ids) and count.unknown == ids.count(tokenizer.unk_token_id)
        assert count.per_character == len(ids) / len(count.text)
        assert count.bytes_per_token == len(count.text.encode()) / len(ids)
        assert count.per_word == (None if count.words is None else len(ids) / len(count.text.split()))
    assert {count.language for count in counts if count.words is None} == {"Chinese", "Japanese", "Thai"}


def test_unknown_tokens_are_told_only_where_there_are_some() -> None:
    bert = text_of(tokenizer_about.languages_panel(tokenizer_report.languages(small.wordpiece())))
    plain = text_of(tokenizer_about.languages_panel(tokenizer_report.languages(small.byte_level())))
    assert "Unknown" in bert and "Unknown" not in plain


@pytest.mark.parametrize("make", small.KINDS.values(), ids=small.KINDS)
def test_the_facts_of_every_kind_are_told(make: Any) -> None:
    tokenizer = make()
    known = tokenizer_report.facts(tokenizer, "here")
    words = text_of(tokenizer_about.facts_panel(known))
    assert known.kind in words and known.bos_policy in words and "here" in words
    assert not any(0x100 <= ord(char) <= 0x143 for char in words)


def test_c06_a_tokenizer_out_of_a_gguf_file_and_a_companion_say_so(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    assert tokenizer_report.origin(folder) == "the files of the folder model"
    write_record(folder, Record(name="m", source="a.gguf", sha256="0"))
    assert "rebuilt from a GGUF file (a.gguf)" in tokenizer_report.origin(folder)
    assert tokenizer_report.origin(folder, companion=True).startswith("companion tokenizer")


def test_c06_a_companion_that_disagrees_on_the_text_is_told_with_the_position(
    tiny_folder: Path, settings: Settings, tmp_path: Path, tokenizer: Any
) -> None:
    companion = small.byte_level()
    companion.save_pretrained(tmp_path / "companion")
    ref = ModelRef(name=str(tiny_folder), tokenizer=str(tmp_path / "companion"))
    made = tokenizer_report.open_report(ref, PromptSet(prompts=("xyz",)), settings)
    ours, theirs = tokenizer("xyz")["input_ids"], companion("xyz")["input_ids"]
    first = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b)
    assert f"first at position {first}:" in made.warnings[-1]
    assert [row.id for row in made.tokens] == theirs
    assert made.facts.origin.startswith("companion tokenizer")


def explained(tokenizer: Any, text: str, pos: int) -> str:
    inputs = PromptSet(prompts=(text,))
    rows = split(tokenizer, inputs, encode(tokenizer, inputs))
    return text_of(tokenizer_build.build_view(build(tokenizer, rows[pos].id), rows, pos))


def test_a_unigram_token_is_explained_by_its_score_and_the_best_way_without_it() -> None:
    tokenizer = small.unigram()
    scores = dict(small.definition(tokenizer.backend_tokenizer)["model"]["vocab"])
    ids = tokenizer("hello")["input_ids"]
    pos = ids.index(tokenizer.convert_tokens_to_ids("lo"))
    words = explained(tokenizer, "hello", pos)
    assert "Log-probability, nats" in words and "The best way without it" in words
    assert number(scores["lo"], signed=True) in words
    assert number(scores["l"] + scores["o"], signed=True) in words


def test_a_wordpiece_token_is_explained_by_the_pieces_of_its_word() -> None:
    words = explained(small.wordpiece(), "unhappyly", 2)
    assert "Its word, as the" in words and "longest piece" in words and "##" in words


def test_the_command_gives_the_same_rows_and_facts(tiny_folder: Path, tokenizer: Any) -> None:
    run = CliRunner().invoke(app, ["tokens", str(tiny_folder), "é <|end|>", "--json"])
    rows = json.loads(run.stdout)
    assert [row["id"] for row in rows] == tokenizer("é <|end|>")["input_ids"]
    assert [(row["text"], row["piece"], row["pieces"]) for row in rows[:2]] == [("é", 0, 2), ("é", 1, 2)]
    assert bytes.fromhex("".join(row["bytes"] for row in rows)) == "é <|end|>".encode()
    assert [row["special"] for row in rows] == [False, False, False, True]
    told = json.loads(CliRunner().invoke(app, ["tokens", str(tiny_folder), "a", "--facts", "--json"]).stdout)
    assert told["kind"] == "byte-level BPE" and told["vocabulary"] == len(tokenizer)


def test_a_model_without_a_tokenizer_says_so(tmp_path: Path, settings: Settings) -> None:
    folder = small_model_without_tokenizer(tmp_path / "bare")
    with pytest.raises(ModelError, match="came without a tokenizer"):
        tokenizer_report.open_report(ModelRef(name=str(folder)), PromptSet(prompts=("a",)), settings)


def small_model_without_tokenizer(folder: Path) -> Path:
    GPT2LMHeadModel(GPT2Config(vocab_size=16, n_embd=8, n_layer=1, n_head=1, n_positions=8)).save_pretrained(folder)
    return folder
