"""Files of test items: every format becomes prompts and choices, and a wrong line is named."""

from __future__ import annotations

import json

import pytest

from analyses.evaluation_files import read_test_set
from hooks.errors import InputError

MMLU = {"subject": "high_school_physics", "question": "What falls?", "choices": ["up", "down"], "answer": 1}
TRUTHFUL = {"question": "Who?", "best_answer": "Nobody", "correct_answers": "Nobody; No one", "category": "People",
            "incorrect_answers": "Everybody; You; Me"}  # fmt: skip


def lines(*items):
    return "\n".join(json.dumps(item) for item in items)


def test_mmlu_lists_lettered_choices_and_asks_for_the_letter():
    read = read_test_set(lines(MMLU, {**MMLU, "answer": "A"}))
    clean = read.inputs["clean"]
    assert (read.kind, clean.choices[0], clean.right) == ("multiple_choice", (" A", " B"), ((1,), (0,)))
    assert clean.prompts[0] == (
        "The following are multiple choice questions (with answers) about high school physics.\n\n"
        "What falls?\nA. up\nB. down\nAnswer:"
    )
    assert clean.templates == ("high_school_physics",) * 2


def test_truthfulqa_knows_the_best_answer_or_every_correct_one():
    one, every = (read_test_set(lines(TRUTHFUL), every_answer=many).inputs["clean"] for many in (False, True))
    assert one.prompts == ("Q: Who?\nA:",)
    assert one.choices[0] == (" Nobody", " Everybody", " You", " Me") and one.right == ((0,),)
    assert every.choices[0][:2] == (" Nobody", " No one") and every.right == ((0, 1),)


def test_hellaswag_loses_its_markup():
    item = {"activity_label": "Cooking", "ctx": "A man cooks. he", "label": "1",
            "endings": ["[header] eats [title] it.", "sleeps."]}  # fmt: skip
    clean = read_test_set(lines(item)).inputs["clean"]
    assert clean.prompts == ("Cooking: A man cooks. he",)
    assert clean.choices == ((" eats. it.", " sleeps."),) and clean.right == ((1,),)


def test_blimp_becomes_good_and_bad_sentences_in_their_paradigms():
    read = read_test_set(lines({"UID": "x", "sentence_good": "He is.", "sentence_bad": "He are."}))
    assert read.kind == "minimal_pairs"
    assert [read.inputs[name].prompts for name in ("clean", "corrupt")] == [("He is.",), ("He are.",)]
    assert read.inputs["clean"].templates == ("x",)


def test_a_plain_file_is_one_text_and_a_line_separator_does_not_end_a_json_line():
    assert read_test_set("One\nTwo", json_lines=False).inputs["clean"].prompts == ("One\nTwo",)
    text = '{"text": "a\u2028b"}\n{"text": "c"}'
    assert read_test_set(text).inputs["clean"].prompts == ("a\u2028b", "c")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no line"),
        ("{", "line 1 is not JSON"),
        ("[1]", "line 1 is no JSON object"),
        ('{"sentence": "x"}', "no format has"),
        (lines(MMLU, {"question": "x", "choices": ["a", "b"]}), "item 2 has no answer"),
        (lines({**MMLU, "answer": 2}), "none of its 2"),
        (lines({**MMLU, "answer": "Z"}), "item 1 is not of the format MMLU"),
        (lines({"text": " "}), "a text is empty"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(text, words):
    with pytest.raises(InputError, match=words):
        read_test_set(text)
