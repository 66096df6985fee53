"""Both engines end to end on a tiny model: answers, progress, cancel, crashes, urgent requests in between."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import psutil
import pytest

from analyses.bench import Bench
from analyses.execute import run_experiment
from analyses.experiment import Experiment
from hooks.errors import WorkbenchError
from hooks.model import open_model
from hooks.prompts import PromptSet
from hooks.reference import ModelRef
from workbench.engines.opened import OpenModels
from workbench.engines.worker import WorkerEngine
from workbench.jobs import Job
from workbench.known import KnownModels
from workbench.requests import CaptureRequest, ExperimentRequest, OpenRequest
from workbench.settings import Settings
from workbench.workspace import Workspace

SaveModel = Callable[..., Path]
LONG_CELLS = 512


@pytest.fixture(scope="module")
def large_folder(tmp_path_factory: pytest.TempPathFactory, save_model: SaveModel) -> Path:
    """A model with so many neurons that a sweep over a layer of them, one at a time, takes a while."""
    return save_model(tmp_path_factory.mktemp("models") / "large", layers=3, d_mlp=LONG_CELLS)


@pytest.fixture
def one_by_one(settings: Settings) -> Settings:
    """Settings under which every forward pass takes one cell of a sweep."""
    return settings.model_copy(update={"budget_bytes": 1})


@pytest.fixture
def prompts(request: pytest.FixtureRequest) -> PromptSet:
    """A prompt of this test alone, so that tests that share a workspace do not share answers."""
    number = sum(request.node.nodeid.encode()) % 1000
    return PromptSet(prompts=(f"When Mary and John went {number}",), answers=(" the",), foils=(" a",))


@pytest.fixture(scope="module")
def shared_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """One worker for all tests that leave it alive: starting it takes seconds."""
    folder = tmp_path_factory.mktemp("shared")
    settings = Settings(cache_dir=folder / "cache", workspace_dir=folder / "workspace", device="cpu", budget_bytes=1)
    workspace = Workspace.open(settings, engine="worker")
    yield workspace
    workspace.close()


@pytest.fixture(params=["inline", "worker"])
def either(request: pytest.FixtureRequest, one_by_one: Settings) -> Iterator[Workspace]:
    """A workspace with each of the engines."""
    if request.param == "worker":
        yield request.getfixturevalue("shared_worker")
        return
    workspace = Workspace.open(one_by_one, engine="inline")
    yield workspace
    workspace.close()


@pytest.fixture
def worker(one_by_one: Settings) -> Iterator[Workspace]:
    """A workspace with the worker engine."""
    workspace = Workspace.open(one_by_one, engine="worker")
    yield workspace
    workspace.close()


def ablation(folder: Path, inputs: PromptSet, **params: object) -> ExperimentRequest:
    experiment = Experiment(
        model=ModelRef(name=str(folder)), inputs={"clean": inputs}, analysis="ablation", params=params
    )
    return ExperimentRequest(experiment=experiment)


def long_sweep(folder: Path, inputs: PromptSet) -> ExperimentRequest:
    return ablation(folder, inputs, over="neuron", layers=[0])


def until(workspace: Workspace, job_id: str, holds: Callable[[Job], bool], seconds: float = 60) -> Job:
    """The job as soon as something holds of it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        job = workspace.job(job_id)
        assert job is not None
        if holds(job):
            return job
        assert job.active, job
        time.sleep(0.01)
    raise AssertionError(f"{workspace.job(job_id)} never came that far")


def running(job: Job) -> bool:
    return job.state == "running" and job.done > 0


def worker_pid(workspace: Workspace) -> int:
    engine = workspace._engine
    assert isinstance(engine, WorkerEngine)
    assert engine.pid is not None
    return engine.pid


# -- answers


def test_a_model_is_opened_and_its_summary_kept(either: Workspace, save_model: SaveModel, tmp_path: Path) -> None:
    model = ModelRef(name=str(save_model(tmp_path / "fresh")))
    assert either.summary(model) is None
    job = either.wait(either.submit(OpenRequest(model=model)).id)
    assert (job.state, job.from_cache) == ("done", False)
    summary = either.summary(model)
    assert summary is not None
    assert summary["parity"]["exact"]
    assert summary["info"]["n_heads"] == 4
    again = either.wait(either.submit(OpenRequest(model=model)).id)
    assert again.from_cache


