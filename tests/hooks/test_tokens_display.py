"""What is shown of a token is the text it stands for, whatever the notation of its vocabulary; nothing is blank."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hooks.prompts import PromptSet
from hooks.token_text import byte_alphabet, character_groups, display, legible, token_bytes
from hooks.tokens import encode
from tests.hooks.small_tokenizers import KINDS, byte_level, sentencepiece_bpe, unigram, word_end_bpe, wordpiece

BARE = byte_level()
LLAMA = sentencepiece_bpe()
SCRIPTS = ["هذا اختبار", "The word سلام means hi", "每个人都有他的作战策略", "Café 😊", "हिन्दी", "한국어 ไทย"]
STAND_INS = {char for char, byte in byte_alphabet().items() if ord(char) != byte}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_c04_every_token_of_every_kind_has_a_visible_string(make):
    batch = encode(make(), PromptSet(prompts=("<s> <b>x</b> <br> &lt; \n \t  end \u200b\u202e\x07",)))
    assert len(batch.strings[0]) == batch.lengths[0]
    for string in batch.strings[0]:
        assert string.strip()
        assert not any(unicodedata.category(char) in ("Cc", "Cf", "Zs", "Zl", "Zp") for char in string)


def test_c04_whitespace_is_shown_by_its_signs():
    text = "a  b\n\tc\r\u00a0"
    assert "".join(display(BARE, BARE(text)["input_ids"])).replace("⟨c2⟩⟨a0⟩", "⍽") == "a··b↵⇥c␍⍽"


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("text", SCRIPTS)
def test_c05_tokens_stand_in_logical_order_without_the_byte_alphabet(make, text):
    tokenizer = make()
    batch = encode(tokenizer, PromptSet(prompts=(text,), special="none"))
    shown = batch.strings[0]
    assert not {char for string in shown for char in string} & (STAND_INS | {"▁", "\ufffd"})
    legible_text = "".join(piece.text for piece in batch.pieces() if piece.place == 0)
    if tokenizer.unk_token_id not in batch.id_lists()[0]:
        assert legible_text.removeprefix("·") == text.replace(" ", "·")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_c05_the_groups_of_a_byte_level_tokenizer_say_the_whole_text(text):
    ids = BARE(text)["input_ids"]
    assert b"".join(piece or b"" for piece in token_bytes(BARE, ids)) == text.encode()
    groups = character_groups(display(BARE, ids))
    assert "".join(piece.text for piece in groups if piece.place == 0) == legible(text.encode())


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="▁"), min_size=1, max_size=20))
def test_c05_the_groups_of_a_byte_fallback_tokenizer_say_the_whole_text(text):
    ids = LLAMA(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    shown = [piece.text for piece in character_groups(display(LLAMA, ids)) if piece.place == 0]
    assert "".join(shown) == "·" + legible(text.encode())


def test_the_pieces_of_one_character_form_a_group_with_its_text():
    pieces = character_groups(("a", "·⟨f0⟩⟨9f⟩", "⟨98⟩", "⟨8a⟩!", "b"))
    assert [piece.group for piece in pieces] == [0, 1, 1, 1, 2]
    assert [(piece.place, piece.count) for piece in pieces] == [(0, 1), (0, 3), (1, 3), (2, 3), (0, 1)]
    assert [piece.text for piece in pieces] == ["a", "·😊!", "·😊!", "·😊!", "b"]


def test_bytes_that_make_no_character_stand_alone():
    pieces = character_groups(("⟨f0⟩", "a", "⟨9f⟩", "⟨c3⟩"))
    assert [(piece.count, piece.text) for piece in pieces] == [(1, "⟨f0⟩"), (1, "a"), (1, "⟨9f⟩"), (1, "⟨c3⟩")]


def test_a_token_that_is_part_of_a_character_and_more_shows_the_more():
    assert legible(b" \xf0\x9f") == "·⟨f0⟩⟨9f⟩"
    assert legible(b"\x98a\n") == "⟨98⟩a↵"
    assert legible("سل".encode()[1:]) == "⟨b3⟩ل"


def test_a_byte_piece_that_is_a_character_is_shown_as_it():
    token = LLAMA.convert_tokens_to_ids("<0x0A>")
    assert display(LLAMA, [token]) == ("↵",)


def test_wordpiece_keeps_the_mark_of_a_piece_inside_a_word():
    tokenizer = wordpiece()
    strings = display(tokenizer, tokenizer("unhappyly")["input_ids"])
    assert strings[0] == "[CLS]" and strings[-1] == "[SEP]"
    assert all(string.startswith("##") for string in strings[2:-1])
    assert "".join(string.removeprefix("##") for string in strings[1:-1]) == "unhappyly"


def test_a_unigram_piece_shows_its_space_and_an_unknown_character_its_token():
    tokenizer = unigram()
    strings = display(tokenizer, tokenizer("the store 每")["input_ids"])
    assert strings[0].startswith("·") and strings[-2:] == ("<unk>", "</s>")


def test_the_mark_of_a_words_end_is_shown_as_the_space_that_it_decodes_to():
    tokenizer = word_end_bpe()
    assert display(tokenizer, tokenizer("lowest")["input_ids"]) == ("lowest·",)


def test_an_id_without_a_token_and_a_model_without_a_tokenizer_show_the_number():
    assert display(None, [7]) == ("#7",)
    assert display(BARE, [100_000]) == ("#100000",)


def test_text_added_to_the_vocabulary_is_literal():
    tokenizer = byte_level()
    tokenizer.add_tokens(["Ġx", "▁y"])
    assert display(tokenizer, tokenizer("Ġx▁y")["input_ids"]) == ("Ġx", "▁y")
