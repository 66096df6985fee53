"""What the Tokenizer page knows: asked of the tokenizer alone, without the model."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hooks.errors import InputError, WorkbenchError
from hooks.prompts import PromptSet
from hooks.reference import ModelRef
from hooks.token_build import Build, build
from hooks.token_split import SplitToken
from hooks.token_text import character_groups, display
from hooks.tokenizer_facts import TokenizerFacts, facts
from hooks.tokens import TokenBatch, encode
from workbench import tokenizer_report
from workbench.export.csv import escape
from workbench.figures.numbers import whole
from workbench.parts.next_token import inputs_of
from workbench.tokenizer_report import LanguageCount, Report
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.workspace import Workspace

COVERED = ("word", "start", "stop", "byte_start", "byte_stop", "bytes")
COLUMNS = ("pos", "id", "token", "special", "group", "piece", "pieces", "text", *COVERED)
MOST_LOOKED_UP = 200


@dataclass(frozen=True)
class Seen:
    """All that the page shows of a state.

    report, batch: None where the text cannot be split, and then `wrong` says why. refused: why the model cannot take
    the text although it splits, such as its length.
    """

    facts: TokenizerFacts
    languages: tuple[LanguageCount, ...]
    batch: TokenBatch | None = None
    report: Report | None = None
    wrong: WorkbenchError | None = None
    refused: WorkbenchError | None = None


@dataclass(frozen=True)
class Found:
    """A looked-up string or list of ids. rows: id and display form of each; text: what they say together."""

    rows: tuple[tuple[int, str], ...]
    text: str
    note: str = ""


def see(workspace: Workspace, state: State) -> Seen:
    """Ask the tokenizer of the state's model about the state's prompt. Raises ModelError."""
    ref = ModelRef.model_validate(state.model)
    inputs = inputs_of(state)

    def question(tokenizer: Any, folder: Path) -> Seen:
        where = tokenizer_report.origin(folder, companion=ref.tokenizer is not None)
        counts = tokenizer_report.languages(tokenizer)
        try:
            batch = encode(tokenizer, inputs)
        except InputError as error:
            return Seen(facts(tokenizer, where), counts, wrong=error)
        report = tokenizer_report.report(tokenizer, inputs, batch, where)
        return Seen(report.facts, counts, batch, report)

    seen = workspace.ask_tokenizer(ref, question)
    return seen if seen.wrong else replace(seen, refused=_refusal(workspace, ref, inputs))


def _refusal(workspace: Workspace, ref: ModelRef, inputs: PromptSet) -> WorkbenchError | None:
    try:
        workspace.tokens(ref, inputs)
    except InputError as error:
        return error
    return None


def counted(count: int, name: str) -> str:
    """A number of things in words: 1 token, 2 tokens."""
    return f"{whole(count)} {name}{'' if count == 1 else 's'}"


def selected(state: State, count: int) -> int:
    """The token that is looked at: that of the address where there is one, else the last."""
    return count - 1 if state.position is None else min(state.position, count - 1)


def build_of(workspace: Workspace, state: State, token: int) -> Build:
    """How a token comes about. Raises InputError, ModelError."""
    return workspace.ask_tokenizer(state.model, lambda tokenizer, _: build(tokenizer, token))


def word_of(rows: Sequence[SplitToken], pos: int) -> tuple[SplitToken, ...]:
    """The tokens of the same word, as the pre-tokeniser parted them; the token alone where there is no word."""
    word = rows[pos].word
    return (rows[pos],) if word is None else tuple(row for row in rows if row.word == word)


def look_up(workspace: Workspace, model: str, asked: str) -> Found | None:
    """What `text:…` or `ids:…` stands for; None for an empty question. Raises InputError, ModelError."""
    kind, _, value = asked.partition(":")
    if not value:
        return None
    if kind == "ids":
        ids = _ids(value)
        return workspace.ask_tokenizer(model, lambda tokenizer, _: _strings(tokenizer, ids))
    return workspace.ask_tokenizer(model, lambda tokenizer, _: _found(tokenizer, value))


def _found(tokenizer: Any, text: str) -> Found:
    batch = encode(tokenizer, PromptSet(prompts=(text,), special="none"))
    rows = tuple(zip(batch.id_lists()[0], batch.strings[0], strict=True))
    return Found(
        rows, _said(batch.strings[0]), "" if text.startswith(" ") or len(rows) == 1 else _spaced(tokenizer, text)
    )


def _spaced(tokenizer: Any, text: str) -> str:
    ids = encode(tokenizer, PromptSet(prompts=(f" {text}",), special="none")).id_lists()[0]
    return f"With a space in front it is one token, id {ids[0]}." if len(ids) == 1 else ""


def _ids(value: str) -> list[int]:
    parts = [part for part in re.split(r"[\s,;\[\]()]+", value) if part]
    wrong = next((part for part in parts if not (part.isascii() and part.isdigit() and len(part) < 12)), None)
    if wrong is not None:
        raise InputError(f"“{wrong}” is not a token id.", "Write whole numbers from 0 on, such as 12 7 301.")
    if len(parts) > MOST_LOOKED_UP:
        raise InputError(f"{len(parts)} ids are too many to look up at once.", f"Give at most {MOST_LOOKED_UP}.")
    return [int(part) for part in parts]


def _strings(tokenizer: Any, ids: Sequence[int]) -> Found:
    beyond = next((token for token in ids if token >= len(tokenizer)), None)
    if beyond is not None:
        raise InputError(
            f"id {beyond} is not in this vocabulary.", f"Ids are whole numbers from 0 to {len(tokenizer) - 1}."
        )
    strings = display(tokenizer, ids)
    return Found(tuple(zip(ids, strings, strict=True)), _said(strings))


def _said(strings: Sequence[str]) -> str:
    return "".join(piece.text for piece in character_groups(strings) if piece.place == 0)


def table_text(rows: Sequence[SplitToken], delimiter: str = ",") -> str:
    """The table of tokens as text for a spreadsheet; cells that one would run are escaped (docs/exports.md)."""
    written = io.StringIO()
    writer = csv.writer(written, delimiter=delimiter, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        values = {**row.model_dump(), "token": row.string, "special": int(row.special)}
        writer.writerow([escape(cell) if isinstance(cell := values[name], str) else cell for name in COLUMNS])
    return written.getvalue()
