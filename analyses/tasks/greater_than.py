"""Greater-than: something lasted from one year to another of the same century, so the second year is later.

Where a vocabulary has all two-digit pieces, the answers are those above the first year and the foils all others, both
in rising order. Where it splits numbers into digits, only the first digit is asked for: first years are 19, 29 … 89, so
that a higher digit is always a later year and any other never is. Other vocabularies cannot have the task.
"""

from __future__ import annotations

import random
from dataclasses import replace

from analyses.tasks._reading import Reader, Sample, Unfit
from analyses.tasks._words import words
from analyses.tasks.base import Pair, Task
from hooks.errors import InputError

NOUNS = words(
    """
    war siege reign voyage treaty dynasty conflict campaign journey project strike trial truce drought festival
    expedition alliance
    """
)
CENTURIES, YEARS = range(11, 18), range(2, 99)
PAIRS, DIGITS = tuple(f"{year:02d}" for year in range(100)), tuple(map(str, range(10)))
FIRST = "01"
STEM = "The {{noun}} lasted from the year {century}"


def pieces(reader: Reader) -> tuple[str, ...]:
    """The numbers that are one token after a century: two digits, or one. Raises InputError where neither are."""
    stem = STEM.format(century=17).format(noun="war")
    for numbers in (PAIRS, DIGITS):
        if all(reader.follows(stem, number) is not None for number in numbers):
            return numbers
    raise InputError(
        "greater_than needs years that split after the century, such as 17|32: this model's tokenizer splits them"
        f" otherwise (1732 in {len(reader.ids(' 1732'))} tokens).",
        "Choose a model whose tokenizer keeps two-digit pieces, or one that splits numbers into digits.",
    )


def draw(rng: random.Random, reader: Reader, variant: str) -> Pair:
    """A prompt of one century, and its twin with the year 01."""
    noun, century, year = rng.choice(NOUNS), rng.choice(CENTURIES), rng.choice(YEARS)
    numbers = pieces(reader)
    if numbers is DIGITS:
        year = min(max(year // 10, 1), 8) * 10 + 9
    clean, corrupt = (_sample(reader, noun, century, text) for text in (f"{year:02d}", FIRST))
    start = year if numbers is PAIRS else year // 10
    allowed = reader.answers(str(clean.prompt), *numbers)
    return Pair("year", clean, corrupt, allowed[start + 1 :], allowed[: start + 1])


def _sample(reader: Reader, noun: str, century: int, year: str) -> Sample:
    stem = STEM.format(century=century)
    made = reader.sample(f"{stem}{year} to the year {century}", {"noun": noun})
    before, after = (reader.ids(text.format(noun=noun)) for text in (stem, stem + year))
    size = 1 if pieces(reader) is PAIRS else len(year)
    if len(after) != len(before) + size or after[: len(before)] != before:
        raise Unfit(f"{century}{year} does not split after the century")
    if reader.ids(str(made.prompt))[: len(after)] != after:
        raise Unfit(f"{century}{year} is joined with what stands beside it")
    return replace(made, positions={**made.positions, "year": reader.lead + len(before)})


TASK = Task(
    name="greater_than",
    title="Greater-than",
    summary="A later year of the same century comes after the first one.",
    template="The NOUN lasted from the year XXYY to the year XX",
    metric="prob_diff",
    variants={"01": "the year YY becomes 01, after which every year is later"},
    roles={"noun": "what lasted", "year": "YY, or its first digit", "end": "the last token, the century"},
    source="Hanna et al. 2023, arXiv 2305.00586",
    draw=draw,
)
