"""Run a stored experiment again and compare: the largest difference per grid, and whether it is within tolerance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analyses.grid import Grid
from analyses.result import Result

TOLERANCES = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}
"""Largest absolute difference that replaying may show, by the model's dtype."""


@dataclass(frozen=True)
class Replay:
    """differences: largest absolute difference per grid; infinite where shape, labels or missing values differ.

    Under "circuit" stands that of a circuit which the analysis found; see `circuit_difference`.
    """

    differences: dict[str, float]
    tolerance: float
    notes: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        return all(difference <= self.tolerance for difference in self.differences.values())

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; an infinite difference is None."""
        finite = {name: value if math.isfinite(value) else None for name, value in self.differences.items()}
        return {
            "agrees": self.agrees,
            "tolerance": self.tolerance,
            "differences": finite,
            "notes": list(self.notes),
        }


def tolerance(result: Result) -> float:
    """The tolerance that goes with the dtype in which the result was computed."""
    return TOLERANCES[result.provenance.dtype.removeprefix("torch.")]


def compare(stored: Result, again: Result) -> Replay:
    """How far `again` is from `stored`, grid by grid; notes say what differs about how they were made."""
    differences = {
        name: difference(grid, again.grids[name]) if name in again.grids else math.inf
        for name, grid in stored.grids.items()
    }
    if stored.circuit is not None:
        differences["circuit"] = circuit_difference(stored.circuit, again.circuit)
    return Replay(differences, tolerance(stored), tuple(_notes(stored, again)))


def circuit_difference(stored: Mapping[str, Any], again: Mapping[str, Any] | None) -> float:
    """How far two circuits in their JSON form are apart: the largest difference of the scores of an edge.

    An edge that one of them lacks counts by how far it lies above the weakest edge of the other: two edges of almost
    equal score may have changed places at the cut. Infinite where such an edge has no score.
    """
    ours, theirs = ({tuple(edge[part] for part in ("source", "target", "channel")): edge["score"]
                     for edge in (circuit or {"edges": ()})["edges"]} for circuit in (stored, again))  # fmt: skip
    apart = [_apart(ours[key], theirs[key]) for key in ours.keys() & theirs.keys()]
    for one, other in ((ours, theirs), (theirs, ours)):
        known = [abs(score) for score in other.values() if score is not None]
        for key in one.keys() - other.keys():
            score = one[key]
            apart.append(abs(abs(score) - min(known)) if score is not None and known else math.inf)
    return max(apart, default=0.0)


def _apart(score: float | None, other: float | None) -> float:
    if score is None or other is None:
        return 0.0 if score is other else math.inf
    return abs(score - other)


def difference(stored: Grid, again: Grid) -> float:
    """The largest absolute difference of two grids; infinite where they do not have the same cells.

    Cells meet by their labels: two tokens of almost equal probability may have changed places.
    """
    if stored.dims != again.dims:
        return math.inf
    places = []
    for dim in stored.dims:
        order = {label: place for place, label in enumerate(again.coords[dim])}
        if order.keys() != set(stored.coords[dim]) or len(order) != len(stored.coords[dim]):
            return math.inf
        places.append([order[label] for label in stored.coords[dim]])
    there = np.ix_(*places) if places else ()
    valid, found = _valid(stored), np.asarray(again.values, np.float64)[there]
    if not np.array_equal(valid, _valid(again)[there]):
        return math.inf
    return float(np.abs(np.asarray(stored.values, np.float64) - found)[valid].max(initial=0.0))


def _valid(grid: Grid) -> np.ndarray:
    return np.ones(grid.values.shape, bool) if grid.valid is None else np.asarray(grid.valid, bool)


def _notes(stored: Result, again: Result) -> list[str]:
    """What is different about the model, the tokenizer or the libraries."""
    before, now = stored.provenance, again.provenance
    notes = []
    if before.model_hash != now.model_hash:
        notes.append("the model's weights are not the stored ones")
    if before.tokens != now.tokens:
        notes.append("the prompts give other tokens than the stored ones")
    changed = [name for name, version in before.versions.items() if now.versions.get(name) != version]
    notes += [f"{name} was {before.versions[name]}, is {now.versions.get(name, 'absent')}" for name in changed]
    return notes
