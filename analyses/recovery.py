"""Recovery maps: where a patched run lies between the corrupt run and the clean run, as grids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analyses.averages import averaged, control, recoveries
from analyses.grid import Coord, Grid
from analyses.maps import CellMap
from analyses.measured import Measured
from analyses.metrics import Metric


@dataclass(frozen=True, eq=False)
class Elsewhere:
    """The same patch at random parts that are not on the map. run: the metric [prompt draw]; parts: where, by draw."""

    run: np.ndarray
    parts: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Recovery:
    """A sweep over the cells of a map, between two unedited runs of the same pairs.

    clean, corrupt: the metric of the unedited runs [prompt]. baseline: the recovery where nothing is patched. what:
    what was run, in words; more: what else to say of the cells, as the end of a sentence.
    """

    cells: CellMap
    metric: Metric
    measured: Measured
    clean: np.ndarray
    corrupt: np.ndarray
    baseline: float
    what: str
    more: str = ""

    def map(self, *, per_prompt: bool = False, interval: bool = True) -> tuple[Grid, ...]:
        """`recovered`, with its interval. interval: False while the map is still filling."""
        return recoveries(
            "recovered", self._patched, self.clean, self.corrupt, self.cells.dims, self.cells.coords,
            baseline=self.baseline, valid=self.cells.known(self.measured.done), per_prompt=per_prompt,
            about=f"{self.what}: (patched − corrupt) / (clean − corrupt) of the {self.metric.title}{self.more}",
            interval=interval,
        )  # fmt: skip

    def grids(self, *, per_prompt: bool = False, elsewhere: Elsewhere | None = None) -> tuple[Grid, ...]:
        """`recovered`, and what it is made of: `metric_run`, `metric_clean`, `metric_corrupt`; what to compare it with.

        elsewhere: parts that nobody picked; without them the map's own cells are the range.
        """
        title, unit, run = self.metric.title, self.metric.unit, self._patched
        recovered, *more = self.map(per_prompt=per_prompt)
        defined = recovered.values if recovered.valid is None else recovered.values[recovered.valid]
        return (
            recovered,
            *more,
            *(
                control("control", defined, "fraction", f"all {defined.size} cells of the map")
                if elsewhere is None
                else self._control(elsewhere)
            ),
            *averaged("metric_run", run, self.cells.dims, self.cells.coords, unit, per_prompt=per_prompt,
                      about=f"{title} of the patched run{self.more}", null=False,
                      valid=self.cells.known_by_prompt(self.measured.done, len(run))),
            *averaged("metric_clean", self.clean, (), {}, unit, about=f"{title} of the clean run",
                      per_prompt=per_prompt),
            *averaged("metric_corrupt", self.corrupt, (), {}, unit, per_prompt=per_prompt,
                      about=f"{title} of the corrupt run, with the answers of the clean prompts"),
        )  # fmt: skip

    def _control(self, elsewhere: Elsewhere) -> tuple[Grid, ...]:
        """`control`: the recovery at each random part, and their range."""
        coords: dict[str, tuple[Coord, ...]] = {"draw": tuple(range(len(elsewhere.parts))), "parts": elsewhere.parts}
        each = recoveries(
            "control", elsewhere.run, self.clean, self.corrupt, ("draw",), coords, baseline=self.baseline,
            about="recovery of the same patch at parts of the same kind drawn at random, none of them on the map",
            interval=False,
        )[0]  # fmt: skip
        known = each.values if each.valid is None else each.values[each.valid]
        return (each, *control("control", known, "fraction", f"{known.size} random parts that are not on the map"))

    @property
    def _patched(self) -> np.ndarray:
        """The metric of each patched run, [prompt, *axes]."""
        return self.cells.laid_out(self.measured.cells[0])
