"""Capitals: a fact about a country that the model must know."""

from __future__ import annotations

import random

from analyses.tasks._reading import Reader
from analyses.tasks.base import Pair, Task

CAPITALS = {
    "France": "Paris",
    "Germany": "Berlin",
    "Italy": "Rome",
    "Spain": "Madrid",
    "England": "London",
    "Ireland": "Dublin",
    "Austria": "Vienna",
    "Greece": "Athens",
    "Russia": "Moscow",
    "Poland": "Warsaw",
    "Sweden": "Stockholm",
    "Norway": "Oslo",
    "Hungary": "Budapest",
    "Belgium": "Brussels",
    "Portugal": "Lisbon",
    "Japan": "Tokyo",
    "China": "Beijing",
    "Egypt": "Cairo",
    "Cuba": "Havana",
    "Iran": "Tehran",
    "Iraq": "Baghdad",
    "Syria": "Damascus",
    "Turkey": "Ankara",
    "Canada": "Ottawa",
    "Lebanon": "Beirut",
    "Kenya": "Nairobi",
    "Afghanistan": "Kabul",
    "Ukraine": "Kiev",
    "Finland": "Helsinki",
    "Denmark": "Copenhagen",
}
TEMPLATES = {"is": "The capital of {country} is", "possessive": "{country}'s capital,"}


def draw(rng: random.Random, reader: Reader, variant: str) -> Pair:
    """A country in one of two templates, and its twin with another country."""
    form, (own, other) = rng.choice(tuple(TEMPLATES)), rng.sample(tuple(CAPITALS), 2)
    clean = reader.sample(TEMPLATES[form], {"country": own})
    corrupt = reader.sample(TEMPLATES[form], {"country": other})
    right, wrong = reader.answers(str(clean.prompt), f" {CAPITALS[own]}", f" {CAPITALS[other]}")
    return Pair(form, clean, corrupt, (right,), (wrong,))


TASK = Task(
    name="capitals",
    title="Capitals",
    summary="The capital of a country: a fact that the model must know.",
    template="The capital of COUNTRY is | COUNTRY's capital,",
    metric="logit_diff",
    variants={"country": "another country"},
    roles={"country": "the country", "end": "the last token"},
    source="Merullo et al. 2023, arXiv 2305.16130",
    draw=draw,
    aliases=("facts",),
)