def test_a_capture_holds_what_the_model_computes(either: Workspace, tiny_folder: Path, prompts: PromptSet) -> None:
    request = CaptureRequest(model=ModelRef(name=str(tiny_folder)), inputs=prompts, sites=("L*.pattern", "logits"))
    assert either.capture(request) is None
    job = either.wait(either.submit(request).id)
    assert (job.state, job.from_cache) == ("done", False)
    stored = either.capture(request)
    assert stored is not None
    model = open_model(tiny_folder, device="cpu")
    batch = model.tokens(prompts)
    expected = model._model(input_ids=batch.ids, output_attentions=True)
    assert np.abs(stored.read("logits") - expected.logits.detach().numpy()).max() < 1e-5
    assert np.abs(stored.read("L1.pattern") - expected.attentions[1].detach().numpy()).max() < 1e-6
    assert stored.strings == batch.strings


def test_both_engines_and_python_give_equal_results(
    settings: Settings, tmp_path: Path, tiny_folder: Path, prompts: PromptSet
) -> None:
    request = ablation(tiny_folder, prompts, over="head")
    found = {}
    for engine in ("inline", "worker"):
        place = settings.model_copy(update={"workspace_dir": tmp_path / engine})
        workspace = Workspace.open(place, engine=engine)  # type: ignore[arg-type]
        try:
            job = workspace.wait(workspace.submit(request).id)
            assert job.state == "done", job.error
            result = workspace.result(job.id)
            assert result is not None
            found[engine] = (result.id, {name: grid.values for name, grid in result.grids.items()})
        finally:
            workspace.close()
    direct = run_experiment(request.experiment, Bench(open_model(tiny_folder, device="cpu"), request.experiment))
    found["python"] = (direct.id, {name: grid.values for name, grid in direct.grids.items()})
    ids, grids = zip(*found.values(), strict=True)
    assert len(set(ids)) == 1
    for name in grids[0]:
        assert np.abs(grids[0][name] - grids[1][name]).max() < 1e-5
        assert np.abs(grids[0][name] - grids[2][name]).max() < 1e-5


def test_the_bundled_model_is_looked_at_and_ablated_by_its_alias(shared_worker: Workspace, toy: Path) -> None:
    """The worker finds it by name; its numbers are those of the same folder opened here."""
    model = ModelRef(name="toy")
    inputs = PromptSet(
        prompts=("When Mary and John went to the store, John gave a drink to",), answers=(" Mary",), foils=(" John",)
    )
    look = CaptureRequest(model=model, inputs=inputs, sites=("L*.pattern", "logits"))
    sweep = ExperimentRequest(
        experiment=Experiment(
            model=model, inputs={"clean": inputs}, analysis="ablation", params={"over": "head", "metric": "logit_diff"}
        )
    )
    for request in (look, sweep):
        job = shared_worker.wait(shared_worker.submit(request).id)
        assert job.state == "done", job.error
    stored, result = shared_worker.capture(look), shared_worker.result(job.id)
    assert stored is not None
    assert result is not None
    opened = open_model(toy, device="cpu")
    direct = run_experiment(sweep.experiment, Bench(opened, sweep.experiment))
    assert np.abs(stored.read("logits") - opened.run(opened.tokens(inputs)).logits.numpy()).max() < 1e-4
    assert np.abs(result.grid("effect").values - direct.grid("effect").values).max() < 1e-4
    assert shared_worker.tokens(model, inputs).answers == opened.tokens(inputs).answers


def test_what_was_captured_is_not_run_again(workspace: Workspace, tiny_folder: Path, prompts: PromptSet) -> None:
    """An analysis on the same patterns is answered from the file and says so; the job does too."""
    model = ModelRef(name=str(tiny_folder))
    capture = CaptureRequest(model=model, inputs=prompts, sites=("L*.pattern",))
    workspace.wait(workspace.submit(capture).id)
    again = workspace.submit(capture)
    assert (again.state, again.from_cache) == ("done", True)
    experiment = Experiment(model=model, inputs={"clean": prompts}, analysis="attention_patterns")
    job = workspace.wait(workspace.submit(ExperimentRequest(experiment=experiment)).id)
    assert (job.state, job.from_cache) == ("done", True)
    result, stored = workspace.result(job.id), workspace.capture(capture)
    assert result is not None
    assert stored is not None
    assert result.provenance.from_cache
    assert any("read from the cache" in note for note in result.provenance.warnings)
    assert np.array_equal(result.grid("pattern").values, stored.read("L*.pattern", prompt=0))


