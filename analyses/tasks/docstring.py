"""Docstring: after ":param" comes the argument that follows, in the function's head, the one documented before."""

from __future__ import annotations

import random
from dataclasses import replace

from analyses.tasks._reading import Reader, Sample
from analyses.tasks._words import words
from analyses.tasks.base import Pair, Task

FUNCTIONS = words(
    """
    port load move send build find
    """
)
ARGUMENTS = words(
    """
    file size name time line port user page code list order point group state result field model event test view
    item path text value table key color image score level date node word part role plan shape
    """
)
WORDS = words(
    """
    water city paper night money road music river story winter summer stone world house door
    """
)
DOCUMENTED = 2
"""Arguments whose line is complete; the next one is asked for."""


def draw(rng: random.Random, reader: Reader, variant: str) -> Pair:
    """A head of five or six arguments of which two are documented; its twin names others in the head or the lines."""
    function, count = rng.choice(FUNCTIONS), rng.choice((5, 6))
    names = rng.sample(ARGUMENTS, 2 * count)
    head, others = names[:count], names[count:]
    about = rng.sample(WORDS, 2 * DOCUMENTED + 1)
    clean = _sample(reader, function, head, head, about)
    if variant == "head":
        corrupt = _sample(reader, function, others, head, about)
    else:
        corrupt = _sample(reader, function, head, others, about)
    text = str(clean.prompt)
    right = reader.answers(text, f" {head[DOCUMENTED]}")
    wrong = reader.answers(text, *(f" {name}" for name in head if name != head[DOCUMENTED]))
    return Pair(f"{count} arguments", clean, corrupt, right, wrong)


def _sample(reader: Reader, function: str, head: list[str], documented: list[str], about: list[str]) -> Sample:
    arguments = ", ".join(f"{{arg_{i}}}" for i in range(len(head)))
    lines = "".join(f"    :param {{param_{i}}}: {about[2 * i + 1]} {about[2 * i + 2]}\n" for i in range(DOCUMENTED))
    template = f'def {function}(self, {arguments}):\n    """{about[0]}\n\n{lines}    :param'
    names = {f"arg_{i}": name for i, name in enumerate(head)}
    names |= {f"param_{i}": name for i, name in enumerate(documented[:DOCUMENTED])}
    made = reader.sample(template, names)
    places = {
        "previous_arg": f"arg_{DOCUMENTED - 1}",
        "answer_arg": f"arg_{DOCUMENTED}",
        "next_arg": f"arg_{DOCUMENTED + 1}",
        "previous_param": f"param_{DOCUMENTED - 1}",
        "end": "end",
    }
    return replace(made, positions={role: made.positions[place] for role, place in places.items()})


TASK = Task(
    name="docstring",
    title="Docstring arguments",
    summary="The next argument to document is the one that follows in the function's head.",
    template='def FUNCTION(self, NAME, NAME, …): """… :param NAME: … :param NAME: … :param',
    metric="logit_diff",
    variants={"head": "other argument names in the head", "docstring": "other argument names in the docstring"},
    roles={
        "previous_arg": "in the head, the argument that was documented last",
        "answer_arg": "in the head, the argument that comes next",
        "next_arg": "in the head, the argument after that",
        "previous_param": "in the docstring, the argument that was documented last",
        "end": "the last token",
    },
    source="Heimersheim and Janiak 2023, A circuit for Python docstrings in a 4-layer attention-only transformer",
    draw=draw,
)
