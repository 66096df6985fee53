"""Task: a data set made from templates, as pairs of prompts that differ in one fact, checked with a tokenizer.

A task draws pairs from a seed: candidate i depends on the task, the seed and i alone. A candidate whose words are not
one token each, or whose prompts differ in length, is dropped and counted; the first n that fit are the data set. The
same seed so gives the same prompts, and a larger n begins with those of a smaller one.

    clean      prompts that show the behaviour, with the tokens that are right (answers) and wrong (foils) after them
    corrupt    the same prompts with one fact changed; measured on the same answers and foils as the clean ones
    reference  prompts of the same templates in which the question has no answer, for means (where a task has them)
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from analyses.tasks._reading import Reader, Sample, Unfit
from hooks.errors import InputError
from hooks.prompts import Answer, PromptSet

LONGEST_ABBREVIATION = 4
TRIES, FREE_TRIES = 100, 1000
"""Candidates that are looked at: so many per wanted pair, and so many in any case."""
MOST = 10_000
SHOWN_REASONS = 4


@dataclass(frozen=True)
class Pair:
    """A clean prompt, its corrupted twin, and its reference where the task has one.

    template: the template's label. answers, foils: the words, or token ids, that may follow; reduced by the metric.
    """

    template: str
    clean: Sample
    corrupt: Sample
    answers: tuple[Any, ...]
    foils: tuple[Any, ...]
    reference: Sample | None = None


@dataclass(frozen=True)
class TaskInputs:
    """What a task gives for a tokenizer: prompt sets by name, and in `note` what was dropped and why, "" if nothing."""

    inputs: Mapping[str, PromptSet]
    dropped: int = 0
    note: str = ""


@dataclass(frozen=True)
class Task:
    """A task. metric: the name of the usual metric. variants: kinds of corruption in words, the usual one first.

    template: the prompt in words. source: where the task comes from. roles: the named positions, in words. draw: one
    candidate from a random generator, the tokenizer's reader and the variant; raises Unfit. aliases: other names of it.
    """

    name: str
    title: str
    summary: str
    template: str
    metric: str
    variants: Mapping[str, str]
    roles: Mapping[str, str]
    source: str
    draw: Callable[[random.Random, Reader, str], Pair]
    aliases: tuple[str, ...] = field(default=())

    @property
    def variant(self) -> str:
        """The usual corruption."""
        return next(iter(self.variants))

    @property
    def short(self) -> str:
        """What it is called where there is little room: its abbreviation where it has one, such as "IOI"."""
        return self.name.upper() if len(self.name) <= LONGEST_ABBREVIATION else self.title

    def make(self, tokenizer: Any, n: int = 16, seed: int = 0, variant: str = "") -> TaskInputs:
        """`n` pairs for the model whose tokenizer this is. variant: the corruption, the usual one where it is "".

        Raises InputError for an unknown variant, and where the tokenizer leaves fewer than n pairs, with the reason.
        """
        variant = variant or self.variant
        if variant not in self.variants:
            raise InputError(
                f"{self.name} has no corruption '{variant}'.", f"Known: {', '.join(map(str, self.variants))}."
            )
        if not 1 <= n <= MOST:
            raise InputError(f"{n} pairs cannot be made.", f"Ask for 1 to {MOST:,}.")
        if tokenizer is None:
            raise InputError("this model came without a tokenizer.", "Give your own prompts as ids.")
        pairs, reasons = self._pairs(Reader(tokenizer), n, seed, variant)
        if len(pairs) < n:
            raise self._too_few(n, len(pairs), reasons)
        return TaskInputs(_sets(pairs), reasons.total(), _note(n, reasons))

    def _pairs(self, reader: Reader, n: int, seed: int, variant: str) -> tuple[list[Pair], Counter[str]]:
        pairs: dict[object, Pair] = {}
        reasons: Counter[str] = Counter()
        for number in range(n * TRIES + FREE_TRIES):
            try:
                pair = self.draw(random.Random(f"{self.name}/{seed}/{number}"), reader, variant)
                _check_lengths(pair)
            except Unfit as unfit:
                reasons[str(unfit)] += 1
                continue
            pairs.setdefault(pair.clean.prompt, pair)
            if len(pairs) == n:
                break
        return list(pairs.values()), reasons

    def _too_few(self, n: int, made: int, reasons: Counter[str]) -> InputError:
        if not reasons:
            return InputError(f"{self.name} has {made} different prompts; {n} were asked for.", f"Ask for {made}.")
        hint = f"Ask for at most {made}." if made else "Choose a model whose tokenizer keeps common words whole."
        return InputError(
            f"{self.name} gives {made} of {n} pairs with this model's tokenizer: {_listed(reasons)}.", hint
        )


def _check_lengths(pair: Pair) -> None:
    others = [sample for sample in (pair.corrupt, pair.reference) if sample is not None]
    if any(sample.length != pair.clean.length for sample in others):
        raise Unfit("the prompts of a pair differ in length")


def _note(n: int, reasons: Counter[str]) -> str:
    dropped = reasons.total()
    return f"dropped {dropped} of {n + dropped} pairs: {_listed(reasons)}" if dropped else ""


def _listed(reasons: Counter[str]) -> str:
    shown = [f"{reason} ({count}×)" if count > 1 else reason for reason, count in reasons.most_common(SHOWN_REASONS)]
    rest = len(reasons) - len(shown)
    return ", ".join(shown) + (f" and {rest} more reasons" if rest else "")


def _sets(pairs: list[Pair]) -> dict[str, PromptSet]:
    answers = {"answers": _answers([pair.answers for pair in pairs]), "foils": _answers([pair.foils for pair in pairs])}
    templates = tuple(pair.template for pair in pairs)
    sets = {
        "clean": _set([pair.clean for pair in pairs], templates, **answers),
        "corrupt": _set([pair.corrupt for pair in pairs], templates, **answers),
    }
    references = [pair.reference for pair in pairs if pair.reference is not None]
    return sets | ({"reference": _set(references, templates)} if references else {})


def _set(samples: list[Sample], templates: tuple[str, ...], **answers: Any) -> PromptSet:
    labels = tuple(sample.labels for sample in samples if sample.labels)
    return PromptSet(
        prompts=tuple(sample.prompt for sample in samples),
        positions={role: tuple(sample.positions[role] for sample in samples) for role in samples[0].positions},
        templates=templates,
        labels=labels,
        **answers,
    )


def _answers(given: list[tuple[Any, ...]]) -> tuple[Answer, ...]:
    """One answer per prompt: by itself where there is one, else a set."""
    return tuple(words[0] if len(words) == 1 else words for words in given)
