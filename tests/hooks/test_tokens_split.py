"""What each token covers, how it comes about, and what a tokenizer says of itself, measured on small ones."""

from __future__ import annotations

import pytest

from hooks.companion import companion_warning, first_difference
from hooks.errors import InputError
from hooks.prompts import ChatPrompt, IdsPrompt, PromptSet
from hooks.token_build import build
from hooks.token_split import split
from hooks.tokenizer_facts import facts, merge_ranks
from hooks.tokens import encode
from tests.hooks import small_tokenizers as small

MIXED = "Hello lowest 😊 é"


def rows(tokenizer, prompt=MIXED, **options):
    inputs = PromptSet(prompts=(prompt,), **options)
    return split(tokenizer, inputs, encode(tokenizer, inputs))


def test_the_bytes_of_a_byte_level_split_are_the_text_in_order():
    found = rows(small.byte_level(bos=True))
    assert found[0].start is found[0].bytes is None
    inner = found[1:]
    assert b"".join(bytes.fromhex(row.bytes) for row in inner) == MIXED.encode()
    assert [row.byte_start for row in inner] == [0, *(row.byte_stop for row in inner[:-1])]
    assert inner[-1].byte_stop == len(MIXED.encode())


@pytest.mark.parametrize("make", small.KINDS.values(), ids=small.KINDS)
def test_each_token_covers_the_characters_that_it_shows(make):
    tokenizer = make()
    for row in rows(tokenizer, "lowest Mary"):
        if row.start is not None and row.id != tokenizer.unk_token_id:
            said = row.string.replace("·", " ").removeprefix("##").strip()
            assert said in (
                "",
                "lowest Mary"[row.start : row.stop].lower().strip(),
                "lowest Mary"[row.start : row.stop].strip(),
            )


def test_normalised_text_is_covered_by_its_own_characters():
    found = rows(small.wordpiece(), "Héllo hello")
    words = [row for row in found if row.start is not None]
    assert "Héllo hello"[words[0].start : words[0].stop][0] == "H"
    assert words[-1].byte_stop == len("Héllo hello".encode())


@pytest.mark.parametrize(("special", "typed"), [("model", "<s>hello"), ("bos", "hello"), ("none", "<s>hello")])
def test_spans_stay_with_their_tokens_when_a_bos_is_added_or_dropped(special, typed):
    found = rows(small.byte_level(bos=True), typed, special=special)
    plain = [row for row in found if not row.special]
    assert "".join(typed[row.start : row.stop] for row in plain) == "hello"


def test_a_typed_special_token_covers_its_text_and_an_added_one_nothing():
    tokenizer = small.unigram()
    found = rows(tokenizer, "</s>")
    covered = [row for row in found if row.id == tokenizer.eos_token_id]
    assert [(row.start, row.stop) for row in covered] == [(0, 4), (None, None)]


def test_a_chat_and_ids_split_too():
    tokenizer = small.byte_level(template="{% for m in messages %}{{ m['content'] }}{% endfor %}")
    chat = rows(tokenizer, ChatPrompt(messages=({"role": "user", "content": "hello"},)))
    assert "".join("hello"[row.start : row.stop] for row in chat) == "hello"
    assert all(row.start is None for row in rows(tokenizer, IdsPrompt(ids=(5, 6))))


def merge_by_hand(word, merges):
    """BPE in the plainest form: the pair learned first, everywhere, until none is left."""
    pieces = list(word)
    for left, right in merges:
        joined, i = [], 0
        while i < len(pieces):
            pair = pieces[i : i + 2] == [left, right]
            joined.append(left + right if pair else pieces[i])
            i += 2 if pair else 1
        pieces = joined
    return pieces


@pytest.mark.parametrize("make", [small.byte_level, small.sentencepiece_bpe])
def test_the_merges_of_a_token_build_exactly_it_in_order_of_rank(make):
    tokenizer = make()
    ranks = merge_ranks(tokenizer)
    for raw, token in tokenizer.get_vocab().items():
        made = build(tokenizer, token)
        if not made.merges:
            continue
        assert merge_by_hand(raw, ranks) == [raw]
        assert made.merges[-1].pieces == (made.string,) and made.merges[-1].result == made.string
        assert len(made.start) == len(raw) == len(made.merges) + 1
        assert "".join(made.start) == made.string or "⟨" in "".join(made.start)
        assert made.n_merges == len(ranks) and all(0 <= merge.rank < len(ranks) for merge in made.merges)


def test_a_word_taken_whole_and_a_letter_say_so():
    tokenizer = small.tiktoken_style()
    assert "taken whole" in build(tokenizer, tokenizer.convert_tokens_to_ids("zyx")).note
    assert "alphabet" in build(tokenizer, tokenizer.convert_tokens_to_ids("z")).note
    assert "Added" in build(tokenizer, tokenizer.bos_token_id).note


