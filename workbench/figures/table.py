"""Grids as rows: what a table, a text alternative and an export read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analyses.grid import Grid
from workbench.figures.numbers import UNIT_WORDS, number

WORDS = {
    "layer": "layer",
    "head": "head",
    "kv_head": "key/value head",
    "pos": "position",
    "q_pos": "query",
    "k_pos": "key",
    "unit": "neuron",
    "token": "token",
    "rank": "rank",
    "distance": "distance (query − key)",
    "prompt": "prompt",
}


def axis_title(dim: str) -> str:
    """The name of an axis in words."""
    return WORDS.get(dim, dim.replace("_", " "))


def unit_title(grid: Grid) -> str:
    """What the numbers of a grid are, for a header."""
    return UNIT_WORDS[grid.unit]


def rows(grid: Grid) -> list[dict[str, Any]]:
    """One row per cell: coordinates by axis name, `value`, and `text`, the number as written for a reader."""
    signed = is_signed(grid)
    return [{**row, "text": number(_value(row), signed=signed)} for row in grid.records()]


def _value(row: Mapping[str, Any]) -> float | None:
    return None if row["value"] is None else float(row["value"])


CHANGES = (
    "effect", "indirect_effect", "total_effect", "difference", "recovered", "control", "estimate", "exact", "direct",
    "ablation", "repair",
)  # fmt: skip
"""How the names of grids begin that hold changes, whatever their unit."""


def is_signed(grid: Grid) -> bool:
    """True where numbers are changes about a baseline, so that a plus sign means something."""
    if grid.baseline is None or grid.name.startswith("kl"):
        return False
    return (
        grid.unit in ("logit", "nat", "activation", "cosine", "correlation")
        or grid.name.startswith(CHANGES)
        or grid.name.endswith(("_change", "_change_low", "_change_high"))
    )


def top_cells(grid: Grid, n: int = 10, *, tokens: Sequence[str] | None = None) -> list[str]:
    """The text alternative of a map: its `n` most telling cells, each as a phrase such as `layer 3, head 5: +1.23`."""
    phrases = []
    for cell in grid.top(n, by="absolute" if is_signed(grid) else "signed"):
        value = cell.pop("value")
        places = [f"{axis_title(dim)} {_place(dim, label, tokens)}" for dim, label in cell.items()]
        phrases.append(f"{', '.join(places)}: {number(value, signed=is_signed(grid))}" if places else number(value))
    return phrases


def _place(dim: str, label: Any, tokens: Sequence[str] | None) -> str:
    if tokens is not None and dim in ("pos", "q_pos", "k_pos") and isinstance(label, int) and label < len(tokens):
        return f"{label} “{tokens[label]}”"
    return str(label)
