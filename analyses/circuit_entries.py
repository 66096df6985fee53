"""The edges in a file as the file writes them: JSON lists and objects, CSV rows. Every error names the entry."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hooks.errors import SpecError

MOST_ENTRIES = 2_000_000
LARGEST = 1e38
"""Scores are written as float32."""
FORMATS = "Formats: docs/circuits.md."
PRESENT = ("in_graph", "present")


@dataclass(frozen=True)
class Entry:
    """One edge as a file writes it. where: what errors call it."""

    where: str
    source: str
    target: str
    channel: str = ""
    score: Any = None
    present: Any = True

    def number(self) -> float | None:
        """The score. Raises SpecError for one that is no finite number."""
        if self.score is None:
            return None
        number = isinstance(self.score, int | float) and not isinstance(self.score, bool)
        if not number or not abs(self.score) < LARGEST:
            raise SpecError(f"{self.where}: the score {self.score!r:.40} is no finite number.", FORMATS)
        return float(self.score)

    def kept(self) -> bool:
        """Whether the file calls the edge part of the circuit. Raises SpecError for neither yes nor no."""
        if not isinstance(self.present, bool):
            raise SpecError(f"{self.where}: {self.present!r:.40} is neither true nor false.", FORMATS)
        return self.present


def json_of(text: str) -> Any:
    """The JSON value in `text`. Raises SpecError."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise SpecError(f"the file is no JSON: line {error.lineno}: {error.msg}.", FORMATS) from error
    except (RecursionError, ValueError) as error:
        raise SpecError(
            "the file is no circuit: it is nested too deeply or holds a number too long.", FORMATS
        ) from error


def entries_of(listed: Any) -> Iterator[Entry]:
    """The edges of a JSON list or object. Raises SpecError for an entry that is none."""
    if not isinstance(listed, list | dict) or not listed:
        raise SpecError("the file holds no edges.", FORMATS)
    if len(listed) > MOST_ENTRIES:
        raise SpecError(f"the file holds {len(listed):,} edges; {MOST_ENTRIES:,} are read at most.", FORMATS)
    if isinstance(listed, dict):
        for name, value in listed.items():
            yield _arrow(f"edge '{name[:80]}'", name, value)
        return
    for number, item in enumerate(listed):
        yield _entry(f"entry edges[{number}]", item)


def _entry(where: str, item: Any) -> Entry:
    if isinstance(item, str):
        return _arrow(where, item, None)
    if isinstance(item, dict) and isinstance(item.get("source"), str) and isinstance(item.get("target"), str):
        present = next((item[name] for name in PRESENT if name in item), True)
        return Entry(where, item["source"], item["target"], str(item.get("channel") or ""), item.get("score"), present)
    if isinstance(item, list):
        ends, value = (item[0], item[1]) if len(item) == 2 and isinstance(item[0], list) else (item, None)
        if len(ends) == 4 and all(isinstance(name, str) for name in ends[::2]):
            receiver, sender = (f"{ends[at]}{_index(ends[at + 1])}" for at in (0, 2))
            return _valued(where, sender, receiver, value)
        if len(ends) == 2 and all(isinstance(name, str) for name in ends):
            return _valued(where, ends[0], ends[1], value)
    raise SpecError(f"{where} is no edge.", FORMATS)


def _index(index: Any) -> str:
    """ACDC's index as text: [null, null, 3] and "[:, :, 3]" alike."""
    if isinstance(index, list):
        return "[" + ", ".join(":" if item is None else str(item) for item in index) + "]"
    return str(index)


def _arrow(where: str, text: str, value: Any) -> Entry:
    """An edge written as `source->target`."""
    ends = text.replace("→", "->").split("->")
    if len(ends) != 2:
        raise SpecError(f"{where} is not written as source->target.", "Such as m0->a2.h3<v>.")
    return _valued(where, ends[0], ends[1], value)


def _valued(where: str, source: str, target: str, value: Any) -> Entry:
    """value: a score, whether the edge is present, both by name, or None."""
    if isinstance(value, dict):
        present = next((value[name] for name in PRESENT if name in value), True)
        return Entry(where, source, target, score=value.get("score"), present=present)
    if isinstance(value, bool):
        return Entry(where, source, target, present=value)
    return Entry(where, source, target, score=value)


def entries_of_csv(text: str) -> Iterator[Entry]:
    """The edges of a CSV file with a header. Raises SpecError that names the line."""
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip().lower() for name in reader.fieldnames or ()]
        if not {"source", "target"} <= set(header) and "edge" not in header:
            raise SpecError(
                "the file is neither JSON nor a CSV file of edges.", "Columns: source, target, channel, score."
            )
        reader.fieldnames = header
        for row in reader:
            where = f"line {reader.line_num}"
            if None in row or None in row.values():
                raise SpecError(f"{where} has {'more' if None in row else 'fewer'} fields than the header.", FORMATS)
            if "edge" in header:
                yield _arrow(where, row["edge"], _number(where, row.get("score", "")))
            else:
                score = _number(where, row.get("score", ""))
                yield Entry(where, row["source"], row["target"], row.get("channel", "").strip(), score)
    except csv.Error as error:
        raise SpecError(f"line {reader.line_num} is no CSV: {error}.", FORMATS) from error


def _number(where: str, text: str) -> float | None:
    try:
        return float(text) if text.strip() else None
    except ValueError as error:
        raise SpecError(f"{where}: the score '{text[:40]}' is no number.", FORMATS) from error
