"""Test sets as they are published, one JSON object per line, read into the inputs of an evaluation.

The prompts become part of the experiment, so that it needs the file no more. What kind of file it is shows in the
fields of its first line:

    sentence_good, sentence_bad                       BLiMP: minimal pairs, grouped by UID
    question, choices, answer                         MMLU: the letter after "Answer:", grouped by subject
    ctx, endings, label                               HellaSwag: the ending of a scene, grouped by activity_label
    question, best_answer, incorrect_answers          TruthfulQA: the answer after "A:", grouped by category
    prompt, choices, right                            a user's own choices, grouped by template
    text                                              texts for perplexity

A file that is not JSON lines is one text. Text in, frozen values out; nothing is opened here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hooks.errors import InputError
from hooks.prompts import PromptSet

Kind = Literal["multiple_choice", "minimal_pairs", "perplexity"]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
Line = Mapping[str, Any]


@dataclass(frozen=True)
class ItemSet:
    """What a file holds: the kind of its items, and the inputs by name. format: the file's, in a word."""

    format: str
    kind: Kind
    inputs: Mapping[str, PromptSet]


@dataclass(frozen=True)
class _Item:
    """One question: the prompt, what may follow it, and which of that is right."""

    prompt: str
    choices: tuple[str, ...]
    right: tuple[int, ...]
    group: str = ""


def read_test_set(text: str, *, json_lines: bool = True, every_answer: bool = False) -> ItemSet:
    """The test set in a file's `text`. json_lines: False for a plain text, whose perplexity is measured as a whole.

    every_answer: of TruthfulQA take all correct answers as right (its MC2: read `prob_right`), not the best one alone
    (MC1: read `accuracy`). Raises InputError that names the line and what it lacks.
    """
    if not json_lines:
        return _texts([text] if text.strip() else [])
    lines = _lines(text)
    if not lines:
        raise InputError("the file holds no line.", "Give one JSON object per line.")
    for fields, name, read in _FORMATS:
        if all(field in lines[0] for field in fields):
            return read(name, _complete(lines, fields, name), every_answer)
    known = "; ".join(f"{name}: {', '.join(fields)}" for fields, name, _ in _FORMATS)
    raise InputError(f"line 1 has the fields {', '.join(lines[0])}, which no format has.", f"Formats: {known}.")


def _lines(text: str) -> list[Line]:
    found: list[Line] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"line {number} is not JSON: {error.msg}.", "Give one JSON object per line.") from error
        if not isinstance(value, dict):
            raise InputError(f"line {number} is no JSON object.", "Give one JSON object per line.")
        found.append(value)
    return found


def _complete(lines: Sequence[Line], fields: Sequence[str], name: str) -> Sequence[Line]:
    for number, line in enumerate(lines, start=1):
        if missing := [field for field in fields if field not in line]:
            raise InputError(f"item {number} has no {missing[0]}.", f"{name} items have {', '.join(fields)}.")
    return lines


def _pairs(name: str, lines: Sequence[Line], every_answer: bool) -> ItemSet:
    groups = _groups([str(line.get("UID", "")) for line in lines])
    sides = (("clean", "sentence_good"), ("corrupt", "sentence_bad"))
    inputs = {
        side: PromptSet(prompts=tuple(str(line[field]) for line in lines), templates=groups) for side, field in sides
    }
    return ItemSet(name, "minimal_pairs", inputs)


def _questions(make: Callable[[Line, bool], _Item]) -> Callable[[str, Sequence[Line], bool], ItemSet]:
    """A reader of multiple-choice files, of which `make` reads one item."""

    def read(name: str, lines: Sequence[Line], every_answer: bool) -> ItemSet:
        items = []
        for number, line in enumerate(lines, start=1):
            try:
                items.append(_checked(make(line, every_answer)))
            except (TypeError, ValueError, LookupError, AttributeError) as error:
                raise InputError(
                    f"item {number} is not of the format {name}: {error}.", "docs/evaluation.md shows each format."
                ) from error
        inputs = PromptSet(
            prompts=tuple(item.prompt for item in items),
            choices=tuple(item.choices for item in items),
            right=tuple(item.right for item in items),
            templates=_groups([item.group for item in items]),
        )
        return ItemSet(name, "multiple_choice", {"clean": inputs})

    return read


