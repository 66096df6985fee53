"""Edits that an analysis makes before it looks: the field of its parameters, and how a sentence names them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SerializeAsAny

from analyses.edit_words import edits_in_words
from hooks.interventions import Intervention, parse_intervention


def _parsed(value: Iterable[Any]) -> tuple[Intervention, ...]:
    return tuple(parse_intervention(edit) for edit in value)


Edits = Annotated[
    tuple[SerializeAsAny[Intervention], ...],
    BeforeValidator(_parsed),
    Field(default=(), exclude_if=lambda edits: not edits),
]
"""Interventions under which everything is run. Not written where there are none: experiments keep their id."""


def under_edits_in_words(edits: tuple[Intervention, ...]) -> str:
    """The end of a sentence: ", under edits: zero head 3.2"; "" where there are none."""
    return f", under edits: {edits_in_words(edits)}" if edits else ""
