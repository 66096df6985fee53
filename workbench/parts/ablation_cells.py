"""Cells to click and to read: the host that `assets/ablation.js` fills, its colour bar, and its text alternative.

The page sends levels and texts; the browser draws one focusable cell each, so that pointer, keyboard and screen reader
meet the same thing. `{layer}`, `{head}` … in a template are filled from the coordinates of the cell.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from dash import html

from hooks.sites import Part
from workbench.figures.ablation import CellMap
from workbench.figures.numbers import number

Action = Literal["toggle", "open", "neuron", "none"]
NONE_OUTSIDE = "No cell lies outside the control’s range."


def cells(
    id: str,
    picture: CellMap,
    *,
    label: str,
    name: str | Sequence[str] = "",
    action: Action = "none",
    target: str = "",
    kind: str = "",
    say: str = "",
    targets: Sequence[Sequence[str]] = (),
    grey: bool = False,
) -> html.Div:
    """A map of cells with its readout and colour bar.

    label: what the map shows, for screen readers. name: template of what a cell is called, or one for each column.
    target: template of the parts that a click toggles, or of what it opens. kind: how an added part is replaced; ""
    where the target is whole edits. say: what a click does. targets: in place of the template, the target of each cell,
    "" for none. grey: take the colour from cells inside the control's range.
    """
    spec: dict[str, Any] = {
        "rows": picture.rows,
        "cols": picture.cols,
        "rowName": picture.row_name,
        "colName": picture.col_name,
        "rowKeys": picture.row_keys,
        "colDim": picture.col_dim,
        "colKeys": picture.col_keys,
        "levels": picture.levels,
        "texts": picture.texts,
        "scale": picture.scale,
        "unit": picture.unit,
        "action": action,
        "target": target,
        "name": name if isinstance(name, str) else list(name),
        "kind": kind,
        "label": label,
        "say": say,
        "inside": picture.inside or None,
        "grey": grey,
    }
    spec |= {"targets": [list(row) for row in targets]} if targets else {}
    return html.Div([host(id, spec), readout(say), colour_bar(picture, grey=grey)], className="abl-figure")


def host(id: str, spec: dict[str, Any]) -> html.Div:
    """The element that the browser fills with cells."""
    return html.Div(id=id, className="abl-cells", **{"data-cells": json.dumps(spec, allow_nan=False)})


def readout(text: str) -> html.P:
    """The line that says what is under the pointer."""
    return html.P(text, className="abl-readout", **{"data-rest": text, "aria-hidden": "true"})


def colour_bar(picture: CellMap, *, grey: bool = False) -> html.Div:
    """The range in colours, with its ends, its middle and its unit in words, where it is one; what grey means."""
    middle = [html.Span(number(picture.baseline), className="abl-bar-middle")] if picture.scale == "signed" else []
    scale = "diverging" if picture.scale == "signed" else "sequential"
    bar = [
        html.Span(picture.low),
        html.Div(middle, className="abl-bar", **{"data-ramp": scale}),
        html.Span(picture.high),
        html.Span(picture.unit, className="wb-muted"),
    ]
    items = bar if picture.measured and picture.low != picture.high else []
    if picture.measured < sum(map(len, picture.levels)):
        missing = html.Span(className="abl-hatch", **{"aria-hidden": "true"})
        items.append(html.Span([missing, "not measured"], className="abl-missing-words wb-muted"))
    if grey and picture.inside:
        patch = html.Span(className="abl-grey", **{"aria-hidden": "true"})
        items.append(html.Span([patch, "inside the control’s range"], className="abl-missing-words wb-muted"))
    return html.Div(items, className="abl-legend wb-number")


def list_item(parts: Sequence[Part | str], kind: str, name: str, number: str, level: float) -> html.Li:
    """A row of a list of cells: name, bar and number; a click adds the parts (or whole edits) or takes them out."""
    content = [
        html.Span(name, className="abl-item-name"),
        html.Span(
            html.Span(style={"width": f"{50 * abs(level):.1f}%"}, className="abl-item-mark"),
            className=f"abl-item-bar {'abl-below' if level < 0 else 'abl-above'}",
            **{"aria-hidden": "true"},
        ),
        html.Span(number, className="abl-item-number wb-number"),
    ]
    button = html.Button(
        content,
        type="button",
        className="abl-item",
        **{
            "data-abl-toggle": ";".join(str(part) for part in parts),
            "data-abl-kind": kind,
            "aria-pressed": "false",
            "aria-label": f"{name}, {number}: add to the edits, or take out",
        },
    )
    return html.Li(button)
