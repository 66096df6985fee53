"""A user's own tables: read exactly, refused with the row and the column, never evaluated."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyses.tables import (
    MOST_CELL,
    MOST_ROWS,
    Columns,
    Table,
    TableKind,
    columns_text,
    guess,
    inputs_from,
    kind_of_file,
    kind_of_text,
    parse_columns,
    read_table,
)
from hooks.errors import InputError
from hooks.prompts import IdAnswer, IdsPrompt

CELLS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
NAMES = st.lists(CELLS.filter(str.strip), min_size=1, max_size=4, unique=True)


@st.composite
def tables(draw: Callable[..., Any]) -> Table:
    """Any table of texts; with a first column that is never empty, so that no row looks like none."""
    columns = draw(NAMES)
    row = st.tuples(CELLS.filter(str.strip), *[CELLS] * (len(columns) - 1))
    return Table(
        tuple(columns),
        tuple(dict(zip(columns, cells, strict=True)) for cells in draw(st.lists(row, min_size=1, max_size=4))),
    )


def written(table: Table, kind: TableKind) -> str:
    """A table as text, by Python's own writers."""
    if kind == "jsonl":
        return "\n".join(json.dumps(row) for row in table.rows)
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, table.columns)
    writer.writeheader()
    writer.writerows(table.rows)
    return file.getvalue()


@settings(max_examples=60, deadline=None)
@given(tables(), st.sampled_from(["jsonl", "csv"]), st.booleans())
def test_a_table_is_read_as_it_was_written(table: Table, kind: TableKind, bom: bool) -> None:
    if table.columns[0].startswith("\ufeff"):
        return
    content = written(table, kind).encode("utf-8-sig" if bom else "utf-8")
    assert read_table(content, kind) == table


GOOD = 'prompt,answer,foil,corrupt,template,pos_subject\n"Mary, and John"," Mary"," John",John and Mary,a,0\n'


def test_a_csv_gives_prompt_sets_by_the_names_of_its_columns() -> None:
    table = read_table(GOOD, "csv")
    columns = guess(table)
    assert columns == Columns(
        prompt="prompt", answer="answer", foil="foil", corrupt="corrupt", template="template",
        positions={"subject": "pos_subject"},
    )  # fmt: skip
    inputs = inputs_from(table, columns)
    clean = inputs["clean"]
    assert (clean.prompts, clean.answers, clean.foils) == (("Mary, and John",), (" Mary",), (" John",))
    assert (clean.templates, clean.positions) == (("a",), {"subject": (0,)})
    assert inputs["corrupt"].prompts == ("John and Mary",) and inputs["corrupt"].answers == clean.answers