def _checked(item: _Item) -> _Item:
    if len(item.choices) < 2:
        raise ValueError("it has fewer than two choices")
    if not item.right or not all(0 <= number < len(item.choices) for number in item.right):
        raise ValueError(f"the right choice {list(item.right)} is none of its {len(item.choices)}")
    return item


def _mmlu(line: Line, every_answer: bool) -> _Item:
    """The prompt of Hendrycks et al. 2020 without examples: subject, question, lettered choices, "Answer:"."""
    choices, answer, subject = line["choices"], line["answer"], str(line.get("subject", ""))
    about = f" about {subject.replace('_', ' ')}" if subject else ""
    letters = LETTERS[: len(choices)]
    listed = "".join(f"{letter}. {choice}\n" for letter, choice in zip(letters, choices, strict=True))
    head = f"The following are multiple choice questions (with answers){about}.\n\n"
    right = letters.index(answer) if isinstance(answer, str) else int(answer)
    prompt = f"{head}{str(line['question']).strip()}\n{listed}Answer:"
    return _Item(prompt, tuple(f" {letter}" for letter in letters), (right,), subject)


def _hellaswag(line: Line, every_answer: bool) -> _Item:
    """Activity and context, then each ending; WikiHow's markup is taken out as published evaluations do."""
    activity, context = str(line.get("activity_label", "")), str(line["ctx"])
    prompt = _without_markup(f"{activity}: {context}" if activity else context)
    endings = tuple(f" {_without_markup(str(ending))}" for ending in line["endings"])
    return _Item(prompt, endings, (int(line["label"]),), activity)


def _without_markup(text: str) -> str:
    return re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". ")).replace("  ", " ").strip()


def _truthfulqa(line: Line, every_answer: bool) -> _Item:
    """The question after "Q:", each answer after "A:"; MC1 knows the best answer alone, MC2 all correct ones."""
    best = str(line["best_answer"]).strip()
    good = _answers(line["correct_answers"]) if every_answer else [best]
    bad = _answers(line["incorrect_answers"])
    choices = tuple(f" {answer}" for answer in [*good, *bad])
    prompt = f"Q: {str(line['question']).strip()}\nA:"
    return _Item(prompt, choices, tuple(range(len(good))), str(line.get("category", "")))


def _answers(given: Any) -> list[str]:
    """Answers as a list, or as published: one text, separated by semicolons."""
    parts = given.split(";") if isinstance(given, str) else [str(answer) for answer in given]
    return [part.strip() for part in parts if part.strip()]


def _own(line: Line, every_answer: bool) -> _Item:
    right = line["right"]
    numbers = tuple(int(number) for number in right) if isinstance(right, list) else (int(right),)
    return _Item(str(line["prompt"]), tuple(str(c) for c in line["choices"]), numbers, str(line.get("template", "")))


def _text_lines(name: str, lines: Sequence[Line], every_answer: bool) -> ItemSet:
    return _texts([str(line["text"]) for line in lines])


def _texts(texts: Sequence[str]) -> ItemSet:
    if not texts or not all(text.strip() for text in texts):
        raise InputError("a text is empty.", "Give texts of at least two tokens.")
    return ItemSet("text", "perplexity", {"clean": PromptSet(prompts=tuple(texts), windowed=True)})


def _groups(names: Sequence[str]) -> tuple[str, ...]:
    """A label per item, or none at all where the file has none."""
    return tuple(names) if all(names) else ()


_FORMATS: tuple[tuple[tuple[str, ...], str, Callable[[str, Sequence[Line], bool], ItemSet]], ...] = (
    (("sentence_good", "sentence_bad"), "BLiMP", _pairs),
    (("question", "choices", "answer"), "MMLU", _questions(_mmlu)),
    (("ctx", "endings", "label"), "HellaSwag", _questions(_hellaswag)),
    (("question", "best_answer", "correct_answers", "incorrect_answers"), "TruthfulQA", _questions(_truthfulqa)),
    (("prompt", "choices", "right"), "choices", _questions(_own)),
    (("text",), "text", _text_lines),
)
