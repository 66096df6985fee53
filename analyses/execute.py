"""run_experiment: the one way from an Experiment to a Result."""

from __future__ import annotations

import resource
import sys
import time
from datetime import UTC, datetime

import torch

from analyses.analysis import analysis_named, normalised
from analyses.bench import Bench
from analyses.experiment import Experiment
from analyses.result import Provenance, Result
from hooks.attention import IMPLEMENTATION
from hooks.describe import versions


def run_experiment(experiment: Experiment, bench: Bench) -> Result:
    """The result of an experiment on the model and the inputs of `bench`.

    Raises SpecError, InputError, SiteMissing, BudgetError for what the user can mend, Cancelled when cancelled.
    """
    complete = normalised(experiment)
    analysis = analysis_named(complete.analysis)
    started, clock = datetime.now(UTC), time.perf_counter()
    findings = analysis.compute(analysis.params(complete.params), bench)
    model, batches = bench.model, bench.batches()
    notes = [*model.warnings, *bench.notes, *(note for batch in batches.values() for note in batch.warnings)]
    provenance = Provenance(
        model_hash=model.hash,
        tokenizer_hash=model.tokenizer_hash,
        tokens={name: batch.id_lists() for name, batch in batches.items()},
        strings={name: batch.strings for name, batch in batches.items()},
        versions=versions(),
        device=str(model.device),
        dtype=model.info.dtype,
        attention=IMPLEMENTATION,
        source=model.source,
        seed=complete.seed,
        started=started.isoformat(timespec="seconds"),
        seconds=round(time.perf_counter() - clock, 3),
        peak_bytes=peak_bytes(),
        from_cache=bench.forwards == 0,
        warnings=tuple(dict.fromkeys(notes)),
    )
    return Result(complete, {grid.name: grid for grid in findings.grids}, provenance, findings.circuit)


def peak_bytes() -> int:
    """Peak memory so far: of the device where it is CUDA, else of this process."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    # ru_maxrss is in kilobytes on Linux and in bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
