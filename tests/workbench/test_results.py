"""Result folders: round trips, cards, notes, the bin, damage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from analyses.analysis import normalised
from analyses.experiment import Experiment
from analyses.grid import Grid
from analyses.result import Provenance, Result
from hooks.errors import StoreError
from hooks.prompts import PromptSet
from hooks.reference import ModelRef
from workbench.grids import StoredGrids, headline, write_grids
from workbench.results import Results, read_folder, write_folder


def result(seed: int = 0, *, started: str = "2026-01-01T00:00:00+00:00", prompt: str = "a b", note: str = "") -> Result:
    inputs = {"clean": PromptSet(prompts=(prompt,), answers=("x",), foils=("y",))}
    experiment = Experiment(model=ModelRef(name="toy"), inputs=inputs, analysis="ablation", seed=seed, note=note)
    effect = np.array([[0.5, -2.0], [1.0, 0.0]], dtype=np.float32)
    valid = np.array([[True, True], [True, False]])
    coords: dict[str, tuple[Any, ...]] = {"layer": (0, 1), "head": (0, 1)}
    grids = {
        "effect": Grid("effect", effect, ("layer", "head"), coords, "logit", 0.0, "clean minus", valid),
        "metric_clean": Grid("metric_clean", np.float32(3.25), (), {}, "logit"),
        "prob_clean": Grid("prob_clean", np.array([0.75, 0.25]), ("token",), {"token": ("<b>\0", "é")}, "prob"),
    }
    provenance = Provenance(
        model_hash="m", tokenizer_hash="t", tokens={"clean": ((1, 2),)}, strings={"clean": (("a", "·b"),)},
        versions={"torch": "2"}, device="cpu", dtype="float32", attention="eager", source="memory", seed=seed,
        started=started, seconds=1.5, peak_bytes=7,
    )  # fmt: skip
    return Result(normalised(experiment), grids, provenance)


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "results")


def test_a_result_comes_back_as_it_was(results: Results) -> None:
    made = result()
    results.put(made)
    read = results.get(made.id)
    assert read is not None
    assert read.to_json() == made.to_json()
    assert read.id == made.id


def test_missing_values_stay_missing(results: Results) -> None:
    results.put(result())
    read = results.get(result().id)
    assert read is not None
    assert read.grid("effect").to_json()["values"] == [[0.5, -2.0], [1.0, None]]


def test_a_grid_is_read_only_when_it_is_asked_for(results: Results) -> None:
    made = result()
    results.put(made)
    path = results.path(made.id) / "grids.h5"
    with h5py.File(path, "a") as file:
        del file["grids/effect/values"]
    read = results.get(made.id)
    assert read is not None
    assert read.grid("metric_clean").values == 3.25
    with pytest.raises(StoreError, match=r"grids\.h5 is damaged"):
        read.grid("effect")
    assert results.get(made.id) is None


def test_the_numbers_are_in_hdf5_with_named_axes(results: Results) -> None:
    made = result()
    results.put(made)
    with h5py.File(results.path(made.id) / "grids.h5", "r") as file:
        values = file["grids/effect/values"]
        assert [dimension.label for dimension in values.dims] == ["layer", "head"]
        assert np.array_equal(values[()], made.grid("effect").values)
    spec = json.loads((results.path(made.id) / "result.json").read_text("ascii"))
    assert "values" not in spec["grids"][0]
    assert spec["experiment"] == made.experiment.to_json()


def test_a_card_says_what_was_done_and_found(results: Results) -> None:
    made = result(prompt="<script>alert(1)</script>")
    results.put(made)
    (card,) = results.cards()
    assert (card.id, card.analysis, card.model, card.seconds) == (made.id, "ablation", "toy", 1.5)
    assert card.headline == "effect −2 logit at layer 0, head 1"
    assert card.sentence
    assert (card.saved, card.deleted, card.note) == (False, False, "")


def test_cards_are_newest_first(results: Results) -> None:
    for day in (2, 1, 3):
        results.put(result(day, started=f"2026-01-0{day}T00:00:00+00:00"))
    assert [card.created[:10] for card in results.cards()] == ["2026-01-03", "2026-01-02", "2026-01-01"]


def test_a_note_is_kept_and_survives_a_replay(results: Results) -> None:
    made = result(note="from the file")
    results.put(made)
    assert results.cards()[0].note == "from the file"
    results.keep(made.id, "mine \ud800")
    results.keep(made.id)
    results.put(made)
    (card,) = results.cards()
    assert (card.saved, card.note) == (True, "mine \ud800")
    results.keep(made.id, "")
    assert results.cards()[0].note == ""


def test_deleting_can_be_undone(results: Results) -> None:
    made = result()
    results.put(made)
    results.keep(made.id, "good")
    results.delete(made.id)
    assert results.cards() == []
    assert results.get(made.id) is None
    assert not results.has(made.id)
    (card,) = results.cards(deleted=True)
    assert (card.deleted, card.note) == (True, "good")
    results.restore(made.id)
    assert results.cards()[0].note == "good"
    assert results.cards(deleted=True) == []
    read = results.get(made.id)
    assert read is not None
    assert read.to_json() == made.to_json()


def test_computing_a_deleted_result_again_takes_it_out_of_the_bin(results: Results) -> None:
    results.put(result())
    results.delete(result().id)
    results.put(result())
    assert results.cards(deleted=True) == []
    assert len(results.cards()) == 1
    with pytest.raises(StoreError, match="no result"):
        results.restore(result().id)


@pytest.mark.parametrize("name", ["result.json", "grids.h5"])
def test_c26_a_damaged_result_is_set_aside_and_the_others_serve(results: Results, name: str) -> None:
    first, second = result(1), result(2)
    results.put(first)
    results.put(second)
    path = results.path(first.id) / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert results.get(first.id) is None
    assert first.id in results.warnings[0]
    assert len(list(results.folder.glob(f"{first.id}*.damaged"))) == 1
    assert not results.has(first.id)
    assert [card.id for card in results.cards()] == [second.id]
    results.put(first)
    assert results.get(first.id) is not None


def test_a_folder_with_a_broken_card_does_not_hide_the_others(results: Results) -> None:
    results.put(result(1))
    results.put(result(2))
    (results.path(result(1).id) / "card.json").write_text("{")
    assert [card.id for card in results.cards()] == [result(2).id]


@pytest.mark.parametrize("text", ["../../x", "/etc/passwd", "a/../../b", "..", "", "bin"])
def test_an_id_cannot_leave_the_folder(results: Results, text: str) -> None:
    for act in (results.get, results.has, results.keep, results.delete, results.restore):
        with pytest.raises(StoreError, match="not the id"):
            act(text)


def test_a_result_is_written_beside_what_is_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    write_folder(result(1), tmp_path)
    write_folder(result(2), tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep me"
    assert read_folder(tmp_path).to_json() == result(2).to_json()
    assert not list(tmp_path.glob("*.part"))


def test_no_space_is_one_error_and_leaves_no_half_result(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    made = result()

    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        with pytest.raises(StoreError, match="no space left") as caught:
            results.put(made)
    assert caught.value.hint
    assert not results.path(made.id).exists()
    assert results.cards() == []


def test_a_partial_grid_comes_back_with_its_holes(tmp_path: Path) -> None:
    grid = result().grid("effect")
    write_grids(tmp_path / "p.h5", [grid])
    (name, read), *_ = StoredGrids(tmp_path / "p.h5").items()
    assert name == "effect"
    assert read.valid is not None
    assert read.valid.tolist() == [[True, True], [True, False]]


def test_headlines_name_values_cells_and_sizes() -> None:
    grids = result().grids
    assert headline(grids["metric_clean"]) == "metric clean 3.25 logit"
    coords = {"layer": range(2), "head": range(3), "q_pos": range(4), "k_pos": range(4)}
    labels = {dim: tuple(values) for dim, values in coords.items()}
    maps = Grid("pattern", np.zeros((2, 3, 4, 4)), tuple(coords), labels, "attention")
    assert headline(maps) == "pattern: 2 layer × 3 head × 4 q_pos × 4 k_pos"
