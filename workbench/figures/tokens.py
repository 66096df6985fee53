"""Token text in figures: plotly reads a subset of HTML in labels, so every token passes through `label` first."""

from __future__ import annotations

import html
from collections.abc import Sequence

# Isolates keep a right-to-left token from reordering its neighbours, its index or its number.
_ISOLATE, _POP = "\u2068", "\u2069"


def label(token: str, *, limit: int = 24) -> str:
    """The display text of one token for plotly: literal, never blank, at most `limit` characters."""
    text = token if token.strip() else "␀" if not token else "·" * len(token)
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    text = html.escape(text, quote=False)
    return f"{_ISOLATE}{text}{_POP}" if _right_to_left(token) else text


def labels(tokens: Sequence[str], *, limit: int = 24) -> list[str]:
    """`label` of each token, in order."""
    return [label(token, limit=limit) for token in tokens]


def text(value: str) -> str:
    """Free text, such as a title, for plotly: literal, line breaks kept as spaces."""
    return html.escape(" ".join(value.split()), quote=False)


def _right_to_left(token: str) -> bool:
    return any(
        "\u0590" <= char <= "\u08ff" or "\ufb1d" <= char <= "\ufdff" or "\ufe70" <= char <= "\ufeff" for char in token
    )
