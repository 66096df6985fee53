"""Edits in words: what is done to which parts, as the predicates of a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from analyses.phrases import listed, part_in_words
from hooks.interventions import KINDS_BY_NAME, Intervention


def edits_in_words(edits: Sequence[Intervention]) -> str:
    """What some edits do, parts that are treated alike together: "zero head 3.2 and MLP 5, multiply head 1.0 by 2"."""
    alike: dict[str, tuple[Intervention, list[str]]] = {}
    for edit in edits:
        _, parts = alike.setdefault(edit.model_dump_json(exclude={"at"}), (edit, []))
        parts.append(part_in_words(edit.at))
    return ", ".join(_words(edit, listed(parts)) for edit, parts in alike.values())


def _words(edit: Intervention, parts: str) -> str:
    return KINDS_BY_NAME[edit.kind].words(edit, parts)
