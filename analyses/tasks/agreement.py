"""Subject-verb agreement across a noun that stands between: "The keys that the boy likes … are"."""

from __future__ import annotations

import random

from analyses.tasks._reading import Reader
from analyses.tasks._words import words
from analyses.tasks.base import Pair, Task

NOUNS = words(
    """
    key dog cat car book table chair picture house boat bird horse garden letter window ship train phone apple
    bag
    """
)
PEOPLE = words(
    """
    boy girl doctor teacher student friend farmer driver worker king
    """
)
VERBS = words(
    """
    like want need see love know
    """
)
SINGULAR, PLURAL = (" is", " was", " has"), (" are", " were", " have")
TEMPLATES = {"that": "The {subject} that the {noun} {verb}", "near": "The {subject} near the {noun}"}


def draw(rng: random.Random, reader: Reader, variant: str) -> Pair:
    """A subject in one number with another noun after it, and its twin with the subject in the other number."""
    form, plural, many = rng.choice(tuple(TEMPLATES)), rng.random() < 0.5, rng.random() < 0.5
    subject, other, person, verb = *rng.sample(NOUNS, 2), rng.choice(PEOPLE), rng.choice(VERBS)
    filled = {"noun": person + "s" * many, "verb": verb + "s" * (not many)} if form == "that" else {"noun": f"{other}s"}
    clean = reader.sample(TEMPLATES[form], {"subject": subject + "s" * plural, **filled})
    corrupt = reader.sample(TEMPLATES[form], {"subject": subject + "s" * (not plural), **filled})
    text = str(clean.prompt)
    one, several = reader.answers(text, *SINGULAR), reader.answers(text, *PLURAL)
    return Pair(form, clean, corrupt, several if plural else one, one if plural else several)


TASK = Task(
    name="agreement",
    title="Subject-verb agreement",
    summary="The verb takes the number of the subject, not of the noun beside it.",
    template="The NOUN that the NOUN VERB | The NOUN near the NOUNs",
    metric="logit_diff",
    variants={"number": "the subject in the other number"},
    roles={"subject": "the subject", "noun": "the noun between", "end": "the last token"},
    source="Linzen et al. 2016, arXiv 1611.01368",
    draw=draw,
)
