"""Exported scripts and notebooks compute again what they hold, and fail for a number that is not the model's."""

from __future__ import annotations

import zipfile
from pathlib import Path

import nbclient
import nbformat
import numpy as np
import pytest

from analyses.experiment import Experiment
from analyses.grid import Grid
from analyses.result import Result
from hooks.errors import StoreError
from hooks.prompts import PromptSet
from hooks.reference import ModelRef
from workbench import api
from workbench.cli import run as run_cli
from workbench.export import export
from workbench.packed import read_bundle
from workbench.replay import compare


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WORKBENCH_WORKSPACE", str(tmp_path / "workspace"))


@pytest.fixture(scope="module")
def result(tiny_folder: Path) -> Result:
    """What ablating each head of the tiny model does on two prompts of unequal length."""
    texts = ("When Mary and John", "hello world! <b>")
    clean = PromptSet(prompts=texts, answers=(" the", " the"), foils=(" a", " a"))
    model, params = ModelRef(name=str(tiny_folder)), {"per_prompt": True}
    experiment = Experiment(model=model, inputs={"clean": clean}, analysis="ablation", params=params)
    return api.run(experiment)


def changed(result: Result) -> Result:
    """The same result with one number off by 0.001."""
    effect = result.grid("effect")
    values = np.array(effect.values)
    values[1, 3] += 1e-3
    off = Grid("effect", values, effect.dims, effect.coords, effect.unit, effect.baseline, effect.about)
    return Result(result.experiment, {**result.grids, "effect": off}, result.provenance)


def execute(result: Result) -> dict[str, object]:
    """Run the exported script in this process."""
    space: dict[str, object] = {}
    exec(compile(export(result, "script").data, "replay.py", "exec"), space)
    return space


def test_a_script_computes_its_numbers_again(result: Result, capsys: pytest.CaptureFixture[str]) -> None:
    again = execute(result)["result"]
    assert again.id == result.id
    assert set(compare(result, again).differences.values()) == {0.0}
    assert "effect: largest difference 0" in capsys.readouterr().out


def test_a_script_fails_for_a_number_that_is_not_the_models(result: Result) -> None:
    with pytest.raises(AssertionError, match=r"effect: 0\.00\d+ exceeds 0\.0001"):
        execute(changed(result))


def run_notebook(result: Result, folder: Path) -> nbformat.NotebookNode:
    book = nbformat.reads(export(result, "notebook").data.decode(), as_version=4)
    return nbclient.NotebookClient(book, timeout=240, resources={"metadata": {"path": str(folder)}}).execute()


def test_a_notebook_runs_from_top_to_bottom_and_shows_the_figures(result: Result, tmp_path: Path) -> None:
    cells = run_notebook(result, tmp_path).cells
    outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    printed = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    assert "effect: largest difference 0" in printed
    figures = [output for output in outputs if output.output_type == "display_data"]
    ends = {f"{name}_{end}" for name in ("effect", "kl") for end in ("low", "high")}
    # The ends of a map's intervals are said on hover, and are no maps of their own.
    assert ends < set(result.grids) and len(figures) == len(set(result.grids) - ends)


def test_comparing_aligns_tokens_that_changed_places() -> None:
    def ranked(tokens: tuple[str, ...], values: tuple[float, ...]) -> Grid:
        return Grid("prob", np.array(values), ("token",), {"token": tokens}, "prob")

    from workbench.replay import difference

    assert difference(ranked(("a", "b"), (0.5, 0.25)), ranked(("b", "a"), (0.25, 0.5))) == 0.0
    assert difference(ranked(("a", "b"), (0.5, 0.25)), ranked(("a", "b"), (0.5, 0.5))) == 0.25
    assert difference(ranked(("a", "b"), (0.5, 0.25)), ranked(("a", "c"), (0.5, 0.25))) == float("inf")


def test_a_value_that_went_missing_is_an_infinite_difference() -> None:
    from workbench.replay import difference

    coords = {"layer": (0, 1)}
    whole = Grid("a", np.array([1.0, 2.0]), ("layer",), coords, "logit")
    holed = Grid("a", np.array([1.0, 0.0]), ("layer",), coords, "logit", valid=np.array([True, False]))
    assert difference(whole, holed) == float("inf")
    assert difference(holed, holed) == 0.0


def test_a_bundle_is_read_back_whole_and_replays(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("workbench.export.bundle.images", lambda drawn, form: [b"<svg/>" for _ in drawn])
    bundle = tmp_path / "bundle.zip"
    bundle.write_bytes(export(result, "bundle").data)
    found = read_bundle(bundle)
    assert found.id == result.id
    assert compare(result, found).differences == dict.fromkeys(result.grids, 0.0)
    assert run_cli(["replay", str(bundle)]) == 0
    assert "agrees" in capsys.readouterr().out


def test_a_zip_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(StoreError, match=r"0 files result\.json"):
        read_bundle(other)
    other.write_bytes(b"PK no zip")
    with pytest.raises(StoreError, match="no zip"):
        read_bundle(other)
