"""The logit lens as cells: layers down, positions across, in each the token that comes first, coloured by a number.

Pure: grids in, frozen values out. What is compared shares one range, and every probability has the range 0 … 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analyses.grid import Coord, Grid
from workbench.figures.ablation import UNMEASURED, CellMap
from workbench.figures.numbers import UNIT_WORDS, number, whole
from workbench.figures.table import is_signed

QUANTITIES = {
    "top": "Probability of the top token",
    "prob": "Probability of the answer",
    "rank": "Rank of the answer",
    "kl": "KL to the final distribution",
    "logit_diff": "Logit difference",
}
MOST_POSITIONS = 64
"""Positions that are drawn at once; the others are a step away."""


@dataclass(frozen=True)
class LensCells(CellMap):
    """Cells with a text in each. faces: the tokens. ranks: the range is of ranks: 0 has the deepest colour.

    Levels of ranks go with the logarithm of 1 + rank: the places 0 to 9 matter as much as the next ninety.
    """

    faces: tuple[tuple[str, ...], ...] = ()
    ranks: bool = False

    @property
    def low(self) -> str:
        """The low end of the colour bar."""
        return whole(round(self.reach)) if self.ranks and self.scale == "share" else super().low

    @property
    def high(self) -> str:
        """The high end of the colour bar."""
        return "0" if self.ranks and self.scale == "share" else super().high


@dataclass(frozen=True)
class TopToken:
    """A token of a cell. width: of its bar, 0 … 1."""

    rank: int
    token: str
    prob: float


def quantities(grids: Mapping[str, Grid], prompt: int | None, *, answers: bool) -> dict[str, str]:
    """The quantities that a lens can be coloured by, with their titles. prompt: None for the mean over several.

    answers: whether its prompts have an answer.
    """
    of = "the answer" if answers else "the model’s own top token"
    names = [name for name in QUANTITIES if name in grids or (name == "top" and prompt is not None)]
    return {name: QUANTITIES[name].replace("the answer", of) for name in names}


def quantity_of(grids: Mapping[str, Grid], name: str, prompt: int | None) -> Grid:
    """One quantity over (layer, pos): of one prompt, or the mean over prompts with `prompt` None."""
    if name == "top":
        return _at(grids["top_prob"], prompt or 0).select(rank=0)
    if prompt is None or f"{name}_by_prompt" not in grids:
        return grids[name]
    return grids[f"{name}_by_prompt"].select(prompt=prompt)


def tops_of(grids: Mapping[str, Grid], prompt: int) -> tuple[tuple[tuple[TopToken, ...], ...], ...]:
    """The most probable tokens of every cell of one prompt, [layer][pos], likeliest first; none where padding is."""
    grid = grids["top_prob"]
    words = np.array(grid.coords["token"], dtype=object).reshape(grid.values.shape)
    probs, known = grid.values, np.ones(grid.values.shape, bool) if grid.valid is None else grid.valid
    if grid.dims[0] == "prompt":
        words, probs, known = words[prompt], probs[prompt], known[prompt]
    return tuple(
        tuple(
            tuple(TopToken(rank, str(words[row, col, rank]), float(probs[row, col, rank]))
                  for rank in range(probs.shape[2]) if known[row, col, rank])
            for col in range(probs.shape[1])
        )
        for row in range(probs.shape[0])
    )  # fmt: skip


def faces_of(grids: Mapping[str, Grid], prompt: int | None) -> tuple[tuple[str, ...], ...]:
    """The token that comes first in each cell; none for a mean over several prompts."""
    shape = grids["rank"].values.shape
    if prompt is None:
        return tuple(("",) * shape[1] for _ in range(shape[0]))
    return tuple(tuple(cell[0].token if cell else "" for cell in row) for row in tops_of(grids, prompt))


def reach_of(*grids: Grid) -> float:
    """The end of the range that some lenses share: 1 for probabilities, else their largest distance from 0."""
    if grids[0].unit == "prob" and not is_signed(grids[0]):
        return 1.0
    known = [grid.values if grid.valid is None else grid.values[grid.valid] for grid in grids]
    return max((float(np.abs(values).max(initial=0.0)) for values in known), default=0.0)


def difference(clean: Grid, edited: Grid) -> Grid:
    """Edited minus clean, cell by cell."""
    valid = None if clean.valid is None else clean.valid & (True if edited.valid is None else edited.valid)
    values = edited.values.astype(np.float64) - clean.values
    return replace(clean, name="difference", values=values, baseline=0.0, valid=valid, about="edited minus clean")


def changed_faces(clean: Sequence[Sequence[str]], edited: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """The edited run's first token where it is another one than the clean run's; else nothing."""
    return tuple(
        tuple("" if before == after else after for before, after in zip(row, other, strict=True))
        for row, other in zip(clean, edited, strict=True)
    )


def lens_cells(
    grid: Grid, *, faces: Sequence[Sequence[str]], strings: Sequence[str], reach: float, window: range
) -> LensCells:
    """The picture of one quantity over (layer, pos). reach: see `reach_of`. window: the positions that are drawn.

    strings: the prompt's tokens, one per position, or () where positions stand for themselves.
    """
    ranks = grid.unit == "rank"
    signed = grid.name == "difference" or is_signed(grid)
    levels, texts = [], []
    known = np.ones(grid.values.shape, dtype=bool) if grid.valid is None else grid.valid
    for row in range(len(grid.coords["layer"])):
        values = [float(grid.values[row, col]) if known[row, col] else None for col in window]
        levels.append(tuple(None if v is None else level_of(v, reach, ranks=ranks, signed=signed) for v in values))
        texts.append(tuple(UNMEASURED if v is None else number(v, signed=signed) for v in values))
    layers = grid.coords["layer"]
    return LensCells(
        rows=tuple(map(str, layers)),
        cols=tuple(strings[col] if strings else str(col) for col in window),
        row_name="layer",
        col_name="position",
        row_keys=tuple({"layer": layer} for layer in layers),
        col_dim="pos",
        col_keys=tuple(tuple(window) for _ in layers),
        levels=tuple(levels),
        texts=tuple(texts),
        scale="signed" if signed else "share",
        reach=reach,
        unit=UNIT_WORDS[grid.unit],
        faces=tuple(tuple(row[col] for col in window) for row in faces),
        ranks=ranks,
    )


def level_of(value: float, reach: float, *, ranks: bool, signed: bool) -> float:
    """The place of a value in its range: −1 … 1 for changes, 0 … 1 for shares; ranks go with their logarithm."""
    if reach == 0:
        return 1.0 if ranks and not signed else 0.0
    size = float(np.log1p(abs(value)) / np.log1p(reach)) if ranks else abs(value) / reach
    level = min(1.0, size)
    if ranks and not signed:
        level = 1.0 - level
    return round(-level if value < 0 else level, 3)


def window_at(position: int, length: int) -> range:
    """The positions that are drawn together with one of them."""
    first = position // MOST_POSITIONS * MOST_POSITIONS
    return range(first, min(length, first + MOST_POSITIONS))


def entry_name(layer: Coord, at: str, n_layers: int) -> str:
    """What an entry of the lens is called: "before layer 5", "the model’s own output"."""
    if at == "resid_pre":
        return "the model’s own output" if int(layer) == n_layers else f"before layer {layer}"
    return f"in layer {layer}, after attention" if at == "resid_mid" else f"after layer {layer}"


def _at(grid: Grid, prompt: int) -> Grid:
    return grid.select(prompt=prompt) if grid.dims[0] == "prompt" else grid
