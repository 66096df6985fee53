"""The list of results: a card each, filtered by what is typed; what was deleted can be brought back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dash_mantine_components as dmc
import numpy as np
from dash import html

from analyses.grid import Grid
from analyses.result import Result
from workbench.figures.ablation import cell_map
from workbench.figures.numbers import number, seconds, whole
from workbench.parts.empty import empty
from workbench.parts.export_menu import export_menu
from workbench.parts.icons import icon
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.results import ResultCard
    from workbench.workspace import Workspace

SHOWN = 24
THUMB_CELLS = 48
THUMB_BARS = 10
LONG_PROMPT = 96


def found(cards: Sequence[ResultCard], find: str, only_saved: bool) -> list[ResultCard]:
    """The cards that hold every word of `find`, in their sentence, note, model, analysis or id."""
    words = find.lower().split()

    def text(card: ResultCard) -> str:
        return " ".join((card.sentence, card.note, card.model, card.analysis, card.headline, card.id)).lower()

    return [card for card in cards if (card.saved or not only_saved) and all(word in text(card) for word in words)]


def results_list(workspace: Workspace, state: State, count: int = SHOWN) -> list[Any]:
    """The cards of the state's filter, the newest `count` of them, and a button for more."""
    cards = workspace.results()
    if not cards:
        return [_nothing()]
    matching = found(cards, state.find, state.saved)
    if not matching:
        return [empty("No result matches", "Shorten the filter, or show all results.", _clear(), symbol="search")]
    items = [card_of(workspace, card, state.beside) for card in matching[:count]]
    words = f"{whole(len(matching))} of {whole(len(cards))} results" if len(matching) < len(cards) else ""
    shown = [html.P(words, className="wb-muted", role="status"), html.Div(items, className="res-cards", id="res-cards")]
    if len(matching) > count:
        more = f"Show {min(SHOWN, len(matching) - count)} more"
        shown.append(dmc.Button(more, id={"type": "res-more", "of": "list"}, variant="default"))
    return shown


def _nothing() -> Any:
    link = html.A("Ablate a head", href="/ablation", className="wb-button wb-primary", **{"data-wb-nav": "/ablation"})
    return empty("No results yet", "Every ablation and sweep that you run is kept here.", link, symbol="results")


def _clear() -> Any:
    return html.A(
        "Show all results",
        href="/results",
        className="wb-button wb-primary",
        **{"data-wb-nav": "/results", "data-wb-set": '{"find": "", "saved": false}'},
    )


def card_of(workspace: Workspace, card: ResultCard, beside: str) -> Any:
    """One result: picture, sentence, headline, where and when, note, and what can be done with it."""
    tags = [html.Span("saved", className="wb-tag")] if card.saved else []
    body = html.Div(
        [
            html.H2(html.A(card.sentence, href=f"/results?open={card.id}", className="res-title", **_opens(card.id))),
            html.P(card.headline, className="res-headline wb-number"),
            html.P(
                [f"{card.model} · {when(card.created)} · {seconds(card.seconds)} ", *tags],
                className="wb-muted wb-number",
            ),
            note_box(card),
            _actions(card, beside),
        ],
        className="res-body",
    )
    return html.Article([thumbnail(workspace, card), body], className="res-card", id=f"res-card-{card.id}", key=card.id)


def note_box(card: ResultCard) -> Any:
    """The note, to be typed over; it is kept when the field is left or Enter is pressed."""
    field = dmc.TextInput(
        id={"type": "res-note", "id": card.id},
        value=card.note,
        placeholder="Add a note",
        debounce=True,
        **{"aria-label": "Note"},
    )
    said = html.Span(id={"type": "res-note-said", "id": card.id}, className="res-said", role="status")
    return html.Div([field, said], className="res-note")


def _actions(card: ResultCard, beside: str) -> Any:
    if beside and beside != card.id:
        compare = _button("Compare with this", {"open": card.id, "beside": beside}, "wb-button wb-primary")
    elif beside == card.id:
        compare = _button("Do not compare", {"beside": ""}, "wb-button")
    else:
        compare = _button("Compare", {"beside": card.id, "open": ""}, "wb-button")
    return html.Div(
        [
            _button("Open", {"open": card.id, "beside": ""}, "wb-button"),
            compare,
            export_menu(card.id, circuit=card.analysis.startswith("circuit_")),
            delete_button(card.id),
        ],
        className="wb-tools",
    )


