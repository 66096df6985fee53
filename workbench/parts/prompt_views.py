"""What the Prompt page shows: the strip of tokens, the table of next tokens, the controls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import html

from hooks.tokens import TokenBatch
from workbench.figures.numbers import number, percent
from workbench.parts.chips import chips_of, strip
from workbench.parts.glossary import term
from workbench.parts.icons import icon
from workbench.parts.next_token import Candidate
from workbench.parts.token_rows import titles, token_row
from workbench.urls import State

ROW_PIXELS = 32


def token_strip(batch: TokenBatch, surprisal: Sequence[float] | None, selected: int | None) -> Any:
    """The prompt's chips with the room for their bars."""
    return strip(chips_of(batch), id="prompt-chips", surprisal=surprisal, selected=selected, bars=True)


def legend() -> Any:
    """How to read the strip."""
    return [
        html.Span("·"), " space, ↵ newline, ⇥ tab; special tokens have cut corners. Bars: ",
        term("surprisal"), ", the longer the less expected.",
    ]  # fmt: skip


def facts(batch: TokenBatch, source: str | None, mean: float | None = None) -> list[Any]:
    """Tags at the right of the strip: how many tokens, the mean surprisal, where the numbers come from."""
    special = int(batch.special[0].sum())
    words = f"{batch.lengths[0]} token{'s' if batch.lengths[0] != 1 else ''}" + (
        f", {special} special" if special else ""
    )
    tags = [html.Span(words, className="wb-tag wb-number", id="prompt-count")]
    if mean is not None:
        tags.append(html.Span(f"mean surprisal {number(mean)} nats", className="wb-tag wb-number", id="prompt-mean"))
    if source is not None:
        tags.append(html.Span(source, className="wb-tag", id="prompt-source"))
    return tags


def heading(batch: TokenBatch, state: State) -> list[Any]:
    """The table's title, which names the position it is about."""
    last = batch.lengths[0] - 1
    position = last if state.position is None else min(state.position, last)
    token = html.Bdi(f"“{batch.strings[0][position]}”", dir="ltr", className="wb-mono")
    return ["Next token after position ", html.Span(str(position), className="wb-number"), " ", token]


def table(rows: Sequence[Candidate], *, actual: int | None, can_append: bool) -> Any:
    """The candidates, most probable first. actual: the id that really follows; can_append: it is the prompt's end."""
    head = titles(at_end=[html.Span("Append", className="wb-visually-hidden")])
    body = html.Tbody([_row(row, row.id == actual, can_append) for row in rows])
    return html.Table([head, body], className="prompt-rows")


def _row(row: Candidate, actual: bool, can_append: bool) -> Any:
    append = html.Button(
        [icon("plus", size=14), "Append"],
        id={"type": "prompt-append", "id": row.id},
        className="wb-button prompt-append",
        type="button",
        title="Append this token to the prompt",
        **{"aria-label": f"Append {row.token} to the prompt"},
    )
    cell = html.Td(append if can_append else None, className="prompt-append-cell")
    return token_row(row, mark="came next" if actual else "", at_end=[cell])


def footer(rows: Sequence[Candidate], actual: tuple[str, int, float] | None, state: State) -> Any:
    """One line under the table: how much these rows hold, and how the real next token did."""
    total = percent(min(sum(row.prob for row in rows), 1.0))
    heat = "" if state.temperature == 1 else f" at temperature {state.temperature:g}"
    words = [
        f"These {len(rows)} tokens hold {total} of the probability{heat}."
        if len(rows) != 1
        else f"This token holds {total} of the probability{heat}."
    ]
    if actual is not None:
        token, rank, prob = actual
        words.append(f" The token that came next, “{token}”, has rank {rank} and probability {number(prob)}.")
    return html.P(words, className="wb-muted prompt-footer", id="prompt-footer")


def reserved(state: State) -> Any:
    """The room of the table before its numbers are known, so that nothing jumps."""
    return html.Div(
        html.P("Running the model once to get its logits…", className="wb-muted"),
        style={"minHeight": ROW_PIXELS * (min(state.top_k, 50) + 1) + 36},
        role="status",
    )


def controls(state: State) -> Any:
    """Temperature, top-k and top-p; save."""
    return html.Div(
        [
            _slider(
                "temperature", "Temperature", state.temperature, 0.1, 2.0, 0.05, [(0.1, "0.1"), (1.0, "1"), (2.0, "2")]
            ),
            _slider("top_k", "Top-k", state.top_k, 1, 50, 1, [(1, "1"), (10, "10"), (50, "50")]),
            _slider("top_p", "Top-p", state.top_p, 0.05, 1.0, 0.05, [(0.05, "0.05"), (0.5, "0.5"), (1.0, "1")]),
            html.P(
                "These redraw the table from the stored logits; a drawn continuation is drawn anew with them.",
                className="wb-muted prompt-small",
            ),
            html.Div(
                [
                    html.Button(
                        [icon("save", size=16), "Save as result"],
                        id="prompt-save",
                        className="wb-button",
                        type="button",
                    ),
                ],
                className="wb-tools",
            ),
            html.Div(id="prompt-action-note", className="wb-error-slot", **{"aria-live": "polite"}),
        ],
        className="prompt-controls",
    )


def _slider(
    field: str, name: str, value: float, low: float, high: float, step: float, marks: list[tuple[float, str]]
) -> Any:
    shown = min(max(value, low), high)
    label = html.Div(
        [term(name.lower(), name), html.Span(f"{value:g}", id=f"prompt-{field}-value", className="wb-mono wb-number")],
        className="prompt-slider-label",
    )
    slider = dmc.Slider(
        id=f"prompt-{field}", value=shown, min=low, max=high, step=step,
        marks=[{"value": at, "label": text} for at, text in marks],
        updatemode="drag", label=None, thumbLabel=name, precision=2, size="sm",
    )  # fmt: skip
    return html.Div([label, slider], className="prompt-slider")
