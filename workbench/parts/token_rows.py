"""Rows of a table of tokens with their probabilities: what follows a position, and what else could have been taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from dash import html

from workbench.figures.numbers import number
from workbench.parts.glossary import term

NUMBER, ID = {"className": "prompt-number"}, {"className": "prompt-number prompt-id"}


class TokenRow(Protocol):
    """What every row has."""

    @property
    def rank(self) -> int: ...
    @property
    def token(self) -> str: ...
    @property
    def id(self) -> int: ...
    @property
    def prob(self) -> float: ...
    @property
    def logit(self) -> float: ...


def titles(*, after_probability: Sequence[str] = (), at_end: Sequence[Any] = ()) -> Any:
    """The head of the table; further columns stand after the probability or at the end."""
    columns: list[tuple[Any, dict[str, Any]]] = [
        ("Rank", NUMBER),
        ("Token", {}),
        ("Probability", {"colSpan": 2}),
        *((title, NUMBER) for title in after_probability),
        ([term("logit", "Logit")], NUMBER),
        ("Id", ID),
        *((title, {}) for title in at_end),
    ]
    return html.Thead(html.Tr([html.Th(title, scope="col", **more) for title, more in columns]))


def token_row(
    row: TokenRow, *, mark: str = "", after_probability: Sequence[float] = (), at_end: Sequence[Any] = ()
) -> Any:
    """One token. mark: a word beside it; the further cells are those of the columns in `titles`."""
    share = f"{100 * row.prob:.4g}%"
    tags = [html.Span(mark, className="wb-tag")] if mark else []
    return html.Tr(
        [
            html.Td(str(row.rank), className="prompt-number wb-muted"),
            html.Td([html.Bdi(row.token, dir="ltr", className="prompt-token"), *tags], dir="ltr"),
            html.Td(html.Div(html.Div(style={"width": share}), className="prompt-bar"), className="prompt-bar-cell"),
            html.Td(number(row.prob), **NUMBER),
            *(html.Td(number(value), **NUMBER) for value in after_probability),
            html.Td(number(row.logit), **NUMBER),
            html.Td(str(row.id), className="prompt-number prompt-id wb-muted"),
            *at_end,
        ]
    )