def delete_button(result_id: str) -> Any:
    """Delete, which can be undone."""
    return html.Button(
        icon("delete", size=16),
        id={"type": "res-delete", "id": result_id},
        type="button",
        className="wb-icon-button",
        title="Delete",
        **{"aria-label": "Delete this result"},
    )


def _button(text: str, changes: dict[str, str], name: str) -> Any:
    return html.A(
        text, href="/results", className=name, **{"data-wb-nav": "/results", "data-wb-set": json.dumps(changes)}
    )


def _opens(result_id: str) -> dict[str, str]:
    return {"data-wb-nav": "/results", "data-wb-set": json.dumps({"open": result_id, "beside": ""})}


def when(created: str) -> str:
    """An ISO time as people write it: `25 Nov 2026, 14:05`."""
    return datetime.fromisoformat(created).astimezone().strftime("%-d %b %Y, %H:%M")


def thumbnail(workspace: Workspace, card: ResultCard) -> Any:
    """A small picture of the result's main grid, or nothing where it would need too much to be read."""
    result = workspace.result(card.id)
    picture = None if result is None or _too_large(result) else _picture(result)
    return html.Div(picture, className="res-picture", **{"aria-hidden": "true"})


def _too_large(result: Result) -> bool:
    longest = max((len(ids) for prompts in result.provenance.tokens.values() for ids in prompts), default=0)
    return result.experiment.analysis == "attention_patterns" and longest > LONG_PROMPT


def _picture(result: Result) -> Any:
    grid = next((grid for grid in result.grids.values() if len(grid.dims) >= 2), None)
    if grid is not None:
        flat = _flat(grid)
        picture = cell_map(flat)
        spec = {"levels": picture.levels, "scale": picture.scale}
        return html.Div(className="res-thumb", **{"data-cells": json.dumps(spec, allow_nan=False)})
    bars = next((grid for grid in result.grids.values() if len(grid.dims) == 1), None)
    if bars is not None:
        return _bars(bars)
    first = next(iter(result.grids.values()))
    return html.Span(number(float(first.values), signed=first.baseline is not None), className="wb-mono")


def _flat(grid: Grid) -> Grid:
    """The last two axes, averaged over those before, thinned to what a thumbnail shows."""
    rows, cols = grid.dims[-2:]
    height, width = grid.values.shape[-2:]
    steps = [1 if dim == "unit" else max(1, -(-size // THUMB_CELLS)) for dim, size in ((rows, height), (cols, width))]
    down, right = slice(None, None, steps[0]), slice(None, None, steps[1])
    stacked = np.asarray(grid.values, np.float32).reshape(-1, height, width)
    known = np.ones_like(stacked, bool) if grid.valid is None else np.asarray(grid.valid, bool).reshape(stacked.shape)
    coords = {rows: grid.coords[rows][down], cols: grid.coords[cols][right]}
    values, valid = stacked.mean(axis=0)[down, right], np.all(known, axis=0)[down, right]
    return Grid(grid.name, values, (rows, cols), coords, grid.unit, grid.baseline, grid.about, valid)


def _bars(grid: Grid) -> Any:
    values = np.abs(np.asarray(grid.values[:THUMB_BARS], np.float64))
    top = float(values.max(initial=0.0)) or 1.0
    return html.Div([html.Div(style={"width": f"{100 * value / top:.1f}%"}) for value in values], className="res-bars")


def deleted_line(card: ResultCard) -> Any:
    """What was deleted, and the button that brings it back."""
    undo = html.Button(
        [icon("undo", size=16), "Undo"],
        id={"type": "res-restore", "id": card.id},
        type="button",
        className="wb-button",
    )
    words = html.Span(f"Deleted: {card.sentence}", className="wb-ellipsis")
    return html.Div([words, undo], className="res-deleted", role="status")