def test_an_edited_capture_is_another_capture(workspace: Workspace, tiny_folder: Path, prompts: PromptSet) -> None:
    model = ModelRef(name=str(tiny_folder))
    clean = CaptureRequest(model=model, inputs=prompts, sites=("L0.z", "L1.pattern"))
    edits = ({"kind": "mean", "at": "L0.z[head=1]", "over": "positions"},)
    edited = clean.model_copy(update={"edits": CaptureRequest._edits(edits)})
    for request in (clean, edited):
        job = workspace.wait(workspace.submit(request).id)
        assert job.state == "done", job.error
    before, after = workspace.capture(clean), workspace.capture(edited)
    assert before is not None
    assert after is not None
    assert before.key != after.key
    mean = before.read("L0.z", prompt=0, head=1).mean(axis=0)
    assert np.abs(after.read("L0.z", prompt=0, head=1) - mean).max() < 1e-6
    assert np.array_equal(after.read("L0.z", prompt=0, head=0), before.read("L0.z", prompt=0, head=0))
    assert after.provenance["edits"][0]["kind"] == "mean"


# -- progress and cancel


def test_a_sweep_shows_progress_time_left_and_a_partial_grid(
    either: Workspace, large_folder: Path, prompts: PromptSet
) -> None:
    request = long_sweep(large_folder, prompts)
    whole = run_experiment(request.experiment, Bench(open_model(large_folder, device="cpu"), request.experiment))
    job = either.submit(request)
    seen = until(either, job.id, lambda job: running(job) and job.seconds_left is not None)
    assert seen.total == LONG_CELLS
    assert seen.seconds_left is not None
    assert seen.seconds_left > 0
    assert seen.message
    end = time.monotonic() + 60
    while (partial := either.partial(job.id)) is None or partial.valid is None or partial.valid.sum() < 3:
        assert time.monotonic() < end
    either.cancel(job.id)
    assert partial.dims == ("layer", "unit")
    assert not partial.valid.all()
    known = partial.values[partial.valid]
    assert np.abs(known - whole.grid("effect").values[partial.valid]).max() < 1e-5
    assert either.wait(job.id).state == "cancelled"


def test_a_finished_sweep_has_every_step_and_no_partial_grid(
    either: Workspace, tiny_folder: Path, prompts: PromptSet
) -> None:
    seen: list[Job] = []
    job = either.wait(either.submit(ablation(tiny_folder, prompts, over="head")).id, seen.append)
    assert (job.state, job.done, job.total, job.seconds_left) == ("done", 8, 8, None)
    assert seen[-1] == job
    assert [one.done for one in seen] == sorted(one.done for one in seen)
    assert either.partial(job.id) is None


def test_a_cancelled_sweep_stops_soon_and_can_be_run_again(
    either: Workspace, large_folder: Path, prompts: PromptSet
) -> None:
    request = long_sweep(large_folder, prompts)
    job = either.submit(request, session="one")
    assert until(either, job.id, running).total == LONG_CELLS
    either.cancel(job.id, session="somebody else")
    assert until(either, job.id, lambda job: job.done > 20).state == "running"
    either.cancel(job.id, session="one")
    ended = either.wait(job.id)
    assert ended.state == "cancelled"
    assert ended.done < LONG_CELLS
    assert either.result(job.id) is None
    assert either.submit(request).active
    either.cancel(job.id)
    assert either.wait(job.id).state == "cancelled"


