"""Data sets made from templates: what a tokenizer makes of them, against the tokenizer itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from analyses.datasets import task_named, tasks
from analyses.tasks import agreement, capitals, docstring, greater_than, ioi
from analyses.tasks._reading import Reader
from analyses.tasks._words import MEN, NAMES
from analyses.tasks.base import TaskInputs
from hooks.errors import InputError
from hooks.info import ModelInfo
from hooks.inputs import encode_inputs
from hooks.prompts import IdAnswer, PromptSet
from hooks.tokens import TokenBatch, encode
from tests.hooks import small_tokenizers

SHORT = 6
VARIANTS = [(name, variant) for name, task in tasks().items() for variant in task.variants]


@pytest.fixture(scope="module")
def words() -> PreTrainedTokenizerFast:
    """Every word, two-digit piece and sign of the tasks is one token, with its leading space, as in GPT-2."""
    return whole_words(two_digits=True)


def whole_words(*, two_digits: bool) -> PreTrainedTokenizerFast:
    """A tokenizer whose vocabulary is filled while it reads: what it meets between spaces and signs is one token."""
    digits = r"\p{N}{1,2}" if two_digits else r"\p{N}"
    pattern = pre_tokenizers.Split(Regex(rf"'[a-z]+| ?\p{{L}}+| ?{digits}|\n+| ?[^\s\p{{L}}\p{{N}}]+|\s+"), "isolated")
    pieces = dict.fromkeys(["<unk>", "<s>"])
    for text in _texts():
        pieces.update(dict.fromkeys(piece for piece, _ in pattern.pre_tokenize_str(text)))
    pieces.update(dict.fromkeys(f"{n:02d}" for n in range(100 if two_digits else 0)))
    pieces.update(dict.fromkeys(f"{space}{n}" for space in ("", " ") for n in range(10)))
    tokenizer = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pattern
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", unk_token="<unk>")


def _texts() -> Iterator[str]:
    yield "When Then After and went to the, gave a So is great friend, isn't he she ' 's capital of The that near"
    yield 'The lasted from the year to the year are was were has have is \'def self\'(): """ :param (self'
    yield from ioi.OPENINGS
    for word in (*NAMES, *ioi.PLACES, *ioi.OBJECTS, *greater_than.NOUNS, *docstring.ARGUMENTS, *docstring.WORDS):
        yield f" {word}"
    for word in (*agreement.NOUNS, *agreement.PEOPLE, *agreement.VERBS):
        yield f" {word} {word}s"
    for country, capital in capitals.CAPITALS.items():
        yield f"{country} {country} {capital}"
    for function in docstring.FUNCTIONS:
        yield f'def {function}(self, a):\n    """water\n\n    :param a: b c\n    :param'
    for century in greater_than.CENTURIES:
        yield f" {century}"


def made(name: str, tokenizer: Any, n: int = SHORT, seed: int = 0, variant: str = "") -> tuple[TaskInputs, TokenBatch]:
    """A task's prompt sets, and the clean ones as fed."""
    given = task_named(name).make(tokenizer, n, seed, variant)
    return given, encode(tokenizer, given.inputs["clean"])


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_pairs_have_equal_lengths_distinct_prompts_and_answers_of_one_token(
    words: Any, name: str, variant: str
) -> None:
    given, clean = made(name, words, variant=variant)
    assert len(set(map(str, given.inputs["clean"].prompts))) == SHORT
    for inputs in given.inputs.values():
        assert encode(words, inputs).lengths == clean.lengths and len(inputs.templates) == SHORT
    assert given.inputs["corrupt"].prompts != given.inputs["clean"].prompts
    for answers, foils in zip(clean.answers, clean.foils, strict=True):
        assert answers and foils and not set(answers) & set(foils)
    assert clean.positions["end"] == clean.positions["last"]


@pytest.mark.parametrize("name", sorted(tasks()))
def test_the_same_seed_gives_the_same_prompts_and_fewer_are_their_beginning(words: Any, name: str) -> None:
    some, more = (task_named(name).make(words, n).inputs["clean"] for n in (3, SHORT))
    assert more.prompts[:3] == some.prompts and more.answers[:3] == some.answers
    assert task_named(name).make(words, SHORT, seed=1).inputs["clean"].prompts != more.prompts


def test_the_flip_of_ioi_gives_the_subjects_place_to_the_indirect_object_and_back(words: Any) -> None:
    given, clean = made("ioi", words, variant="flip")
    corrupt = encode(words, given.inputs["corrupt"])
    for row in range(SHORT):
        place = {role: clean.positions[role][row] for role in ("io", "s1", "s1_next", "s2")}
        ids, flipped = list(clean.id_lists()[row]), list(corrupt.id_lists()[row])
        assert ids[place["s1"]] == ids[place["s2"]] == clean.foils[row][0] and place["s1_next"] == place["s1"] + 1
        assert ids[place["io"]] == clean.answers[row][0] != clean.foils[row][0]
        assert [i for i, (a, b) in enumerate(zip(ids, flipped, strict=True)) if a != b] == [place["s2"]]
        assert flipped[place["s2"]] == ids[place["io"]]
        flipped[place["s2"]] = flipped[place["s1"]]
        assert flipped == ids


def test_ioi_has_both_orders_and_abc_prompts_name_three_others_in_the_same_template(words: Any) -> None:
    given = task_named("ioi").make(words, 16, 0, "abc")
    clean, corrupt = given.inputs["clean"], given.inputs["corrupt"]
    assert {label.split()[1] for label in clean.templates} == {"ABBA", "BABA"}
    assert corrupt.prompts == given.inputs["reference"].prompts and corrupt.templates == clean.templates
    for label, prompt, other in zip(clean.templates, clean.prompts, corrupt.prompts, strict=True):
        names, three = ([word for word in text.replace(",", "").split() if word in NAMES] for text in (prompt, other))
        assert len(set(three)) == 3 and not set(three) & set(names)
        assert names[2] == names[1 if label.endswith("ABBA") else 0]


@pytest.mark.parametrize("two_digits", [True, False])
def test_greater_than_answers_are_the_later_years_or_their_first_digits(two_digits: bool) -> None:
    tokenizer = whole_words(two_digits=two_digits)
    given, clean = made("greater_than", tokenizer)
    for row, prompt in enumerate(given.inputs["clean"].prompts):
        year = int(str(prompt).split(" to ")[0][-2:])
        start, size = (year, 100) if two_digits else (year // 10, 10)
        numbers = [f"{n:02d}" if two_digits else str(n) for n in range(size)]
        ids = [tokenizer.convert_tokens_to_ids(number) for number in numbers]
        assert (list(clean.foils[row]), list(clean.answers[row])) == (ids[: start + 1], ids[start + 1 :])
        assert two_digits or (year % 10 == 9 and 1 <= start <= 8)
        assert clean.ids[row, clean.positions["year"][row]] == ids[start]
    assert all(" 1" in str(text) and "01 to" in str(text) for text in given.inputs["corrupt"].prompts)


def test_agreement_counts_the_subject_not_the_noun_beside_it(words: Any) -> None:
    given, clean = made("agreement", words, 16)
    plural = {words.convert_tokens_to_ids(f" {verb}") for verb in ("are", "were", "have")}
    for row, prompt in enumerate(given.inputs["clean"].prompts):
        subject = str(prompt).split()[1]
        assert (set(clean.answers[row]) == plural) == subject.endswith("s")
        changed = str(given.inputs["corrupt"].prompts[row]).split()[1]
        assert {changed, subject} == {subject.rstrip("s"), f"{subject.rstrip('s')}s"}


def test_pronouns_follow_the_name(words: Any) -> None:
    inputs = task_named("gendered_pronoun").make(words, 16).inputs
    for prompt, other, answer in zip(
        inputs["clean"].prompts, inputs["corrupt"].prompts, inputs["clean"].answers, strict=True
    ):
        man = str(prompt).split()[1] in MEN
        assert answer == (" he" if man else " she") and (str(other).split()[1] in MEN) is not man


def test_induction_labels_say_what_comes_next_in_the_second_copy(words: Any) -> None:
    given, clean = made("induction", words)
    for name in ("clean", "corrupt"):
        inputs = given.inputs[name]
        for row, ids in enumerate(encode(words, inputs).id_lists()):
            labels, start = inputs.labels[row], clean.positions["second_start"][row]
            assert ids[0] == words.bos_token_id and labels[:start] == (None,) * start
            assert labels[start:-1] == ids[start + 1 :]
            if name == "clean":
                assert ids[start:] == ids[1 : len(ids) - start + 1]
                assert labels[-1] == clean.answers[row][0] == ids[clean.positions["answer_first"][row]]


def test_the_docstring_asks_for_the_argument_after_the_one_documented_last(words: Any) -> None:
    for variant in ("head", "docstring"):
        given, clean = made("docstring", words, variant=variant)
        corrupt = encode(words, given.inputs["corrupt"])
        for row in range(SHORT):
            at = {role: places[row] for role, places in clean.positions.items()}
            assert clean.ids[row, at["answer_arg"]] == clean.answers[row][0]
            assert clean.ids[row, at["previous_arg"]] == clean.ids[row, at["previous_param"]]
            changed = clean.ids[row] != corrupt.ids[row]
            assert bool(changed[at["answer_arg"]]) is (variant == "head")
            assert bool(changed[at["previous_param"]]) is (variant == "docstring")


def test_capitals_are_also_facts(words: Any) -> None:
    inputs = task_named("facts").make(words, 4).inputs
    assert inputs == task_named("capitals").make(words, 4).inputs
    assert inputs["clean"].answers != inputs["clean"].foils


def test_pairs_that_a_tokenizer_splits_are_dropped_and_counted(words: Any) -> None:
    vocabulary = {piece: i for piece, i in words.get_vocab().items() if piece != " Mary"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(words.backend_tokenizer.to_str()))
    tokenizer.backend_tokenizer.model = models.BPE(
        vocab=vocabulary | {c: 10_000 + i for i, c in enumerate(" Mary") if c not in vocabulary}, merges=[],
        ignore_merges=True,
    )  # fmt: skip
    given, _ = made("gendered_pronoun", tokenizer, 40)
    assert given.dropped > 0 and given.note.startswith(f"dropped {given.dropped} of {40 + given.dropped} pairs: ")
    assert "‘Mary’ is 5 tokens" in given.note
    assert not any("Mary" in str(p) for inputs in given.inputs.values() for p in inputs.prompts)


@pytest.mark.parametrize("kind", ["byte-level BPE", "bytes"])
def test_a_tokenizer_that_splits_all_words_is_refused_with_the_reason(kind: str) -> None:
    with pytest.raises(InputError, match=r"ioi gives 0 of 4 pairs .* is \d+ tokens"):
        task_named("ioi").make(small_tokenizers.KINDS[kind](), 4)


@pytest.mark.parametrize(
    ("kind", "place", "lead"), [("byte-level BPE", "store", 0), ("WordPiece", "store", 1), ("bytes", "a", 0)]
)
def test_places_count_the_special_tokens_that_stand_in_front_not_those_behind(kind: str, place: str, lead: int) -> None:
    tokenizer = small_tokenizers.KINDS[kind]()
    reader = Reader(tokenizer)
    sample = reader.sample("the{place}" if kind == "bytes" else "the {place}", {"place": place})
    fed = encode(tokenizer, PromptSet(prompts=(sample.prompt,)))
    assert (reader.lead, sample.length) == (lead, fed.lengths[0])
    assert fed.strings[0][sample.positions["place"]].strip("·") == place
    assert sample.positions["end"] == sample.positions["place"]


def test_an_answer_is_the_token_that_follows_the_prompt_whatever_it_is_alone() -> None:
    tokenizer = whole_words(two_digits=True)
    tokenizer.backend_tokenizer.normalizer = normalizers.Prepend(" ")
    reader = Reader(tokenizer)
    assert reader.answer("So Mary", " is") == "is"
    assert reader.answer("in the year 17", "32") == IdAnswer(id=tokenizer.convert_tokens_to_ids("32"))


def test_years_that_split_elsewhere_are_refused() -> None:
    with pytest.raises(InputError, match=r"greater_than needs years that split after the century"):
        task_named("greater_than").make(small_tokenizers.wordpiece(), 4)


@pytest.mark.parametrize(
    ("ask", "words_of_error"),
    [
        (lambda t: task_named("luck"), "unknown task 'luck'"),
        (lambda t: task_named("ioi").make(t, 4, 0, "luck"), "no corruption 'luck'"),
        (lambda t: task_named("ioi").make(t, 0), "0 pairs cannot be made"),
        (lambda t: task_named("ioi").make(None, 4), "without a tokenizer"),
        (lambda t: task_named("gendered_pronoun").make(t, 100), r"60 different prompts; 100 were asked for"),
    ],
)
def test_impossible_requests_say_what_is_possible(words: Any, ask: Callable[[Any], Any], words_of_error: str) -> None:
    with pytest.raises(InputError, match=words_of_error):
        ask(words)


def test_templates_are_one_per_prompt_and_travel_with_the_batch() -> None:
    tokenizer, info = (
        small_tokenizers.byte_level(),
        ModelInfo.model_construct(
            task="causal", pixels=None, positions="rotary", n_embed=None, n_ctx=None, filler=None
        ),
    )
    inputs = PromptSet(prompts=("a", "b", "a b"), templates=("x", "y", "x"))
    batch = encode_inputs(tokenizer, None, info, inputs)
    assert batch.templates == ("x", "y", "x")
    assert batch.select([2, 1]).templates == ("x", "y") and batch.rows(1, 3).templates == ("y", "x")
    with pytest.raises(InputError, match="3 prompts but 1 templates"):
        encode_inputs(tokenizer, None, info, inputs.model_copy(update={"templates": ("x",)}))
    assert "templates" not in PromptSet(prompts=("a",)).model_dump(mode="json")
