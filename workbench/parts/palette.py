"""The command palette and the map of keys; both are filled by assets/palette.js."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from dash import html

from workbench.pages.base import Page

KEYS: tuple[tuple[str, str], ...] = (
    ("Ctrl K", "command palette: pages, heads such as 23.3, commands"),
    ("← → ↑ ↓", "move over heads and layers"),
    ("[ ]", "layer before, layer after"),
    ("Enter", "open what is selected"),
    ("a", "ablate what is selected: a head, a cell, a token"),
    ("x", "cut the attention edge that is selected"),
    ("p", "patch: the page for the selected head or cell; on it, add the cell to the edits"),
    ("u", "undo the last edit"),
    ("Shift u", "redo"),
    ("e", "export"),
    ("c", "copy a link to this view"),
    ("t", "light or dark"),
    ("Esc", "close what floats"),
    ("?", "this list"),
)


def palette(pages: Sequence[Page]) -> Any:
    """The palette's field and list, and the commands that it offers."""
    commands = [
        {"title": f"Go to {page.title}", "path": page.path} for page in sorted(pages, key=lambda page: page.order)
    ]
    commands += [
        {"title": "Edit the prompt", "action": "prompt"},
        {"title": "Open another model", "action": "model"},
        {"title": "Run the edits", "action": "run"},
        {"title": "Undo the last edit", "action": "undo"},
        {"title": "Redo", "action": "redo"},
        {"title": "Clear all edits", "action": "clear-edits"},
        {"title": "Copy a link to this view", "action": "copy"},
        {"title": "Switch between light and dark", "action": "theme"},
        {"title": "Show all keys", "action": "help"},
    ]
    return html.Div(
        className="wb-flyout wb-palette",
        id="flyout-palette",
        role="dialog",
        **{"aria-label": "Command palette", "data-wb-flyout": "palette", "data-commands": json.dumps(commands)},
    )


def help_keys() -> Any:
    """All keys, beside the page rather than over it."""
    return html.Div(
        className="wb-flyout wb-help",
        id="flyout-help",
        role="dialog",
        **{"aria-label": "Keys", "data-wb-flyout": "help", "data-keys": json.dumps(KEYS)},
    )