def test_an_urgent_request_does_not_wait_behind_a_sweep(
    either: Workspace, large_folder: Path, prompts: PromptSet
) -> None:
    """A look and a single ablation are answered while the sweep goes on; a second sweep waits its turn."""
    model = ModelRef(name=str(large_folder))
    long = either.submit(long_sweep(large_folder, prompts))
    until(either, long.id, running)
    waiting = either.submit(ablation(large_folder, prompts, over="head"))
    small = either.submit(ablation(large_folder, prompts, at=["L1.z[head=2]"]))
    look = either.submit(CaptureRequest(model=model, inputs=prompts, sites=("L*.pattern",)))
    for job in (small, look):
        ended = either.wait(job.id)
        assert ended.state == "done", ended.error
    sweep, other = either.job(long.id), either.job(waiting.id)
    assert sweep is not None
    assert other is not None
    assert (sweep.state, other.state) == ("running", "queued")
    done = sweep.done
    until(either, long.id, lambda job: job.done > done)
    either.cancel(long.id)
    assert either.wait(waiting.id).state == "done"


def test_an_identical_request_joins_the_running_one(either: Workspace, large_folder: Path, prompts: PromptSet) -> None:
    request = long_sweep(large_folder, prompts)
    first = either.submit(request, session="one")
    until(either, first.id, running)
    joined = either.submit(request, session="two")
    assert joined.id == first.id
    assert joined.sessions == ("one", "two")
    either.cancel(first.id, session="one")
    done = joined.done
    assert until(either, first.id, lambda job: job.done > done + 2).state == "running"
    either.cancel(first.id, session="two")
    assert either.wait(first.id).state == "cancelled"


# -- failures


