"""Tables: one look for every ag-grid of the app."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dash_ag_grid as dag

DEFAULTS: dict[str, Any] = {
    "sortable": True,
    "resizable": True,
    "filter": False,
    "suppressMovable": True,
    "wrapHeaderText": True,
    "autoHeaderHeight": True,
}
OPTIONS: dict[str, Any] = {
    "animateRows": False,
    "suppressCellFocus": False,
    "enableCellTextSelection": True,
    "ensureDomOrder": True,
    "headerHeight": 32,
    "rowHeight": 32,
    "suppressHorizontalScroll": False,
    "tooltipShowDelay": 300,
}
ALL_ROWS = 40


def table(
    id: str,
    columns: Sequence[Mapping[str, Any]],
    rows: Sequence[Mapping[str, Any]],
    *,
    height: int | None = None,
    options: Mapping[str, Any] | None = None,
    **kw: Any,
) -> dag.AgGrid:
    """A table of `rows` (plain values). columns: ag-grid column definitions; `number(...)` and `status(...)` make some.

    Without a height it is as tall as its rows (up to 40 of them, then it scrolls).
    """
    tall = height is None and len(rows) > ALL_ROWS
    layout = {} if height or tall else {"domLayout": "autoHeight"}
    style = {"width": "100%", **({"height": height or 34 + 32 * ALL_ROWS} if height or tall else {"height": None})}
    return dag.AgGrid(
        id=id,
        columnDefs=[dict(column) for column in columns],
        rowData=[dict(row) for row in rows],
        defaultColDef=DEFAULTS,
        columnSize=kw.pop("columnSize", "responsiveSizeToFit"),
        dashGridOptions={**OPTIONS, **layout, **(options or {})},
        className="wb-table",
        style=style,
        **kw,
    )


def number(field: str, title: str, *, text: str = "", **more: Any) -> dict[str, Any]:
    """A right-aligned column sorted by the number in `field` and written as the text in `text` (default FIELD_text)."""
    shown = text or f"{field}_text"
    return {
        "field": field,
        "headerName": title,
        "type": "rightAligned",
        "cellClass": "wb-cell-number",
        "valueFormatter": {"function": f"params.data.{shown}"},
        **more,
    }


def status(field: str, title: str, tones: Mapping[str, str], **more: Any) -> dict[str, Any]:
    """A column of words with a dot: `tones` gives ok, warn, bad or idle for each word."""
    rules: dict[str, str] = {}
    for word, tone in tones.items():
        test = f"params.value == '{word}'"
        rules[f"wb-cell-{tone}"] = f"{rules[f'wb-cell-{tone}']} || {test}" if f"wb-cell-{tone}" in rules else test
    return {"field": field, "headerName": title, "cellClass": "wb-cell-status", "cellClassRules": rules, **more}
