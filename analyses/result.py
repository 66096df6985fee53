"""Result: grids, the experiment that made them, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from analyses.experiment import Experiment
from analyses.grid import Grid
from hooks.errors import SpecError
from hooks.spec import Spec


class Provenance(Spec):
    """Everything that the numbers depend on besides the experiment. Seconds are wall time; bytes are peak memory."""

    model_hash: str
    tokenizer_hash: str
    tokens: dict[str, tuple[tuple[int, ...], ...]]
    strings: dict[str, tuple[tuple[str, ...], ...]]
    versions: dict[str, str]
    device: str
    dtype: str
    attention: str
    source: str
    seed: int
    started: str
    seconds: float
    peak_bytes: int
    from_cache: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Result:
    """Enough to redraw, compare and replay; nothing else is consulted."""

    experiment: Experiment
    grids: Mapping[str, Grid]
    provenance: Provenance
    circuit: Mapping[str, Any] | None = field(default=None)

    @property
    def id(self) -> str:
        return self.experiment.id

    def grid(self, name: str) -> Grid:
        """The grid called `name`. Raises SpecError with the names there are."""
        if name not in self.grids:
            raise SpecError(f"this result has no grid '{name}'.", f"It has {', '.join(self.grids)}.")
        return self.grids[name]

    def to_json(self) -> dict[str, Any]:
        """The result in the JSON form of the contract."""
        return {
            "experiment": self.experiment.to_json(),
            "id": self.id,
            "grids": [grid.to_json() for grid in self.grids.values()],
            "circuit": self.circuit,
            "provenance": self.provenance.model_dump(mode="json"),
        }

    @classmethod
    def from_json(cls, spec: Mapping[str, Any]) -> Result:
        """The result that `to_json` printed."""
        grids = {grid["name"]: Grid.from_json(grid) for grid in spec["grids"]}
        provenance = Provenance.model_validate(spec["provenance"])
        return cls(Experiment.model_validate(spec["experiment"]), grids, provenance, spec.get("circuit"))
