"""Gendered pronoun: which pronoun goes with a first name."""

from __future__ import annotations

import random

from analyses.tasks._reading import Reader
from analyses.tasks._words import MEN, WOMEN
from analyses.tasks.base import Pair, Task

TEMPLATE = "So {name} is a great friend, isn't"


def draw(rng: random.Random, reader: Reader, variant: str) -> Pair:
    """A name, and its twin of the other gender."""
    he, she = rng.choice(MEN), rng.choice(WOMEN)
    male = rng.random() < 0.5
    clean = reader.sample(TEMPLATE, {"name": he if male else she})
    corrupt = reader.sample(TEMPLATE, {"name": she if male else he})
    pronouns = reader.answers(str(clean.prompt), " he", " she")
    right, wrong = pronouns if male else reversed(pronouns)
    return Pair("friend", clean, corrupt, (right,), (wrong,))


TASK = Task(
    name="gendered_pronoun",
    title="Gendered pronoun",
    summary="The pronoun that goes with a first name.",
    template="So NAME is a great friend, isn't",
    metric="logit_diff",
    variants={"name": "a name of the other gender"},
    roles={"name": "the name", "end": "the last token"},
    source="Mathwin et al. 2023, Identifying a Preliminary Circuit for Predicting Gendered Pronouns in GPT-2 Small",
    draw=draw,
)
