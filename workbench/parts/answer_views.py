"""The pieces of the Prompt page of models that continue no text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dash_mantine_components as dmc
import numpy as np
from dash import html

from hooks.tokens import TokenBatch
from workbench.figures.numbers import number, percent, whole
from workbench.parts.ablation_saving import saved_words
from workbench.parts.answers import Choice, Embedding, embedding_of
from workbench.parts.glossary import term
from workbench.parts.icons import icon
from workbench.parts.kinds import Kind
from workbench.urls import State

ROW_PIXELS = 32
NO_HEAD = (
    "This model has no head: there is no next token and no class. What it gives is one vector, the mean of its last "
    "hidden states over all tokens. Two texts are compared by the angle between their vectors."
)


def title(kind: Kind, batch: TokenBatch, state: State) -> list[Any]:
    """What the answer is about, with its position where there are several."""
    if kind.output == "embedding":
        return ["Embedding of the text"]
    if kind.output == "number":
        return ["Similarity of text and image" if kind.task == "pairs" else "Output"]
    if batch.single:
        return ["Class of the image" if batch.inputs else "Class of the text"]
    last = batch.lengths[0] - 1
    place = batch.answer_at[0] if state.position is None else min(state.position, last)
    token = html.Bdi(f"“{batch.strings[0][place]}”", dir="ltr", className="wb-mono")
    words = {"masked": "Token at position ", "token-classify": "Class of the token at position "}
    return [
        words.get(kind.task, "Next token after position "),
        html.Span(str(place), className="wb-number"),
        " ",
        token,
    ]


def readout(kind: Kind) -> str:
    """The line under the tokens before anything is pointed at."""
    if kind.task == "masked":
        return "Point at a token for its position and id; click it to see what the model would put in its place."
    if kind.next_token:
        return "Point at a token for its position and id; click it to see what was expected after it."
    if kind.task == "token-classify":
        return "Point at a token for its position and id; click it to see its class."
    return "Point at a token for its position and id."


def token_facts(batch: TokenBatch) -> Any:
    """How many tokens, how many of them special."""
    special, count = int(batch.special[0].sum()), batch.lengths[0]
    words = f"{count} token{'s' if count != 1 else ''}" + (f", {special} special" if special else "")
    return html.Span(words, className="wb-tag wb-number")


def image_facts(kind: Kind, batch: TokenBatch) -> Any:
    """The image's size and how it is cut up."""
    shape = " × ".join(map(str, kind.pixels))
    if kind.grid is None:
        return html.Span(f"{shape} values, {batch.lengths[0]} positions", className="wb-tag wb-number")
    rows, columns = kind.grid
    before = {0: "", 1: " and a class token"}.get(kind.prefix, f" and {kind.prefix} tokens before them")
    return html.Span(f"{shape} values, {rows} × {columns} patches{before}", className="wb-tag wb-number")


def reserved(kind: Kind) -> Any:
    """The room of the answer before it is known, so that nothing jumps."""
    rows = min(len(kind.classes), 10) or 10
    return html.P(
        "Running the model once…", className="wb-muted", role="status", style={"minHeight": ROW_PIXELS * (rows + 2)}
    )


def table(rows: Sequence[Choice], kind: Kind) -> Any:
    """The choices, most probable first, the answer and the foil marked."""
    cells = [
        html.Th("Rank", className="prompt-number", scope="col"),
        html.Th("Class" if kind.classes else "Token", scope="col"),
        html.Th("Probability", scope="col", colSpan=2),
        html.Th([term("logit", "Logit")], className="prompt-number", scope="col"),
        html.Th("Number" if kind.classes else "Id", className="prompt-number prompt-id", scope="col"),
    ]
    body = html.Tbody([_row(row) for row in rows])
    return html.Table([html.Thead(html.Tr(cells)), body], className="prompt-rows", id="ans-table")


def _row(row: Choice) -> Any:
    mark = [html.Span(row.mark, className="wb-tag")] if row.mark else []
    bar = html.Div(html.Div(style={"width": f"{100 * row.prob:.4g}%"}), className="prompt-bar")
    return html.Tr(
        [
            html.Td(str(row.rank), className="prompt-number wb-muted"),
            html.Td([html.Bdi(row.name, dir="auto", className="prompt-token"), *mark]),
            html.Td(bar, className="prompt-bar-cell"),
            html.Td(number(row.prob), className="prompt-number"),
            html.Td(number(row.logit), className="prompt-number"),
            html.Td(str(row.id), className="prompt-number prompt-id wb-muted"),
        ]
    )


