"""Tables of a user's own prompts: JSON lines or CSV, as text, checked row by row and mapped to prompt sets.

Nothing in a table is evaluated. Rows are counted from 1, without a header; every refusal names the row and the column.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, ValidationError

from hooks.errors import InputError
from hooks.prompts import PromptSet
from hooks.spec import Spec

TableKind = Literal["jsonl", "csv"]
MOST_BYTES, MOST_ROWS, MOST_COLUMNS, MOST_CELL = 8 << 20, 10_000, 100, 100_000
"""Limits of a table: bytes, rows, columns, characters of a cell."""
USUAL = {
    "prompt": ("prompt", "clean", "clean_prompt", "text", "input"),
    "answer": ("answer", "answers", "target", "correct", "label_correct"),
    "foil": ("foil", "foils", "wrong", "incorrect", "distractor"),
    "corrupt": ("corrupt", "corrupted", "corrupt_prompt", "corrupted_prompt", "counterfactual"),
    "template": ("template", "templates", "label", "group"),
}
"""Column names that are taken for each role, the likeliest first."""


@dataclass(frozen=True)
class Table:
    """Columns in order, and the rows: a value for every column. CSV has texts; JSON lines any JSON value."""

    columns: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]


class Columns(Spec):
    """Which column holds what. positions: a column of positions (counted from 0) for each named position."""

    prompt: str
    answer: str | None = None
    foil: str | None = None
    corrupt: str | None = None
    template: str | None = None
    positions: dict[str, str] = Field(default_factory=dict)

    def named(self) -> Iterator[tuple[str, str]]:
        """Each role that has a column, with the column."""
        for role in USUAL:
            if (column := getattr(self, role)) is not None:
                yield role, column
        yield from ((f"positions.{name}", column) for name, column in self.positions.items())


def kind_of_file(name: str) -> TableKind:
    """How a file is read, by the end of its name. Raises InputError."""
    ending = name.lower().rpartition(".")[2]
    if ending not in ("jsonl", "csv"):
        raise InputError(f"'{name}' is neither .jsonl nor .csv.", "Give JSON lines, or CSV with a header.")
    return "csv" if ending == "csv" else "jsonl"


def kind_of_text(text: str) -> TableKind:
    """How pasted text is read: as JSON lines where it begins with an object, else as CSV."""
    return "jsonl" if text.lstrip("\ufeff \t\r\n").startswith("{") else "csv"


def read_table(content: str | bytes, kind: TableKind) -> Table:
    """The table in a text. Raises InputError for what is too large, damaged, ragged, empty or not UTF-8."""
    text = _decoded(content)
    return _read_csv(text) if kind == "csv" else _read_jsonl(text)


def _decoded(content: str | bytes) -> str:
    try:
        data = content.encode() if isinstance(content, str) else content
        if len(data) > MOST_BYTES:
            size = f"{len(data) / (1 << 20):.1f} MiB"
            raise InputError(f"the table has {size}; at most {MOST_BYTES >> 20} MiB are taken.", "Split it.")
        text = data.decode("utf-8-sig")
    except UnicodeError as error:
        raise InputError("the table is not UTF-8 text.", "Save it as UTF-8.") from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise InputError(f"line {line} of the table holds a NUL byte.", "Save it as UTF-8 text.")
    if not text.strip():
        raise InputError("the table is empty.", "Give one row per prompt.")
    return text


def _read_csv(text: str) -> Table:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        lines = [line for line in reader if line]
    except csv.Error as error:
        hint = f"Close every quote, and keep cells under {MOST_CELL:,} characters."
        raise InputError(f"line {reader.line_num} of the table is no CSV: {error}.", hint) from error
    header, body = tuple(lines[0]), lines[1:]
    _check_columns(header)
    if not body:
        raise InputError("the table has a header but no rows.", "Give one row per prompt.")
    for number, cells in enumerate(body, 1):
        if len(cells) != len(header):
            hint = "Quote cells that hold commas."
            raise InputError(f"row {number} has {len(cells)} cells; the header has {len(header)}.", hint)
    return _table(header, [dict(zip(header, cells, strict=True)) for cells in body])


def _read_jsonl(text: str) -> Table:
    rows: list[Mapping[str, Any]] = []
    for line in filter(str.strip, text.split("\n")):
        row = _object(line, len(rows) + 1)
        rows.append(row)
        if set(row) != set(rows[0]):
            odd = sorted(set(row) ^ set(rows[0]))[0]
            word = "lacks" if odd in rows[0] else "has, unlike row 1,"
            raise InputError(f"row {len(rows)} {word} the column '{odd}'.", "Give every row the same columns.")
    _check_columns(tuple(rows[0]))
    return _table(tuple(rows[0]), rows)


def _object(line: str, number: int) -> Mapping[str, Any]:
    hint = 'Give one object per line, such as {"prompt": "…", "answer": " …"}.'
    try:
        row = json.loads(line, object_pairs_hook=lambda pairs: _once(pairs, number), parse_constant=_no_number)
    except RecursionError as error:
        raise InputError(f"row {number} is nested too deeply.", hint) from error
    except ValueError as error:
        raise InputError(f"row {number} is not JSON: {error}.", hint) from error
    if not isinstance(row, dict):
        raise InputError(f"row {number} is not a JSON object.", hint)
    return row


def _once(pairs: list[tuple[str, Any]], number: int) -> dict[str, Any]:
    twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if twice:
        raise InputError(f"row {number} has '{twice[0]}' twice.", "Give each name once.")
    return dict(pairs)


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no JSON number")


def _check_columns(columns: Sequence[str]) -> None:
    if len(columns) > MOST_COLUMNS:
        raise InputError(f"the table has {len(columns)} columns.", f"At most {MOST_COLUMNS} are taken.")
    for number, (column, count) in enumerate(Counter(columns).items(), 1):
        if count > 1:
            raise InputError(f"the table has {count} columns called '{column}'.", "Give each column its own name.")
        if not column.strip():
            raise InputError(f"column {number} of the table has no name.", "Give it one in the header.")


def _table(columns: tuple[str, ...], rows: Sequence[Mapping[str, Any]]) -> Table:
    if len(rows) > MOST_ROWS:
        raise InputError(f"the table has {len(rows):,} rows.", f"At most {MOST_ROWS:,} are taken: split it.")
    for number, row in enumerate(rows, 1):
        for column, cell in row.items():
            if isinstance(cell, str) and len(cell) > MOST_CELL:
                raise _wrong(number, column, f"the cell has {len(cell):,} characters", f"At most {MOST_CELL:,}.")
    return Table(columns, tuple(rows))


def guess(table: Table) -> Columns | None:
    """The mapping that usual column names suggest, for `pos_NAME` also named positions; None without a prompt."""
    names = {column.strip().lower(): column for column in reversed(table.columns)}
    found = {role: next((names[name] for name in usual if name in names), None) for role, usual in USUAL.items()}
    if found["prompt"] is None:
        return None
    places = {name.removeprefix("pos_"): column for name, column in names.items() if name.startswith("pos_")}
    return Columns.model_validate({**found, "positions": {name: places[name] for name in sorted(places) if name}})


def parse_columns(text: str) -> Columns:
    """A mapping written as `prompt=COLUMN,answer=COLUMN,positions.subject=COLUMN`. Raises InputError."""
    hint = f"Write role=column; roles: {', '.join(USUAL)}, positions.NAME."
    fields: dict[str, Any] = {"positions": {}}
    for item in filter(None, text.split(",")):
        role, separator, column = (part.strip() for part in item.partition("="))
        role, place = {"label": "template"}.get(role, role), role.removeprefix("positions.")
        if not separator or not column or not place or (role not in USUAL and place == role):
            raise InputError(f"'{item}' maps no column.", hint)
        (fields if role in USUAL else fields["positions"])[place if role not in USUAL else role] = column
    if "prompt" not in fields:
        raise InputError("the mapping names no column for the prompt.", hint)
    return Columns.model_validate(fields)


def columns_text(columns: Columns) -> str:
    """A mapping in the form that `parse_columns` reads."""
    return ",".join(f"{role}={column}" for role, column in columns.named())


def inputs_from(table: Table, columns: Columns) -> dict[str, PromptSet]:
    """The prompt sets `clean` and, where a column is mapped to it, `corrupt` (measured on the same answers).

    Raises InputError that names the column that is not there, or the row and column of a cell that cannot be used.
    """
    for role, column in columns.named():
        if column not in table.columns:
            hint = f"The table has {', '.join(table.columns)}."
            raise InputError(f"there is no column '{column}' for {role}.", hint)
    given: dict[str, Any] = {f"{role}s": _cells(table, getattr(columns, role), role) for role in ("answer", "foil")}
    given["templates"] = tuple(map(str, _cells(table, columns.template, "template")))
    given["positions"] = {name: _places(table, column) for name, column in columns.positions.items()}
    sets = {"clean": _set(table, columns, columns.prompt, given)}
    return sets | ({"corrupt": _set(table, columns, columns.corrupt, given)} if columns.corrupt is not None else {})


def _cells(table: Table, column: str | None, role: str) -> tuple[Any, ...]:
    """The cells of a column, none of them empty; nothing where no column is mapped."""
    if column is None:
        return ()
    cells = [row[column] for row in table.rows]
    for number, cell in enumerate(cells, 1):
        if cell is None or cell == "" or cell == []:
            raise _wrong(number, column, f"the {role} is empty", "Fill it in, or remove the row.")
    # An answer given as a number is the name of a class.
    return tuple(str(cell) if isinstance(cell, int) and not isinstance(cell, bool) else cell for cell in cells)


def _places(table: Table, column: str) -> tuple[int, ...]:
    places = []
    for number, row in enumerate(table.rows, 1):
        text = str(row[column]).strip()
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise _wrong(number, column, f"'{text[:40]}' is no position", "Give whole numbers from 0.")
        places.append(int(text))
    return tuple(places)


def _set(table: Table, columns: Columns, column: str, given: Mapping[str, Any]) -> PromptSet:
    prompts = _cells(table, column, "prompt")
    try:
        return PromptSet.model_validate({**given, "prompts": prompts})
    except ValidationError as error:
        # Where each sort of value failed, pydantic says so for every sort that it tried: the row is in all of them.
        where = error.errors()[0]["loc"]
        row = int(where[1]) + 1 if len(where) > 1 and isinstance(where[1], int) else 1
        held = {"prompts": column, "answers": columns.answer, "foils": columns.foil}
        raise _wrong(
            row, held.get(str(where[0])) or column, "the value is of a sort that cannot be used", EXPECTED
        ) from error


EXPECTED = 'A prompt is a text, {"ids": [..]} or {"messages": [..]}; an answer a text, {"id": n}, or a list of such.'


def _wrong(row: int, column: str, what: str, hint: str) -> InputError:
    return InputError(f"row {row}, column '{column}': {what}.", hint, row=row, column=column)
