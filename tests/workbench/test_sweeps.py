"""Unfinished sweeps, paces and forecasts in the workspace: kept, found again, never trusted when damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analyses.analysis import normalised
from analyses.bench import Bench
from analyses.experiment import Experiment
from analyses.measured import Measured
from analyses.pace import Pace
from hooks.prompts import PromptSet
from workbench.requests import ExperimentRequest, ForecastRequest
from workbench.sweeps import FOLDER, KeptSweeps
from workbench.workspace import Workspace


def half_done() -> Measured:
    measured = Measured.empty(1, 4, 2)
    measured.cells[0, :2], measured.clean[:] = [[0.5, -1.0], [2.0, 0.25]], 3.0
    measured.done[:2] = True
    return measured


def test_what_a_stopped_sweep_had_measured_is_found_again(tmp_path: Path) -> None:
    KeptSweeps(tmp_path).save("a", half_done(), now=True)
    found = KeptSweeps(tmp_path).load("a")
    assert found is not None
    for name in ("clean", "cells", "done"):
        assert np.array_equal(getattr(found, name), getattr(half_done(), name))


def test_a_finished_sweep_is_forgotten(tmp_path: Path) -> None:
    kept = KeptSweeps(tmp_path)
    kept.save("a", half_done(), now=True)
    kept.save("a", half_done().all_done(), now=False)
    assert kept.load("a") is None


@pytest.mark.parametrize("damage", [b"", b"no HDF5 at all", None])
def test_a_damaged_or_half_written_file_is_no_sweep(tmp_path: Path, damage: bytes | None) -> None:
    kept = KeptSweeps(tmp_path)
    kept.save("a", half_done(), now=True)
    path = tmp_path / FOLDER / "a.h5"
    path.write_bytes(path.read_bytes()[:200] if damage is None else damage)
    assert kept.load("a") is None


def test_paces_survive_and_a_damaged_one_is_measured_anew(tmp_path: Path) -> None:
    kept = KeptSweeps(tmp_path)
    kept.save_pace("cpu", Pace([(10.0, 0.5)]))
    assert kept.pace("cpu").samples == [(10.0, 0.5)]
    (tmp_path / FOLDER / "pace-cpu.json").write_text("[[1", encoding="utf-8")
    assert not kept.pace("cpu").known


def request(folder: Path, prompts: PromptSet) -> Experiment:
    spec = {"model": str(folder), "inputs": {"clean": prompts}, "analysis": "ablation", "params": {"metric": "kl"}}
    return normalised(Experiment.model_validate(spec))


def test_a_forecast_is_answered_before_the_experiment_has_run(
    workspace: Workspace, tiny_folder: Path, prompts: PromptSet
) -> None:
    experiment = request(tiny_folder, prompts)
    assert workspace.forecast(experiment) is None
    assert workspace.wait(workspace.submit(ForecastRequest(experiment=experiment)).id).state == "done"
    said = workspace.forecast(experiment)
    assert said is not None
    assert said.forwards >= 1
    assert said.rows == said.forwards + 8
    assert said.in_words().startswith("about ")
    assert workspace.result(experiment.id) is None


def test_a_second_forecast_times_no_forward_anew(
    workspace: Workspace, tiny_folder: Path, prompts: PromptSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first forecast timed is kept, so that a forecast of another experiment runs no packed forward."""
    ran: list[int] = []
    worlds = Bench.worlds

    def counted(bench: Bench, *given: Any, **more: Any) -> Any:
        ran.append(len(given[1]))
        return worlds(bench, *given, **more)

    monkeypatch.setattr(Bench, "worlds", counted)
    first = request(tiny_folder, prompts)
    second = normalised(first.model_copy(update={"params": {**first.params, "metric": "logit_diff"}}))
    for experiment, forwards in ((first, 2), (second, 2)):
        assert workspace.wait(workspace.submit(ForecastRequest(experiment=experiment)).id).state == "done"
        assert len(ran) == forwards
    seconds = [forecast.seconds for forecast in map(workspace.forecast, (first, second)) if forecast is not None]
    assert len(seconds) == 2 and min(seconds) > 0


def test_a_cancelled_sweep_goes_on_where_it_was(workspace: Workspace, tiny_folder: Path, prompts: PromptSet) -> None:
    """What was measured is taken from the workspace: a value planted there appears in the result."""
    experiment = request(tiny_folder, prompts)
    kept = KeptSweeps(workspace.settings.workspace_dir)
    keys: list[str] = []
    save = KeptSweeps.save
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            KeptSweeps, "save", lambda self, key, *rest, **more: (keys.append(key), save(self, key, *rest, **more))
        )
        workspace.wait(workspace.submit(ExperimentRequest(experiment=experiment)).id)
    whole = workspace.result(experiment.id)
    assert whole is not None
    workspace.delete(experiment.id)
    planted = Measured.empty(1, 8, len(prompts.prompts))
    planted.cells[0, 0] = 123.0
    planted.done[0] = True
    kept.save(keys[0], planted, now=True)
    workspace.wait(workspace.submit(ExperimentRequest(experiment=experiment)).id)
    again = workspace.result(experiment.id)
    assert again is not None
    values, before = again.grid("effect").values.ravel(), whole.grid("effect").values.ravel()
    assert values[0] == pytest.approx(123.0)
    assert values[1:] == pytest.approx(before[1:], abs=1e-5)
    assert any("before it was stopped" in note for note in again.provenance.warnings)
