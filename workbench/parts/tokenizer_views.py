"""What the Tokenizer page shows of a text: its tokens as chips and as a table, and how one of them comes about."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import html

from hooks.errors import WorkbenchError
from hooks.token_split import SplitToken
from workbench.parts.chips import chips_of, strip
from workbench.parts.empty import empty, inline_problem, problem
from workbench.parts.icons import icon
from workbench.parts.panel import panel
from workbench.parts.table import number as number_column
from workbench.parts.table import table
from workbench.parts.tokenizer_data import Seen, counted, selected, table_text
from workbench.urls import State

TABLE_HEIGHT = 420
ROW_HEIGHT = 32
ADDED = {"model": "as the model’s tokenizer adds them", "bos": "exactly one BOS", "none": "none"}


def tools() -> Any:
    """Copy and download of the table."""
    return html.Div(
        [
            html.Button(
                [icon("link", size=16), "Copy table"], id="tokenizer-copy", className="wb-button", type="button"
            ),
            html.Button([icon("export", size=16), "CSV"], id="tokenizer-csv", className="wb-button", type="button"),
        ],
        className="wb-tools",
    )


def exported(seen: Seen) -> dict[str, str]:
    """The table in both forms, for the browser to hand on."""
    rows = seen.report.tokens if seen.report else ()
    return {"csv": table_text(rows), "tsv": table_text(rows, "\t")}


def text_panel(seen: Seen, state: State) -> Any:
    """The text with its box, and the tokens in reading order."""
    keys = [html.Kbd("Enter"), " splits, ", html.Kbd("Shift Enter"), " new line"]
    box = html.Div(
        [
            dmc.Textarea(
                id="tokenizer-text", value=state.prompt, autosize=True, minRows=2, maxRows=8, spellCheck=False,
                label="Text", description="It is the prompt of all pages.", classNames={"input": "wb-mono"},
            ),
            html.Div(
                [
                    html.Button("Split text", id="tokenizer-apply", className="wb-button wb-primary", type="button"),
                    html.Span(keys, className="wb-muted wb-only-wide"),
                ],
                className="wb-tools",
            ),
        ],
        className="tok-box",
    )  # fmt: skip
    return panel("Tokens", box, *_tokens(seen, state), tools=_tags(seen, state), id="tokenizer-text-panel")


def _tags(seen: Seen, state: State) -> Any:
    report = seen.report
    words = []
    if report is not None:
        special = sum(row.special for row in report.tokens)
        words += [
            counted(len(report.tokens), "token") + (f", {special} special" if special else ""),
            f"{counted(report.characters, 'character')}, {counted(report.bytes, 'byte')}",
        ]
        if report.exact is not None:
            words.append("says the text exactly" if report.exact else "text is changed before it is split")
    words.append(f"special tokens: {ADDED[state.special]}" + (", spelled ones as plain text" if state.plain else ""))
    return [html.Span(word, className="wb-tag wb-number") for word in words]


def _tokens(seen: Seen, state: State) -> list[Any]:
    if seen.batch is None or seen.report is None:
        if not state.prompt:
            return [
                empty("No text yet", "Type some above; any language, any signs.", symbol="prompt", id="tokenizer-empty")
            ]
        return [problem(seen.wrong or WorkbenchError("the text cannot be split."))]
    at = selected(state, seen.batch.lengths[0])
    remarks = [html.P(warning, className="wb-muted") for warning in seen.report.warnings]
    refused = [html.P(["The model does not take this text: ", inline_problem(seen.refused)])] if seen.refused else []
    return [
        *refused,
        strip(chips_of(seen.batch), id="tokenizer-chips", selected=at),
        html.P(
            "Point at a token for its position and id; click it, or use the arrow keys, to see how it comes about.",
            id="tokenizer-readout",
            className="prompt-readout",
        ),
        *remarks,
    ]


def table_panel(seen: Seen) -> Any:
    """Every token: its id, what it covers of the text, its bytes, its group."""
    rows = [_row(row) for row in seen.report.tokens] if seen.report else []
    columns = [
        number_column("pos", "Pos", minWidth=64, maxWidth=72),
        {"field": "token", "headerName": "Token", "cellClass": "tok-cell", "minWidth": 108, "tooltipField": "token"},
        number_column("id", "Id", minWidth=80, maxWidth=88),
        {"field": "note", "headerName": "Note", "cellClass": "tok-cell", "minWidth": 116},
        number_column("word", "Word", minWidth=72, maxWidth=72),
        number_column("start", "Characters", text="characters", minWidth=104, maxWidth=120),
        number_column("byte_start", "Bytes", text="span", minWidth=92, maxWidth=112),
        {"field": "hex", "headerName": "UTF-8", "cellClass": "tok-cell", "minWidth": 116, "tooltipField": "hex"},
    ]
    return panel(
        "Table",
        table("tokenizer-table", columns, rows, height=min(TABLE_HEIGHT, ROW_HEIGHT * (len(rows) + 1) + 4)),
        about="Characters and bytes count from 0, end excluded; empty where a token stands for nothing in the text.",
        id="tokenizer-table-panel",
    )


def _row(row: SplitToken) -> dict[str, Any]:
    together = f"{row.piece + 1} of {row.pieces}: {row.text}" if row.pieces > 1 else ""
    note = "special" if row.special else together
    return {
        "pos": row.pos, "pos_text": str(row.pos), "id": row.id, "id_text": str(row.id), "token": row.string,
        "note": note, "word": row.word, "word_text": "" if row.word is None else str(row.word),
        "start": row.start, "characters": _span(row.start, row.stop),
        "byte_start": row.byte_start, "span": _span(row.byte_start, row.byte_stop),
        "hex": "" if row.bytes is None else " ".join(row.bytes[i : i + 2] for i in range(0, len(row.bytes), 2)),
    }  # fmt: skip


def _span(start: int | None, stop: int | None) -> str:
    return "" if start is None else f"{start}–{stop}"