def test_json_lines_hold_ids_sets_of_answers_and_classes() -> None:
    text = '{"text": {"ids": [1, 2]}, "answer": [" a", {"id": 3}]}\n\n{"text": "b", "answer": 1}'
    table = read_table(text, "jsonl")
    clean = inputs_from(table, Columns(prompt="text", answer="answer"))["clean"]
    assert clean.prompts == (IdsPrompt(ids=(1, 2)), "b")
    assert clean.answers == ((" a", IdAnswer(id=3)), "1")


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        ("", "csv", "the table is empty"),
        (b"\xef\xbb\xbf \n", "jsonl", "the table is empty"),
        (b"\xff\xfe", "csv", "is not UTF-8"),
        ("prompt\na\0b", "csv", "line 2 of the table holds a NUL byte"),
        ("prompt,answer\n", "csv", "a header but no rows"),
        ("prompt,answer\na,b\nc\n", "csv", "row 2 has 1 cells; the header has 2"),
        ("prompt,prompt\na,b\n", "csv", "2 columns called 'prompt'"),
        ("prompt, \na,b\n", "csv", "column 2 of the table has no name"),
        ('prompt\n"open\n', "csv", "line 2 of the table is no CSV"),
        (f"prompt\n{'x' * 3_000_000}\n", "csv", "line 2 of the table is no CSV: field larger than field limit"),
        ('{"prompt": "' + "x" * 3_000_000 + '"}', "jsonl", "row 1, column 'prompt': the cell has 3,000,000 characters"),
        (b"x" * ((8 << 20) + 1), "csv", "at most 8 MiB"),
        ("prompt\n" + "a\n" * (MOST_ROWS + 1), "csv", "the table has 10,001 rows"),
        ('{"a": 1}\n{"a": 1, "b": 2}', "jsonl", "row 2 has, unlike row 1, the column 'b'"),
        ('{"a": 1, "b": 2}\n{"a": 1}', "jsonl", "row 2 lacks the column 'b'"),
        ('{"a": 1, "a": 2}', "jsonl", "row 1 has 'a' twice"),
        ("[1]", "jsonl", "row 1 is not a JSON object"),
        ('{"a": 1}\nnull', "jsonl", "row 2 is not a JSON object"),
        ('{"a": NaN}', "jsonl", "row 1 is not JSON: NaN is no JSON number"),
        ("{'a': 1}", "jsonl", "row 1 is not JSON"),
        ("[" * 100_000, "jsonl", "row 1 is nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "jsonl", "row 1 is not JSON"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_its_place(content: Any, kind: TableKind, words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_table(content, kind)
    assert words in caught.value.message and caught.value.hint and len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("rows", "columns", "words"),
    [
        ([{"p": "a"}], Columns(prompt="q"), "there is no column 'q' for prompt"),
        ([{"p": "a"}, {"p": ""}], Columns(prompt="p"), "row 2, column 'p': the prompt is empty"),
        ([{"p": "a", "x": None}], Columns(prompt="p", answer="x"), "row 1, column 'x': the answer is empty"),
        ([{"p": "a"}, {"p": {"no": 1}}], Columns(prompt="p"), "row 2, column 'p': the value is of a sort"),
        ([{"p": "a", "x": 1.5}], Columns(prompt="p", foil="x"), "row 1, column 'x': the value is of a sort"),
        ([{"p": "a", "x": "1"}, {"p": "b", "x": "-1"}], Columns(prompt="p", positions={"s": "x"}),
         "row 2, column 'x': '-1' is no position"),
    ],
)  # fmt: skip
def test_a_cell_that_cannot_be_used_is_named(rows: list[dict[str, Any]], columns: Columns, words: str) -> None:
    with pytest.raises(InputError) as caught:
        inputs_from(Table(tuple(rows[0]), tuple(rows)), columns)
    assert words in caught.value.message and caught.value.hint


def test_nothing_in_a_table_is_evaluated() -> None:
    formula = '=HYPERLINK("x")'
    table = read_table(f'prompt\n__import__("os").abort()\n"{formula.replace(chr(34), chr(34) * 2)}"\n', "csv")
    assert inputs_from(table, Columns(prompt="prompt"))["clean"].prompts == ('__import__("os").abort()', formula)


def test_a_mapping_is_written_and_read() -> None:
    columns = Columns(prompt="text", answer="right", template="kind", positions={"subject": "at"})
    assert parse_columns(columns_text(columns)) == columns
    assert parse_columns("prompt=text,label=kind") == Columns(prompt="text", template="kind")
    for text in ("answer=a", "prompt", "prompt=", "luck=a,prompt=b", "positions.=a,prompt=b", ""):
        with pytest.raises(InputError):
            parse_columns(text)


def test_the_kind_is_told_by_name_or_content() -> None:
    assert (kind_of_file("A.JSONL"), kind_of_file("b.csv")) == ("jsonl", "csv")
    assert (kind_of_text('\ufeff\n {"a": 1}'), kind_of_text("prompt\na")) == ("jsonl", "csv")
    assert guess(Table(("id", "value"), ({"id": "1", "value": "2"},))) is None and MOST_CELL < 1_000_000
    with pytest.raises(InputError, match=r"neither .jsonl nor .csv"):
        kind_of_file("a.xlsx")
