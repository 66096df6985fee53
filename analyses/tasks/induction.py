"""Induction: random tokens twice, [BOS] r r without its last token, which is asked for.

Beside the answer at the end, each position of the second copy is labelled with the token that comes next, so that
`label_loss` is the loss on the repetition; the corrupted prompts, whose second copy is drawn anew, have labels too.
"""

from __future__ import annotations

import random

from analyses.tasks._reading import Reader, Sample
from analyses.tasks.base import Pair, Task
from hooks.prompts import IdAnswer, IdsPrompt

LENGTH = 25
"""Tokens of r."""


def draw(rng: random.Random, reader: Reader, variant: str) -> Pair:
    """r, and its twin whose second copy is another draw; the foil is another token of r."""
    bos = getattr(reader.tokenizer, "bos_token_id", None)
    front = () if bos is None else (int(bos),)
    first, second = (tuple(rng.sample(reader.ordinary, LENGTH)) for _ in range(2))
    wrong = rng.choice(first[:-1])
    return Pair(
        "random tokens",
        _sample(front, first, first),
        _sample(front, first, second),
        (IdAnswer(id=first[-1]),),
        (IdAnswer(id=wrong),),
    )


def _sample(front: tuple[int, ...], first: tuple[int, ...], second: tuple[int, ...]) -> Sample:
    ids = (*front, *first, *second[:-1])
    start = len(front) + LENGTH
    positions = {"answer_first": start - 1, "second_start": start, "end": len(ids) - 1}
    return Sample(IdsPrompt(ids=ids), len(ids), positions, ((None,) * start + second[1:]))


TASK = Task(
    name="induction",
    title="Induction",
    summary="A sequence of random tokens is repeated: the token that followed once follows again.",
    template="[BOS] r r, of 25 random tokens, without the last one",
    metric="logit_diff",
    variants={"redrawn": "the second copy is drawn anew"},
    roles={
        "answer_first": "the first time of the token that is asked for",
        "second_start": "where the second copy begins",
        "end": "the last token",
    },
    source="Olsson et al. 2022, arXiv 2209.11895",
    draw=draw,
)