def test_c34_a_job_that_cannot_work_fails_with_a_sentence_and_the_next_succeeds(
    either: Workspace, tiny_folder: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text('{"model_type": "llama"}')
    (broken / "model.safetensors").write_bytes(b"not weights")
    job = either.wait(either.submit(OpenRequest(model=ModelRef(name=str(broken)))).id)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error["code"] == "model"
    assert job.error["message"]
    assert job.error["hint"]
    assert either.wait(either.submit(OpenRequest(model=ModelRef(name=str(tiny_folder)))).id).state == "done"


def test_c34_a_bug_becomes_a_failed_job_not_a_job_that_waits_for_ever(
    workspace: Workspace, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ModelRef(name=str(tiny_folder))
    with monkeypatch.context() as patch:
        patch.setattr(OpenModels, "get", lambda *_: 1 / 0)
        job = workspace.wait(workspace.submit(OpenRequest(model=model)).id)
    assert job.state == "failed"
    assert job.error is not None
    assert "ZeroDivisionError" in job.error["message"]
    assert workspace.wait(workspace.submit(OpenRequest(model=model)).id).state == "done"


def test_c34_a_killed_worker_fails_its_job_within_seconds_and_the_next_job_succeeds(
    worker: Workspace, large_folder: Path, prompts: PromptSet
) -> None:
    long = worker.submit(long_sweep(large_folder, prompts))
    until(worker, long.id, running)
    waiting = worker.submit(ablation(large_folder, prompts, over="head"))
    dead = worker_pid(worker)
    os.kill(dead, signal.SIGKILL)
    failed = until(worker, long.id, lambda job: not job.active, seconds=10)
    assert failed.state == "failed"
    assert failed.error is not None
    assert "died while this ran" in failed.error["message"]
    assert failed.error["hint"]
    ended = worker.wait(waiting.id)
    assert ended.state == "done", ended.error
    assert worker_pid(worker) != dead


def test_c34_a_worker_that_cannot_start_fails_its_jobs(
    settings: Settings, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    workspace = Workspace.open(settings, engine="worker")
    try:
        job = workspace.submit(OpenRequest(model=ModelRef(name=str(tiny_folder))))
        failed = until(workspace, job.id, lambda job: not job.active, seconds=10)
        assert failed.error is not None
        assert "could not start" in failed.error["message"]
    finally:
        workspace.close()


def test_a_cancelled_job_that_does_not_stop_is_killed_and_the_others_run_again(
    worker: Workspace, large_folder: Path, prompts: PromptSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is frozen, as a forward pass that never ends would be."""
    engine = worker._engine
    assert isinstance(engine, WorkerEngine)
    monkeypatch.setattr(engine, "_grace", 0.5)
    job = worker.submit(long_sweep(large_folder, prompts))
    until(worker, job.id, running)
    frozen = worker_pid(worker)
    os.kill(frozen, signal.SIGSTOP)
    waiting = worker.submit(ablation(large_folder, prompts, over="head"))
    worker.cancel(job.id)
    assert until(worker, job.id, lambda job: not job.active, seconds=20).state == "cancelled"
    assert worker.wait(waiting.id).state == "done"
    assert worker_pid(worker) != frozen


@pytest.mark.parametrize("engine", ["inline", "worker"])
def test_closing_stops_a_running_sweep_at_once(
    engine: Literal["inline", "worker"], one_by_one: Settings, large_folder: Path, prompts: PromptSet
) -> None:
    workspace = Workspace.open(one_by_one, engine=engine)
    job = workspace.submit(long_sweep(large_folder, prompts))
    until(workspace, job.id, running)
    workspace.close()
    ended = workspace.job(job.id)
    assert ended is not None
    assert ended.state == "failed"
    assert ended.error is not None
    assert ended.error["message"] == "the app was closed while this ran."
    assert ended.done < LONG_CELLS


def test_the_worker_goes_when_the_app_goes(worker: Workspace, large_folder: Path, prompts: PromptSet) -> None:
    job = worker.submit(long_sweep(large_folder, prompts))
    until(worker, job.id, running)
    process = psutil.Process(worker_pid(worker))
    engine = worker._engine
    assert isinstance(engine, WorkerEngine)
    assert engine._process is not None
    assert engine._process.stdin is not None
    engine._closing = True
    engine._process.stdin.close()  # what the system does when the app's process dies
    process.wait(timeout=10)
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_c35_fifty_jobs_end_while_four_threads_read_the_store(
    shared_worker: Workspace, tiny_folder: Path, prompts: PromptSet
) -> None:
    worker = shared_worker
    model = ModelRef(name=str(tiny_folder))
    open_model(tiny_folder, device="cpu")  # a model in the parent, which the worker must not depend on
    first = CaptureRequest(model=model, inputs=prompts, sites=("L*.pattern",))
    worker.wait(worker.submit(first).id)
    stop, problems = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            try:
                stored = worker.capture(first)
                assert stored is not None
                stored.read("L*.pattern", prompt=0)
            except (WorkbenchError, AssertionError) as error:
                problems.append(error)
                return

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number in range(50):
            inputs = PromptSet(prompts=(f"prompt {number}",))
            job = worker.submit(CaptureRequest(model=model, inputs=inputs, sites=("L0.pattern",)))
            assert until(worker, job.id, lambda job: not job.active, seconds=20).state == "done"
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert problems == []


# -- open models


def test_the_least_recently_used_model_is_closed(settings: Settings, tmp_path: Path, save_model: SaveModel) -> None:
    models = OpenModels(settings, KnownModels(settings), most=2)
    refs = [ModelRef(name=str(save_model(tmp_path / name, seed=seed))) for seed, name in enumerate("abc")]
    for ref in (*refs[:2], refs[0], refs[2]):
        models.get(ref, lambda _: None)
    assert models.names() == (str(refs[0]), str(refs[2]))


def test_models_are_closed_to_stay_under_the_byte_limit_but_one_may_always_be_open(
    settings: Settings, tmp_path: Path, save_model: SaveModel
) -> None:
    models = OpenModels(settings, KnownModels(settings), most=5, limit_bytes=1)
    refs = [ModelRef(name=str(save_model(tmp_path / name, seed=seed))) for seed, name in enumerate("ab")]
    for ref in refs:
        models.get(ref, lambda _: None)
    assert models.names() == (str(refs[1]),)


def test_a_model_whose_folder_changed_is_opened_again(
    settings: Settings, tmp_path: Path, save_model: SaveModel
) -> None:
    models = OpenModels(settings, KnownModels(settings))
    ref = ModelRef(name=str(save_model(tmp_path / "model", seed=1)))
    before, _ = models.get(ref, lambda _: None)
    same, was_open = models.get(ref, lambda _: None)
    assert was_open
    assert same is before
    save_model(tmp_path / "model", seed=2)
    after, was_open = models.get(ref, lambda _: None)
    assert not was_open
    assert after.hash != before.hash
