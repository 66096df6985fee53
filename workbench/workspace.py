"""Workspace: the folder with the store, results and jobs, and the engine that works on it. What every door talks to."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from analyses.analysis import normalised
from analyses.circuit_live import Measured
from analyses.experiment import Experiment
from analyses.forecast import Forecast
from analyses.grid import Grid
from analyses.result import Result
from analyses.tasks.base import TaskInputs
from hooks.errors import ModelError, StoreError
from hooks.plan import CapturePlan
from hooks.prompts import PromptSet
from hooks.reference import ModelRef
from hooks.tokens import TokenBatch
from workbench.cache import Store, StoredActivations
from workbench.cache.key import ModelFacts, capture_key, sources_of
from workbench.datasets import RecentTasks
from workbench.engines.base import Engine, title, urgency
from workbench.engines.runner import partial_path
from workbench.export.model_files import Checkpoint, checkpoint_in, has_model_file, vectors_in
from workbench.grids import StoredGrids
from workbench.images import Images
from workbench.job_table import KEPT_ROWS, TABLE, JobTable
from workbench.jobs import Job, NewJob
from workbench.kept_circuits import KeptCircuits
from workbench.known import IMAGES, Answer, KnownModels
from workbench.live_circuits import KeptRuns
from workbench.locks import Locks
from workbench.requests import (
    CaptureRequest,
    CircuitRequest,
    ExperimentRequest,
    ForecastRequest,
    ModelFileRequest,
    Request,
)
from workbench.results import ResultCard, Results
from workbench.settings import Settings
from workbench.sweeps import KeptSweeps
from workbench.tables import Tables
from workbench.test_files import TestFiles

EngineName = Literal["worker", "inline"]
POLL_SECONDS = 0.02
ORPHANS_SECONDS = 2.0


class Workspace:
    """A workspace folder in use. All methods may be called from several threads."""

    def __init__(self, settings: Settings, engine: EngineName, locks: Locks) -> None:
        """Use `open`."""
        self.settings = settings
        self._locks = locks
        self._folder = settings.workspace_dir
        self._table = JobTable(self._folder / TABLE)
        self._known = KnownModels(settings)
        self.images = Images(self._folder / IMAGES)
        self.tables = Tables(self._folder / "data")
        self.tests = TestFiles(self._folder / "tests")
        self._made = RecentTasks()
        self.store = Store(self._folder / "store", settings.store_limit_bytes)
        self._results = Results(self._folder / "results")
        self._sweeps = KeptSweeps(self._folder)
        self._sweeps.tidy()
        self._circuit_runs = KeptRuns(self._folder)
        self._circuit_runs.tidy()
        self.circuits = KeptCircuits(self._folder / "circuits")
        self._table.fail_orphans(locks.is_alive)
        self._engine: Engine = _engine(engine, settings, self._table, locks.owner)

    @classmethod
    def open(cls, settings: Settings, *, engine: EngineName = "worker", exclusive: bool = True) -> Workspace:
        """The workspace in `settings.workspace_dir`, made where it is not there yet.

        exclusive: be the only one of its kind, as the app is; others may look and compute beside it. Raises StoreError
        that names the other process, or for a folder that cannot be written.
        """
        locks = Locks(settings.workspace_dir, exclusive)
        try:
            return cls(settings, engine, locks)
        except StoreError:
            locks.release()
            raise

    # -- jobs

    def submit(self, request: Request, *, session: str = "", priority: int = 0) -> Job:
        """Ask for something; gives the job at once, perhaps done already.

        An identical request that waits or runs is joined; one whose answer is on disk is done, with `from_cache`.
        priority: outweighs the urgency that the kind of request has by itself. Raises SpecError, InputError,
        SiteMissing for what can be seen to be wrong without the model.
        """
        if isinstance(request, ExperimentRequest | ForecastRequest):
            request = type(request)(experiment=normalised(request.experiment))
        new = NewJob(
            id=request.id,
            kind=request.kind,
            title=title(request),
            request=request.model_dump(mode="json"),
            owner=self._locks.owner,
            session=session,
            priority=urgency(request, priority),
        )
        if self._answered(request):
            return self._table.add_done(new)
        self._table.fail_orphans(self._locks.is_alive)
        job = self._table.add(new)
        self._engine.wake()
        return job

    def _answered(self, request: Request) -> bool:
        if isinstance(request, ExperimentRequest):
            return self._results.has(request.id)
        if isinstance(request, CaptureRequest):
            try:
                return self.capture(request) is not None
            except ModelError:  # not on this machine yet: the engine will fetch it
                return False
        if isinstance(request, ModelFileRequest):
            return has_model_file(self._results.path(request.result), request.form)
        return isinstance(request, CircuitRequest) and self._circuit_runs.load(request.id) is not None

    def job(self, job_id: str) -> Job | None:
        """The job of a request's id, or None."""
        return self._table.get(job_id)

    def jobs(self, *, active: bool = False, but: str = "", limit: int = KEPT_ROWS) -> list[Job]:
        """The jobs, newest first, at most `limit`; when `active`, those that wait or run; none of the kind `but`."""
        return self._table.all(active=active, but=but, limit=limit)

    def cancel(self, job_id: str, *, session: str = "") -> None:
        """Stop waiting for a job. It stops at its next step unless other sessions wait for it too.

        A session that did not ask for the job changes nothing; without a session it stops for everybody.
        """
        if self._table.cancel(job_id, session):
            self._engine.stop_soon(job_id)

    def partial(self, job_id: str) -> Grid | None:
        """What a running sweep has so far: a grid whose missing cells are not `valid`. None before there is any."""
        path = partial_path(self._folder, job_id)
        try:
            return next(iter(StoredGrids(path).values()), None)
        except StoreError:  # none yet, or the sweep has just finished and its result is there
            return None

    def wait(self, job_id: str, on_progress: Callable[[Job], None] | None = None) -> Job:
        """The job when it has ended, however it ended; `on_progress` is told whenever something about it changes.

        Raises StoreError for an unknown job.
        """
        shown: Job | None = None
        checked = time.monotonic()
        while True:
            job = self._table.get(job_id)
            if job is None:
                raise StoreError(f"there is no job {job_id}.", "Submit the request again.")
            if on_progress is not None and job != shown:
                on_progress(job)
                shown = job
            if not job.active:
                return job
            if time.monotonic() - checked > ORPHANS_SECONDS:
                self._table.fail_orphans(self._locks.is_alive)
                checked = time.monotonic()
            time.sleep(POLL_SECONDS)

    # -- models and activations

    def summary(self, model: ModelRef | str) -> dict[str, Any] | None:
        """The summary of a model that was opened before and has not changed; None: submit an OpenRequest."""
        return self._known.summary(ModelRef.model_validate(model))

    def tokens(self, model: ModelRef | str, inputs: PromptSet) -> TokenBatch:
        """The prompts as the model will get them, without the model. Raises InputError, ModelError."""
        return self._known.tokens(ModelRef.model_validate(model), inputs)

    def ask_tokenizer(self, model: ModelRef | str, question: Callable[[Any, Path], Answer]) -> Answer:
        """What `question(tokenizer, folder)` gives for a model's tokenizer, without the model. Raises ModelError."""
        return self._known.ask_tokenizer(ModelRef.model_validate(model), question)

    def task(self, model: ModelRef | str, name: str, n: int, seed: int, variant: str) -> TaskInputs:
        """A task's prompt sets for a model, without the model. Raises InputError, ModelError."""
        return self.ask_tokenizer(model, lambda tokenizer, _: self._made.make(tokenizer, name, n, seed, variant))

    def capture(self, request: CaptureRequest) -> StoredActivations | None:
        """The captured activations; None where they are not there yet: submit the request.

        Raises InputError for prompts that cannot be used, SiteMissing for a site that the model does not have,
        ModelError for an unknown model.
        """
        summary = self.summary(request.model)
        if summary is None:
            return None
        facts = ModelFacts(summary)
        batch = self.tokens(request.model, request.inputs)
        sites = CapturePlan.of(*request.sites).resolve(facts.info).sites
        sources, vectors = sources_of(
            request.edits, request.vectors, lambda name: self.tokens(request.model, request.named(name))
        )
        return self.store.find(capture_key(facts, batch, sites, request.edits, sources, vectors))

    # -- results

    def forecast(self, experiment: Experiment) -> Forecast | None:
        """What an experiment will cost, where it was asked; None: submit a ForecastRequest."""
        return self._sweeps.forecast(ForecastRequest(experiment=normalised(experiment)).id)

    def circuit_run(self, request_id: str) -> Measured | None:
        """What a circuit gave, where it was run; None: submit the CircuitRequest."""
        return self._circuit_runs.load(request_id)

    def result(self, result_id: str) -> Result | None:
        """A result that was computed and not deleted, or None."""
        return self._results.get(result_id)

    def checkpoint(self, result_id: str) -> tuple[Path, Checkpoint] | None:
        """The folder with the pruned model of a result, and its facts; None: submit a ModelFileRequest."""
        folder = self._results.path(result_id)
        found = checkpoint_in(folder)
        return None if found is None else (folder / found.name, found)

    def vectors(self, result_id: str) -> bytes | None:
        """The safetensors file with a result's vectors; None: submit a ModelFileRequest."""
        return vectors_in(self._results.path(result_id))

    def results(self, *, deleted: bool = False) -> list[ResultCard]:
        """Cards of the results, newest first; with `deleted`, of those in the bin."""
        return self._results.cards(deleted=deleted)

    def keep(self, result_id: str, note: str | None = None) -> None:
        """Mark a result as saved, with a note. Raises StoreError when it is not there."""
        self._results.keep(result_id, note)

    def delete(self, result_id: str) -> None:
        """Move a result to the bin. Raises StoreError when it is not there."""
        self._results.delete(result_id)

    def restore(self, result_id: str) -> None:
        """Bring a result back from the bin. Raises StoreError when it is not there."""
        self._results.restore(result_id)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What went wrong with stored files since the workspace was opened, one sentence each."""
        return (*self.store.warnings, *self._results.warnings)

    def close(self) -> None:
        """Stop the engine; unfinished jobs fail, saying that the app was closed."""
        # First the table: a job that is not running any more there is one that stops at its next step.
        self._table.close_owner(self._locks.owner)
        self._engine.close()
        self._locks.release()


def _engine(name: EngineName, settings: Settings, table: JobTable, owner: str) -> Engine:
    if name == "worker":
        from workbench.engines.worker import WorkerEngine

        return WorkerEngine(settings, table, owner)
    from workbench.engines.execute import Desk
    from workbench.engines.inline import InlineEngine
    from workbench.engines.runner import Runner

    return InlineEngine(Runner(Desk.of(settings), table, owner))
