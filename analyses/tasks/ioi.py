"""Indirect object identification: of two people, the one who was not named again is given something."""

from __future__ import annotations

import random
from dataclasses import replace

from analyses.tasks._reading import Reader, Sample
from analyses.tasks._words import NAMES, words
from analyses.tasks.base import Pair, Task

OPENINGS = ("When", "Then", "After")
ORDERS = {"ABBA": ("io", "s1"), "BABA": ("s1", "io")}
"""Which of the two is named first; ABBA: the indirect object."""
PLACES = words(
    """
    store park school garden office station market library museum hospital restaurant house
    """
)
OBJECTS = words(
    """
    drink book ring ball letter ticket snack computer bone kiss
    """
)


def draw(rng: random.Random, reader: Reader, variant: str) -> Pair:
    """A prompt in one of six templates (opening × order), its flip or ABC twin, and its ABC reference."""
    opening, order = rng.choice(OPENINGS), rng.choice(tuple(ORDERS))
    io, s, *others = rng.sample(NAMES, 5)
    place, thing = rng.choice(PLACES), rng.choice(OBJECTS)
    first, second = ORDERS[order]
    template = f"{opening} {{{first}}} and {{{second}}} went to the {{place}}, {{s2}} gave a {{object}} to"

    def sample(io: str, s1: str, s2: str) -> Sample:
        made = reader.sample(template, {"io": io, "s1": s1, "s2": s2, "place": place, "object": thing})
        return replace(made, positions={**made.positions, "s1_next": made.positions["s1"] + 1})

    clean, reference = sample(io, s, s), sample(*others)
    corrupt = sample(io, s, io) if variant == "flip" else reference
    text = str(clean.prompt)
    return Pair(
        f"{opening} {order}", clean, corrupt, reader.answers(text, f" {io}"), reader.answers(text, f" {s}"), reference
    )


TASK = Task(
    name="ioi",
    title="Indirect object identification",
    summary="Who is given something: the person who was not named twice.",
    template="When | Then | After NAME and NAME went to the PLACE, NAME gave a OBJECT to",
    metric="logit_diff",
    variants={
        "flip": "the second subject becomes the indirect object, so that the answer turns over",
        "abc": "three other names, so that there is no answer",
    },
    roles={
        "io": "the indirect object",
        "s1": "the subject, first time",
        "s1_next": "the token after it",
        "s2": "the subject, second time",
        "place": "the place",
        "object": "what is given",
        "end": "the last token",
    },
    source="Wang et al. 2022, arXiv 2211.00593",
    draw=draw,
)