def footer(rows: Sequence[Choice], kind: Kind, batch: TokenBatch) -> Any:
    """How much these rows hold."""
    total = percent(min(sum(row.prob for row in rows), 1.0))
    what = "classes" if kind.classes else "tokens"
    every = "All" if kind.classes and len(rows) == len(kind.classes) else "These"
    words = f"{every} {len(rows)} {what}: {total} of the probability."
    if kind.classes and batch.single and batch.inputs:
        words += " Choose the answer and the foil with the image."
    return html.P(words, className="wb-muted prompt-footer")


def save(kind: Kind) -> list[Any]:
    """The button that keeps the choices as a result, where there are any, and the place of what is said of it."""
    button = html.Button(
        [icon("save", size=16), "Save as result"], id="ans-save", className="wb-button", type="button",
        hidden=not kind.answered,
    )  # fmt: skip
    return [button, html.Span(id="ans-note", **{"aria-live": "polite"})]


def saved(result_id: str) -> Any:
    """What stands beside the button afterwards."""
    return html.Span(saved_words(result_id), className="wb-muted")


def value(given: float, kind: Kind) -> Any:
    """One number, with what it means."""
    name, about = _output_words(kind)
    return [
        html.Dl([_stat(name, number(given), "", id="ans-value")], className="wb-stats"),
        html.P(about, className="wb-about"),
    ]


def values(before: float, after: float, kind: Kind) -> Any:
    """One number in the clean and in the edited run, and its change."""
    name, about = _output_words(kind)
    return html.Div(
        [html.Dl(_both(name, before, after, "output"), className="wb-stats"), html.P(about, className="wb-about")]
    )


def _output_words(kind: Kind) -> tuple[str, str]:
    """What the one number is called, and what it means."""
    if kind.task != "pairs":
        return "output", "The model’s only output."
    about = "The cosine of the two projections, times the model’s learned scale: a logit, not a probability."
    return "similarity (logit)", about


def _both(name: str, before: float, after: float, id: str) -> list[Any]:
    """A quantity clean, edited, and the change."""
    return [
        _stat(f"{name}, clean", number(before), "", id=f"ans-clean-{id}"),
        _stat(f"{name}, edited", number(after), "", id=f"ans-edited-{id}"),
        _stat("change", number(after - before, signed=True), ""),
    ]


def embeddings(before: np.ndarray, after: np.ndarray) -> Any:
    """Embeddings [prompt 1 d_model] of the clean and the edited run: how alike they are, and what is said of each."""
    clean, edited = embedding_of(before), embedding_of(after)
    kept = embedding_of(np.stack([before[0], after[0]])).cosine
    stats = [_stat("cosine of clean and edited", "–" if kept is None else number(kept), "", id="ans-edited-kept")]
    stats += _both("length (2-norm)", clean.norm, edited.norm, "norm")
    if clean.cosine is not None and edited.cosine is not None:
        stats += _both("cosine with the other text", clean.cosine, edited.cosine, "cosine")
    about = "The text’s embedding in both runs: a cosine of 1 means that the edits did not turn it at all."
    return html.Div([html.Dl(stats, className="wb-stats"), html.P(about, className="wb-about")])


def embedding(given: Embedding, state: State) -> Any:
    """Length and size of the embedding, the text to compare with, and how alike the two are."""
    stats = [
        _stat("dimensions", whole(given.size), ""),
        _stat("length (2-norm)", number(given.norm), ""),
        _stat("cosine with the other text", "–" if given.cosine is None else number(given.cosine), "", id="ans-cosine"),
    ]
    mono = {"input": "wb-mono"}
    other = dmc.TextInput(
        id="ans-other", label="Compare with", value=state.other, placeholder="Another text", classNames=mono
    )
    button = html.Button("Compare", id="ans-compare", className="wb-button", type="button")
    return [
        html.P(NO_HEAD, className="wb-about"),
        html.Dl(stats, className="wb-stats"),
        html.Div([other, button], className="ans-compare"),
    ]


def _stat(name: str, shown: str, note: str, id: str = "") -> Any:
    given = {"id": id} if id else {}
    cell = [html.Span(shown, className="wb-stat", **given), html.Span(note, className="wb-muted")]
    return html.Div([html.Dt(name), html.Dd(cell)], className="wb-stat-cell")
