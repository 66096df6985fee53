"""Sweeps as maps: the cells of a sweep by their coordinates, where each value belongs, and what is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analyses.averages import averaged, control
from analyses.grid import Coord, Grid, Unit
from analyses.measured import Measured
from analyses.phrases import listed
from hooks.errors import InputError
from hooks.interventions.zero import Zero
from hooks.model import Instrumented
from hooks.sites import Part
from hooks.tokens import TokenBatch

Parts = tuple[Part, ...]


@dataclass(frozen=True, eq=False)
class CellMap:
    """The cells of a sweep that a model has, and their places in a map.

    dims, coords: the axes of the map and their labels. cells: the coordinates of each cell that exists; parts: the
    parts that are edited together there. places: where in the map, in row order, each of them is. left_out: what to
    say of the cells that do not exist, as the end of a sentence.
    """

    dims: tuple[str, ...]
    coords: Mapping[str, tuple[Coord, ...]]
    cells: tuple[tuple[Coord, ...], ...]
    parts: tuple[Parts, ...]
    places: np.ndarray
    left_out: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(self.coords[dim]) for dim in self.dims)

    def laid_out(self, values: np.ndarray) -> np.ndarray:
        """Values [cell prompt] as [prompt, *axes]; 0 where there is no cell."""
        full = np.zeros((values.shape[1], int(np.prod(self.shape))), dtype=np.float64)
        full[:, self.places] = values.T
        return full.reshape(-1, *self.shape)

    def known_by_prompt(self, done: np.ndarray, prompts: int) -> np.ndarray | None:
        """`known` for every prompt, [prompt, *axes]."""
        known = self.known(done)
        return None if known is None else np.broadcast_to(known, (prompts, *known.shape))

    def known(self, done: np.ndarray) -> np.ndarray | None:
        """True in the map where a cell exists and is done; None where all are. done: [cell]."""
        full = np.zeros(int(np.prod(self.shape)), dtype=bool)
        full[self.places] = done
        return None if full.all() else full.reshape(self.shape)


def changes(measured: Measured) -> np.ndarray:
    """The first metric with a cell's edits minus without, [cell prompt]."""
    with np.errstate(invalid="ignore"):  # An expression may be infinite before and after; such cells are masked.
        return np.asarray(measured.cells[0] - measured.clean[0])


def mapped(
    name: str,
    cells: CellMap,
    values: np.ndarray,
    done: np.ndarray,
    unit: Unit,
    *,
    about: str,
    per_prompt: bool = False,
    whole: bool = True,
) -> tuple[Grid, ...]:
    """Effects [cell prompt] as the grid `name` with its interval, and the range of all cells as its control.

    done: which cells are measured. whole: False while the map is still filling, when the grid comes alone.
    """
    effects = cells.laid_out(values)
    grids = averaged(
        name, effects, cells.dims, cells.coords, unit, baseline=0.0, about=f"{about}{cells.left_out}",
        valid=cells.known_by_prompt(done, len(effects)), interval=whole, per_prompt=whole and per_prompt,
    )  # fmt: skip
    if not whole:
        return grids
    return (*grids, *control("control", values.mean(axis=1), unit, f"all {len(values)} cells of the map"))


def map_of(model: Instrumented, cells: Mapping[tuple[Coord, ...], Parts], dims: tuple[str, ...]) -> CellMap:
    """The map of a sweep over `cells`, which are listed by their coordinates along `dims`.

    A cell of which a layer lacks a part, such as a head in a state-space layer, is left out and named. Raises
    SiteMissing for layers, heads and units that do not exist, and with the proof's reason where no cell is left.
    """
    there = [_editable(model, parts) for parts in cells.values()]
    if cells and not any(there):
        model.require_writable([Zero(at=part) for parts in cells.values() for part in parts])
    coords = {dim: tuple(dict.fromkeys(cell[axis] for cell in cells)) for axis, dim in enumerate(dims)}
    kept = [(cell, parts) for (cell, parts), keep in zip(cells.items(), there, strict=True) if keep]
    return CellMap(
        dims,
        coords,
        tuple(cell for cell, _ in kept),
        tuple(parts for _, parts in kept),
        np.flatnonzero(there),
        _left_out(cells, there, dims),
    )


def _editable(model: Instrumented, parts: Parts) -> bool:
    """Whether a cell has parts and its layer has all of them. Raises SiteMissing for what does not exist."""
    for part in parts:
        model.info.check_part(part)
    return bool(parts) and all(part.site in model.writable for part in parts)


def _left_out(cells: Mapping[tuple[Coord, ...], Parts], there: Sequence[bool], dims: tuple[str, ...]) -> str:
    """Which layers a sweep leaves out, as the end of a sentence."""
    axis = dims.index("layer") if "layer" in dims else 0
    missing = {cell[axis]: parts for (cell, parts), kept in zip(cells.items(), there, strict=True) if not kept}
    if not missing:
        return ""
    names = sorted({part.site.name for parts in missing.values() for part in parts})
    which = listed(list(map(str, missing)))
    have = f"layer {which} has" if len(missing) == 1 else f"layers {which} have"
    return f"; {have} no {listed(names) if names else 'such part'}"


def layers_of(n_layers: int, chosen: tuple[int, ...] | None) -> tuple[int, ...]:
    """The layers of a sweep: the chosen ones, or all."""
    return tuple(range(n_layers)) if chosen is None else chosen


def positions_of(batch: TokenBatch, chosen: tuple[int | str, ...] | None) -> tuple[int | str, ...]:
    """The positions of a sweep: the chosen indices or names, or all of prompts that are equally long.

    Raises InputError for prompts of several lengths without a choice, and for a position that a prompt lacks.
    """
    shortest, longest = min(batch.lengths), max(batch.lengths)
    if chosen is None:
        if shortest != longest:
            raise InputError(
                f"a sweep over positions needs prompts of equal length; these have {shortest} to {longest} tokens.",
                'Choose positions that mean the same in every prompt by name, such as "positions": ["last"].',
            )
        return tuple(range(shortest))
    for position in chosen:
        if isinstance(position, str) and position not in batch.positions:
            names = ", ".join(batch.positions)
            raise InputError(f"no position is called '{position}'.", f"Named positions: {names}.")
        if isinstance(position, int) and not 0 <= position < shortest:
            raise InputError(
                f"position {position} is not in every prompt: the shortest has {shortest} tokens.",
                f"Choose from 0 to {shortest - 1}, or a named position.",
            )
    return chosen


def position_axis(axis: str, positions: Sequence[int | str]) -> str:
    """The name of a map's axis: positions that are named have no place in the text to be labelled with tokens."""
    return "position" if any(isinstance(position, str) for position in positions) else axis


def window_of(layer: int, size: int, n_layers: int) -> range:
    """The `size` layers around `layer` (one fewer after than before where `size` is even), cut at the model's ends."""
    return range(max(0, layer - size // 2), min(n_layers, layer - size // 2 + size))


def usual_window(n_layers: int) -> int:
    """How many layers are edited together around each: 10, as in GPT-2 XL, but at most a third of the model's."""
    return max(1, min(10, n_layers // 3))
