"""Forecast: what an experiment will cost, said before it starts.

The analysis is run with sweeps that only say what they would do; its few other forwards run in earnest and are timed.
Seconds come from the pace of forwards on this model and device; where none is known yet, two small forwards are timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from analyses.analysis import analysis_named, normalised
from analyses.bench import Bench, Progress
from analyses.experiment import Experiment
from analyses.measured import SweepForecast

PATIENCE_SECONDS = 2.0
"""How long an analysis without a sweep is run before the rest is taken to go on at the same speed."""


@dataclass(frozen=True)
class Forecast:
    """forwards and rows: of all sweeps; seconds: of the whole experiment; bytes: its largest forward, above the model.

    packing: how sweeps save work on this model, in words; "" where there is no sweep.
    """

    forwards: int
    rows: int
    seconds: float
    bytes: int
    packing: str

    def in_words(self) -> str:
        """Such as "about 5 s, 12 forwards, 180 MB"."""
        parts = [f"about {_duration(self.seconds)}"]
        if self.forwards:
            parts.append(f"{self.forwards:,} forward{'s' * (self.forwards > 1)} for {self.rows:,} rows")
        return ", ".join([*parts, f"{max(self.bytes, 1) / 1e6:,.0f} MB"])


class _Enough(Exception):
    """The rest is known from what has run."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


def forecast(experiment: Experiment, bench_of: Callable[[Callable[[Progress], None]], Bench]) -> Forecast:
    """What `experiment` will cost. bench_of: makes its bench, given what is told of progress.

    Raises SpecError, InputError, SiteMissing as the experiment itself would.
    """
    complete, started = normalised(experiment), time.perf_counter()
    analysis = analysis_named(complete.analysis)

    def told(progress: Progress) -> None:
        passed = time.perf_counter() - started
        if passed > PATIENCE_SECONDS and not bench.forecasts and 0 < progress.done < progress.total:
            raise _Enough(passed * progress.total / progress.done)

    bench = bench_of(told)
    bench.forecasts = found = list[SweepForecast]()
    try:
        analysis.compute(analysis.params(complete.params), bench)
        beside = time.perf_counter() - started - sum(sweep.tried for sweep in found)
    except _Enough as enough:
        beside = enough.seconds
    return Forecast(
        forwards=sum(sweep.forwards for sweep in found),
        rows=sum(sweep.rows for sweep in found),
        seconds=max(0.0, beside) + sum(sweep.seconds for sweep in found),
        bytes=max((sweep.bytes for sweep in found), default=0),
        packing=found[0].packing if found else "",
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