def test_a_unigram_piece_has_its_score_and_the_best_way_without_it():
    tokenizer = small.unigram()
    token = tokenizer.convert_tokens_to_ids("lo")
    made = build(tokenizer, token)
    scores = dict(small.definition(tokenizer.backend_tokenizer)["model"]["vocab"])
    assert made.score == scores["lo"]
    assert [(one.piece, one.score) for one in made.otherwise] == [("l", scores["l"]), ("o", scores["o"])]
    assert made.score > sum(one.score for one in made.otherwise)


def test_other_kinds_say_how_they_choose():
    bert, llama = small.wordpiece(), small.sentencepiece_bpe()
    assert "longest piece" in build(bert, bert.convert_tokens_to_ids("hello")).note
    assert "no piece for" in build(bert, bert.unk_token_id).note
    assert "byte fallback" in build(llama, llama.convert_tokens_to_ids("<0xF0>")).note
    assert "does not say" in build(small.slow_bytes(), 70).note
    with pytest.raises(InputError, match="id 118 is not in this vocabulary"):
        build(bert, len(bert))
    with pytest.raises(InputError, match="id -1"):
        build(bert, -1)


@pytest.mark.parametrize(("kind", "make"), small.KINDS.items(), ids=small.KINDS)
def test_the_kind_and_the_sizes_are_those_of_the_tokenizer(kind, make):
    tokenizer = make()
    known = facts(tokenizer, "made here")
    assert known.kind == kind
    assert known.vocabulary == len(tokenizer) and known.origin == "made here"
    assert known.fast == (kind != "bytes")
    for token in known.special:
        assert tokenizer.convert_tokens_to_ids(token.token) == token.id


@pytest.mark.parametrize(
    ("make", "before", "after"),
    [
        (lambda: small.byte_level(bos=True), ("<s>",), ()),
        (small.byte_level, (), ()),
        (small.unigram, (), ("</s>",)),
        (small.wordpiece, ("[CLS]",), ("[SEP]",)),
        (small.slow_bytes, (), ("</s>",)),
    ],
)
def test_what_is_put_around_a_text_is_measured(make, before, after):
    known = facts(make())
    assert (known.before, known.after) == (before, after)


def test_the_policy_in_words_and_the_bos_of_the_template():
    with_bos = facts(small.byte_level(bos=True, template="<s>{{ messages[0]['content'] }}"))
    assert with_bos.bos_policy == "puts <s> in front of each text" and with_bos.template_bos == 1
    assert with_bos.eos_policy == "has <|endoftext|>, and does not add it"
    assert facts(small.byte_level()).bos_policy == "has no BOS token"
    assert facts(small.wordpiece()).bos_policy == "has no BOS token; puts [CLS] in front of each text"
    assert facts(small.tiktoken_style()).template_bos is None


@pytest.mark.parametrize("make", small.KINDS.values(), ids=small.KINDS)
def test_normaliser_and_pre_tokeniser_are_told_without_the_byte_alphabet(make):
    known = facts(make())
    words = known.normaliser + known.pre_tokeniser
    assert words and not any(0x100 <= ord(char) <= 0x143 for char in words)
    assert "{lower" not in words and "▁▁" not in words


CAFE = "Hello world! Café déjà vu — 123 😊 <think>"


def test_c06_two_tokenizers_are_compared_by_the_first_position_that_differs():
    ours, companion = small.byte_level(), small.byte_level()
    assert first_difference(ours, companion, CAFE) is None
    companion.add_tokens(["<think>"])
    expected = len(ours(CAFE.removesuffix("<think>"))["input_ids"])
    found = first_difference(ours, companion, CAFE)
    assert found.pos == expected
    assert (found.first[1], found.second) == ("<", (len(ours), "<think>"))
    (warning,) = companion_warning(ours, companion)
    assert "disagrees with the companion" in warning and "'<think>'" in warning


def test_c06_a_missing_bos_and_a_longer_text_are_differences_too():
    plain, bos = small.byte_level(), small.byte_level(bos=True)
    assert first_difference(plain, bos, "hello").pos == 0
    ended = first_difference(small.unigram(), without_end(), "hello")
    assert ended.first[1] == "</s>" and ended.second is None


def test_c06_the_difference_is_told_in_legible_text():
    bare, spaced = small.byte_level(), small.sentencepiece_bpe()
    told = str(first_difference(bare, spaced, "a سلام"))
    assert not any(0x100 <= ord(char) <= 0x143 or char == "▁" for char in told)


def without_end():
    tokenizer = small.unigram()
    tokenizer.backend_tokenizer.post_processor = None
    return tokenizer


def test_c06_an_id_beyond_the_embedding_is_refused_with_both_numbers():
    companion = small.byte_level()
    companion.add_tokens(["<think>"])
    rows_of_embedding = len(small.byte_level())
    with pytest.raises(InputError, match=rf"id {rows_of_embedding}, but the embedding has {rows_of_embedding} rows"):
        encode(companion, PromptSet(prompts=(CAFE,)), n_embed=rows_of_embedding)
