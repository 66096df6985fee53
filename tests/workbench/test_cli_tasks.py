"""workbench tasks, task, and new with a task or a table: the same prompts through each door."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analyses.datasets import tasks
from analyses.experiment import parse_experiment
from analyses.tables import Columns
from hooks.errors import InputError
from hooks.prompts import PromptSet
from hooks.reference import ModelRef
from workbench import api, cli, urls
from workbench.pages import ablation
from workbench.parts import ablation_watch, task_picker
from workbench.parts.ablation_layout import MEANS_NOTE
from workbench.parts.ablation_request import sweep_experiment
from workbench.parts.given import inputs_of
from workbench.requests import OpenRequest
from workbench.settings import Settings
from workbench.workspace import Workspace

Command = Callable[..., tuple[int, str, str]]
CSV = 'text,right,wrong\nMary and John went to the store," Mary"," John"\n'


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Run a command in an empty folder; gives exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKBENCH_WORKSPACE", str(tmp_path / "workspace"))

    def run(*words: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = cli.run([str(word) for word in words])
        return (code, *capfd.readouterr())

    return run


@pytest.fixture
def space(tmp_path: Path) -> Any:
    """A workspace whose engine runs here."""
    found = Workspace.open(Settings(workspace_dir=tmp_path / "space"), engine="inline")
    yield found
    found.close()


def test_tasks_lists_all_with_their_corruptions(command: Command) -> None:
    _, out, _ = command("tasks", "--json")
    listed = {entry["name"]: entry for entry in json.loads(out)}
    assert set(listed) == set(tasks()) and listed["capitals"]["aliases"] == ["facts"]
    assert list(listed["ioi"]["variants"]) == ["flip", "abc"]
    assert "greater_than" in command("tasks")[1]


def test_a_task_is_printed_as_the_inputs_of_an_experiment(command: Command) -> None:
    code, out, err = command("task", "ioi", "--model", "toy", "-n", 3, "--seed", 5, "--variant", "abc")
    inputs = {name: PromptSet.model_validate(given) for name, given in json.loads(out).items()}
    assert code == 0 and inputs == api.task("ioi", model="toy", n=3, seed=5, variant="abc")
    assert err.startswith("dropped ") and "tokens" in err
    _, again, _ = command("task", "ioi", "--model", "toy", "-n", 3, "--seed", 5, "--variant", "abc", "--out", "t.json")
    assert again.strip() == "t.json" and json.loads(Path("t.json").read_text()) == json.loads(out)


def test_an_experiment_on_a_task_measures_its_metric_and_runs(command: Command) -> None:
    code, out, _ = command("new", "ablation", "--task", "ioi", "-n", 2, "--model", "toy")
    made = parse_experiment(out)
    assert code == 0 and made.inputs == api.task("ioi", model="toy", n=2) and made.params["metric"] == "logit_diff"
    assert made == api.example("ablation", model="toy", inputs=made.inputs, metric="logit_diff")
    assert api.run(made).grid("effect").values.shape == (2, 4)


def test_an_experiment_on_a_file_takes_the_columns_that_are_mapped(command: Command) -> None:
    Path("own.csv").write_text(CSV)
    mapping = "prompt=text,answer=right,foil=wrong"
    code, out, _ = command("new", "ablation", "--data", "own.csv", "--map", mapping, "--model", "toy")
    clean = parse_experiment(out).inputs["clean"]
    assert code == 0 and clean.prompts == ("Mary and John went to the store",) and clean.answers == (" Mary",)
    assert api.table("own.csv", Columns(prompt="text", answer="right", foil="wrong")) == {"clean": clean}


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("task", "luck", "--model", "toy"), "unknown task 'luck'"),
        (("task", "agreement", "--model", "toy"), "agreement gives 0 of 16 pairs"),
        (("new", "ablation", "--data", "none.csv"), "there is no file none.csv"),
        (("new", "ablation", "--data", "a.csv", "--task", "ioi"), "--data and --task were both given"),
        (("new", "ablation", "--data", "own.csv", "--map", "prompt=no"), "there is no column 'no' for prompt"),
    ],
)
def test_what_cannot_be_given_is_told_in_two_lines(command: Command, words: tuple[str, ...], error: str) -> None:
    Path("own.csv").write_text(CSV)
    code, out, err = command(*words)
    assert code == 2 and not out and f"error: {error}" in err and "hint: " in err


def test_an_address_with_a_task_gives_the_prompts_of_the_other_doors(space: Workspace) -> None:
    state = urls.read("?model=toy&task=ioi&n=2&seed=3&variant=abc")
    assert urls.read(urls.write(state)) == state
    assert inputs_of(space, state) == api.task("ioi", model="toy", n=2, seed=3, variant="abc")
    one = urls.State(model="toy")
    assert inputs_of(space, one)["clean"] == one.inputs()
    asked = sweep_experiment(state.model_copy(update={"kind": "mean"}), inputs_of(space, state))
    assert len(asked.inputs["clean"].prompts) == 2 and asked.params["mean_over"] == "prompts"


def test_a_table_is_kept_by_hash_and_mapped_by_the_address(space: Workspace) -> None:
    key = space.tables.put("own.csv", "csv", CSV.encode())
    assert space.tables.put("other.csv", "csv", CSV) == key and space.tables.get(key).read().columns[0] == "text"
    table = {"hash": key, "positions": {}}
    none = [None] * (len(task_picker.COLUMNS) - 3)
    state = task_picker.chosen(
        urls.State(model="toy"), task_picker.OWN, 16, 0, None, table, "text", "right", "wrong", *none
    )
    assert urls.read(urls.write(state)) == state
    assert inputs_of(space, state)["clean"].foils == (" John",)
    with pytest.raises(InputError, match="not in the workspace"):
        inputs_of(space, state.model_copy(update={"data": "../../etc/passwd"}))
    with pytest.raises(InputError, match="no column holds the prompt"):
        task_picker.chosen(state, task_picker.OWN, 16, 0, None, table, None, None, None, *none)


def test_the_picker_shows_the_first_prompts_and_changes_only_what_was_chosen(space: Workspace) -> None:
    none = [None] * len(task_picker.COLUMNS)
    start = urls.State(model="toy", edits="zero:L0.z[head=1]")
    state = task_picker.chosen(start, "ioi", 8, 1, "flip", None, *none)
    assert (state.task, state.n, state.seed, state.variant, state.edits) == ("ioi", 8, 1, "", start.edits)
    table, count = task_picker.preview(space, state)
    prompts = inputs_of(space, state)["clean"].prompts
    shown = [row.children[0].children for row in table.children[1].children]
    assert shown == list(prompts[: task_picker.SHOWN_ROWS]) and str(count.children).startswith("8 prompts; dropped")
    assert task_picker.chosen(state, task_picker.ONE, None, None, None, None, *none).task == ""
    for n, seed in ((None, 0), (0, 0), (4, None)):
        with pytest.raises(InputError, match="whole numbers"):
            task_picker.chosen(start, "ioi", n, seed, None, None, *none)


def test_the_ablate_page_sweeps_over_the_prompts_of_a_task(space: Workspace) -> None:
    state = urls.State(model="toy", task="ioi", n=4, kind="mean")
    space.wait(space.submit(OpenRequest(model=ModelRef.model_validate("toy"))).id)
    page = ablation.layout(space, state)
    assert "4 × ioi" in str(page) and MEANS_NOTE in str(page)
    job = space.wait(ablation_watch.start_sweep(space, state, "").id)
    result = space.result(job.id)
    assert result is not None and result.grid("effect").values.shape == (2, 4)
    assert len(result.provenance.tokens["clean"]) == 4
    assert ablation_watch.watch_sweep(space, state, "").key.startswith(f"{job.id} True")
