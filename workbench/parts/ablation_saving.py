"""Keep a result: a note, a button, and its exports."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import html

from workbench.parts.export_menu import export_menu
from workbench.parts.icons import icon


def save_row(of: str, result_id: str, grid: str) -> Any:
    """Note, Save and Export for the result shown in the panel `of`. grid: which one a figure shows."""
    note = dmc.TextInput(
        id={"type": "abl-note", "of": of}, placeholder="What you saw, for the results list", **{"aria-label": "Note"}
    )
    button = dmc.Button("Save result", id={"type": "abl-save", "of": of})
    said = html.Span(id={"type": "abl-saved", "of": of}, className="abl-saved", role="status")
    items = [note, button, export_menu(result_id, grid), said]
    return html.Div(items, className="abl-save", **{"data-result": result_id})


def saved_words(result_id: str) -> Any:
    """What stands beside the button afterwards."""
    link = html.A(
        "Open it",
        href=f"/results?open={result_id}",
        **{"data-wb-nav": "/results", "data-wb-set": f'{{"open": "{result_id}"}}'},
    )
    return [icon("check", size=16), " Saved to the results. ", link]
