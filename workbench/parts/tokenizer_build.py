"""How the Tokenizer page explains one token: its word, the merges that build it, or its score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import html

from hooks.token_build import Build
from hooks.token_split import SplitToken
from workbench.figures.numbers import number, whole
from workbench.parts.glossary import term
from workbench.parts.panel import panel
from workbench.parts.tokenizer_data import counted, word_of

MOST_STEPS = 40
PUT_THERE = "The tokenizer puts it there itself: nothing in the text stands for it."


def build_panel(content: Any) -> Any:
    """The panel of the selected token."""
    return panel(
        "How the token comes about",
        html.Div(content, id="tokenizer-build", **{"aria-live": "polite"}),
        id="tokenizer-build-panel",
    )


def no_build() -> Any:
    """What stands there without a token."""
    return html.P("Split a text, and choose one of its tokens.", className="wb-muted")


def build_view(made: Build, rows: Sequence[SplitToken], pos: int) -> list[Any]:
    """The token, its word, and the steps that make it."""
    row = rows[pos]
    where = html.Span(f"position {pos} · id {made.id} · {made.kind}", className="wb-muted")
    parts: list[Any] = [html.P([_token(made.string), where], className="tok-head")]
    if row.pieces > 1:
        parts.append(html.P([f"Token {row.piece + 1} of the {row.pieces} that say ", _token(row.text), " together."]))
    word = word_of(rows, pos)
    if len(word) > 1 and not row.special:
        parts.append(_word(word, pos))
    if made.merges:
        parts += _merges(made)
    if made.score is not None:
        parts += _scores(made)
    if row.special and row.start is None:
        parts.append(html.P(PUT_THERE, className="tok-note"))
    elif made.note:
        parts.append(html.P(made.note, className="tok-note"))
    return parts


def _word(word: Sequence[SplitToken], pos: int) -> Any:
    if len(word) > MOST_STEPS:
        return html.P(f"It is one of {whole(len(word))} tokens that no split parts.", className="wb-muted")
    tokens = [_token(row.string, chosen=row.pos == pos) for row in word]
    return html.P(["Its word, as the ", term("pre-tokeniser"), " parts it: ", *tokens], className="tok-word")


def _merges(made: Build) -> list[Any]:
    steps = [
        html.Tr(
            [
                html.Td(whole(merge.rank), className="prompt-number"),
                html.Td([_token(merge.left), " + ", _token(merge.right)]),
                html.Td(
                    [_token(piece, chosen=piece == merge.result) for piece in merge.pieces], className="tok-pieces"
                ),
            ]
        )
        for merge in made.merges
    ]
    names = [html.Th(term("merge rank", "Rank"), className="prompt-number", scope="col"), html.Th("Joins", scope="col")]
    head = html.Thead(html.Tr([*names, html.Th("Pieces after it", scope="col")]))
    grid = html.Table([head, html.Tbody(steps)], className="prompt-rows tok-steps")
    count = counted(len(made.merges), "merge")
    return [
        html.P(["Starts as ", *map(_token, made.start)], className="tok-word"),
        html.Div(grid, className="tok-scroll", tabIndex=0),
        html.P(
            f"{count} of the tokenizer’s {whole(made.n_merges)}, in the order in which they happen.",
            className="wb-muted",
        ),
    ]


def _scores(made: Build) -> list[Any]:
    rows = [("The whole piece", [made.string], made.score)]
    if made.otherwise:
        total = sum(piece.score for piece in made.otherwise)
        rows.append(("The best way without it", [piece.piece for piece in made.otherwise], total))
    body = [
        html.Tr(
            [
                html.Td(name),
                html.Td([_token(piece) for piece in pieces], className="tok-pieces"),
                html.Td(number(score or 0.0, signed=True), className="prompt-number"),
            ]
        )
        for name, pieces, score in rows
    ]
    names = [html.Th(""), html.Th("Pieces"), html.Th("Log-probability, nats", className="prompt-number")]
    parts = [html.Table([html.Thead(html.Tr(names)), html.Tbody(body)], className="prompt-rows tok-steps")]
    details = ", ".join(f"{piece.piece} {number(piece.score, signed=True)}" for piece in made.otherwise)
    if len(made.otherwise) > 1:
        parts.append(html.P(["Apart: ", html.Bdi(details, dir="ltr", className="wb-mono")], className="wb-muted"))
    return parts


def _token(string: str, *, chosen: bool = False) -> Any:
    return html.Bdi(string, dir="ltr", className="tok-token tok-chosen" if chosen else "tok-token")
