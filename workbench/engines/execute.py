"""Run one request with the open models of an engine; the answer goes to disk, where every process finds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from analyses.bench import Progress
from analyses.execute import run_experiment
from analyses.experiment import Experiment
from analyses.forecast import forecast
from hooks.errors import StoreError
from hooks.model import Instrumented
from hooks.plan import CapturePlan
from workbench.bench import CachedBench
from workbench.cache import Store
from workbench.engines.circuits import OpenCircuits
from workbench.engines.opened import OpenModels
from workbench.export.model_files import write_model_file
from workbench.images import Images
from workbench.known import IMAGES, KnownModels
from workbench.live_circuits import KeptRuns
from workbench.models.fetch import Step
from workbench.requests import (
    CAPTURED,
    CaptureRequest,
    CircuitRequest,
    ExperimentRequest,
    ForecastRequest,
    ModelFileRequest,
    OpenRequest,
    Request,
)
from workbench.results import Results
from workbench.settings import Settings
from workbench.sweeps import KeptSweeps

Report = Callable[[Progress], None]
STORE, RESULTS = "store", "results"


@dataclass(frozen=True, eq=False)
class Desk:
    """What an engine works with: where answers go, the models it keeps open, and the circuits it holds ready."""

    settings: Settings
    store: Store
    results: Results
    models: OpenModels
    circuits: OpenCircuits = field(default_factory=OpenCircuits)

    @classmethod
    def of(cls, settings: Settings) -> Desk:
        """The desk of a workspace folder, with no model open yet."""
        store = Store(settings.workspace_dir / STORE, settings.store_limit_bytes)
        results = Results(settings.workspace_dir / RESULTS)
        return cls(settings, store, results, OpenModels(settings, KnownModels(settings)))


def execute(request: Request, desk: Desk, report: Report) -> bool:
    """Answer a request; gives whether the answer was there already, so that no forward pass ran.

    report: called between forward passes; what it raises (Cancelled) ends the run. Raises WorkbenchError.
    """

    def step(sentence: str) -> None:
        report(Progress(0, 0, sentence))

    model, was_open = desk.models.get(request.model, step)
    desk.circuits.forget_others(desk.models.models())
    if isinstance(request, OpenRequest):
        return was_open
    if isinstance(request, ModelFileRequest):
        return _model_file(request, desk, model, step)
    summary = desk.models.summary(request.model)

    def bench(experiment: Experiment, told: Report = report) -> CachedBench:
        budget = desk.settings.budget_bytes
        return CachedBench(
            model, experiment, store=desk.store, summary=summary, progress=told, budget_bytes=budget,
            images=Images(desk.settings.workspace_dir / IMAGES), sweeps=KeptSweeps(desk.settings.workspace_dir),
        )  # fmt: skip

    if isinstance(request, CaptureRequest):
        return _capture(request, bench(_inputs(request)))
    if isinstance(request, ForecastRequest):
        return _forecast(request, bench, report, KeptSweeps(desk.settings.workspace_dir))
    if isinstance(request, CircuitRequest):
        return _circuit(request, desk, bench, report)
    return _run(request, bench(request.experiment), desk.results)


def _capture(request: CaptureRequest, bench: CachedBench) -> bool:
    count = len(bench.batch(CAPTURED))
    bench.step(0, 1, "reading the prompt" if count == 1 else f"reading {count} prompts")
    bench.store_capture(CAPTURED, CapturePlan.of(*request.sites), request.edits)
    return bench.from_cache


def _forecast(
    request: ForecastRequest, bench: Callable[[Experiment, Report], CachedBench], report: Report, kept: KeptSweeps
) -> bool:
    def bench_of(told: Report) -> CachedBench:
        def both(progress: Progress) -> None:
            report(Progress(0, 0, "estimating time and memory"))
            told(progress)

        return bench(request.experiment, both)

    kept.save_forecast(request.id, forecast(request.experiment, bench_of))
    return False


def _circuit(
    request: CircuitRequest, desk: Desk, bench: Callable[[Experiment, Report], CachedBench], report: Report
) -> bool:
    kept = KeptRuns(desk.settings.workspace_dir)
    if kept.load(request.id) is not None:
        return True
    asked = Experiment(model=request.model, inputs=request.inputs, analysis=request.kind)
    kept.save(request.id, desk.circuits.run(request, lambda told: bench(asked, told), report))
    return False


def _model_file(request: ModelFileRequest, desk: Desk, model: Instrumented, step: Step) -> bool:
    result = desk.results.get(request.result)
    if result is None:
        raise StoreError(f"there is no result {request.result}.", "It may have been deleted: see the Results page.")
    return write_model_file(result, request.form, desk.results.path(result.id), model, desk.settings, step)


def _run(request: ExperimentRequest, bench: CachedBench, results: Results) -> bool:
    if results.has(request.id):
        return True
    results.put(run_experiment(request.experiment, bench))
    return bench.from_cache


def _inputs(request: CaptureRequest) -> Experiment:
    """The prompts of a capture in the form in which a bench takes them."""
    inputs = {**request.sources, CAPTURED: request.inputs}
    return Experiment(model=request.model, inputs=inputs, analysis="capture", vectors=request.vectors)
