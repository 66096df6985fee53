"""Grid: an array whose axes have names and coordinates. All results are made of Grids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from hooks.errors import SpecError

Unit = Literal[
    "logit", "prob", "nat", "fraction", "activation", "attention", "rank", "cosine", "perplexity", "correlation"
]  # fmt: skip
Coord = int | float | str


@dataclass(frozen=True, eq=False)
class Grid:
    """Values with named axes.

    values: float32 array, one axis per entry of `dims`. coords: for each axis, one label per index; further labels,
    such as the tokens behind ranks, have one entry per index of the last axis or one per cell in row order. unit: what
    the numbers are. baseline: the value that means "no effect" (None where there is none). valid: False where a value
    is missing; missing values hold 0 and are written as null. about: what the numbers mean, and why any are missing.
    """

    name: str
    values: np.ndarray
    dims: tuple[str, ...]
    coords: Mapping[str, tuple[Coord, ...]]
    unit: Unit
    baseline: float | None = None
    about: str = ""
    valid: np.ndarray | None = field(default=None)

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        if not hasattr(values, "chunks"):
            values = values.astype(np.float32, copy=False)
        object.__setattr__(self, "values", values)
        if values.ndim != len(self.dims):
            raise SpecError(
                f"grid '{self.name}' has {values.ndim} axes but {len(self.dims)} names.", "Name every axis."
            )
        for dim, size in zip(self.dims, values.shape, strict=True):
            if len(self.coords[dim]) != size:
                raise SpecError(
                    f"grid '{self.name}': axis {dim} has {size} values, {len(self.coords[dim])} labels.", ""
                )
        known = values if self.valid is None else values[self.valid]
        if not np.isfinite(known).all():
            raise SpecError(
                f"grid '{self.name}' holds a value that is not finite.", "Mark missing values with `valid`."
            )

    def select(self, **at: Coord) -> Grid:
        """The sub-grid at the given coordinate labels; a selected axis disappears."""
        index: list[Any] = [slice(None)] * len(self.dims)
        for dim, label in at.items():
            labels = self.coords[dim]
            if label not in labels:
                raise SpecError(f"{dim} {label} is not in grid '{self.name}'.", f"It has {labels[0]} to {labels[-1]}.")
            index[self.dims.index(dim)] = labels.index(label)
        kept = tuple(dim for dim in self.dims if dim not in at)
        valid = None if self.valid is None else np.asarray(self.valid[tuple(index)])
        return Grid(
            self.name,
            np.asarray(self.values[tuple(index)]),
            kept,
            {dim: self.coords[dim] for dim in kept},
            self.unit,
            self.baseline,
            self.about,
            valid,
        )

    def further(self) -> dict[str, tuple[Coord, ...]]:
        """The labels beside those of the axes, one per cell in row order."""
        beside = {name: labels for name, labels in self.coords.items() if name not in self.dims and labels}
        return {name: labels * (self.values.size // len(labels)) for name, labels in beside.items()}

    def records(self) -> Iterator[dict[str, Coord | float | None]]:
        """One row per cell: coordinates by axis name, further labels, `value` (None if missing)."""
        further = self.further()
        for cell, index in enumerate(np.ndindex(self.values.shape)):
            row: dict[str, Any] = {dim: self.coords[dim][i] for dim, i in zip(self.dims, index, strict=True)}
            row |= {name: labels[cell] for name, labels in further.items()}
            missing = self.valid is not None and not self.valid[index]
            row["value"] = None if missing else float(self.values[index])
            yield row

    def top(self, n: int = 10, *, by: Literal["absolute", "signed"] = "absolute") -> list[dict[str, Any]]:
        """The `n` cells farthest from the baseline (or simply largest), as records."""
        distance = np.asarray(self.values, dtype=np.float64) - (self.baseline or 0.0)
        distance = np.abs(distance) if by == "absolute" else distance
        if self.valid is not None:
            distance = np.where(self.valid, distance, -np.inf)
        order = np.argsort(-distance, axis=None, kind="stable")[:n]
        rows = []
        for flat in order:
            index = np.unravel_index(flat, self.values.shape)
            if self.valid is None or self.valid[index]:
                rows.append({d: self.coords[d][i] for d, i in zip(self.dims, index, strict=True)})
                rows[-1]["value"] = float(self.values[index])
        return rows

    def to_json(self) -> dict[str, Any]:
        """The grid as plain JSON values; missing values are None."""
        values: Any = self.values.astype(np.float64)
        if self.valid is not None:
            values = np.where(self.valid, values, None)
        return {
            "name": self.name,
            "dims": list(self.dims),
            "coords": {dim: list(labels) for dim, labels in self.coords.items()},
            "unit": self.unit,
            "baseline": self.baseline,
            "values": values.tolist(),
            "about": self.about,
        }

    @classmethod
    def from_json(cls, spec: Mapping[str, Any]) -> Grid:
        """The grid that `to_json` printed."""
        raw = np.array(spec["values"], dtype=object)
        valid = np.array([value is not None for value in raw.ravel()], dtype=bool).reshape(raw.shape)
        values = np.where(valid, raw, 0.0).astype(np.float32)
        coords = {dim: tuple(labels) for dim, labels in spec["coords"].items()}
        mask = None if valid.all() else valid
        return cls(
            spec["name"], values, tuple(spec["dims"]), coords, spec["unit"], spec["baseline"], spec["about"], mask
        )
