"""The command line: what each command gives, in which form it fails, and that stdout holds the result alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analyses.experiment import Experiment
from analyses.grid import Grid
from analyses.result import Result
from workbench import api, cli
from workbench.results import read_folder, write_folder
from workbench.settings import Settings

PROMPT = "When Mary and John went to"


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout as one strict JSON value."""
        return json.loads(self.out, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


Run = Callable[..., Outcome]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command in an empty folder, with a workspace and a model cache of its own."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WORKBENCH_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def command(*words: object, debug: bool = False) -> Outcome:
        capfd.readouterr()
        code = cli.run([str(word) for word in words], debug=debug)
        return Outcome(code, *capfd.readouterr())

    return command


@pytest.fixture
def experiment(run: Run, tiny_folder: Path) -> Path:
    """experiment.json in the folder where commands run: the effect of each head on one prompt."""
    inputs = {"clean": {"prompts": [PROMPT], "answers": [" the"], "foils": [" a"]}}
    spec = {
        "version": 1,
        "model": str(tiny_folder),
        "inputs": inputs,
        "analysis": "ablation",
        "params": {"over": "head"},
    }
    Path("experiment.json").write_text(json.dumps(spec))
    return Path("experiment.json")


def test_models_lists_the_aliases_with_source_size_and_state(run: Run) -> None:
    entries = {entry["name"]: entry for entry in run("models", "--json").json}
    assert {"smollm2-135m", "gemma3-270m", "minilm", "toy"} <= set(entries)
    assert not entries["smollm2-135m"]["installed"] and entries["smollm2-135m"]["bytes"] == 93_000_000
    assert all(entry["source"] and entry["licence"] for entry in entries.values())
    assert "smollm2-135m" in run("models").out


def test_check_shows_sizes_and_the_proof_of_every_site(run: Run, tiny_folder: Path) -> None:
    shown = run("check", tiny_folder)
    assert shown.code == 0 and "n_layers 2" in shown.out and "largest difference 0" in shown.out
    summary = run("check", tiny_folder, "--json").json
    assert summary["parity"]["exact"] and summary["parity"]["error"] == 0
    assert all(site["error"] is not None if site["readable"] else site["reason"] for site in summary["sites"])
    for site in summary["sites"]:
        listed = re.search(rf"^{site['site']} +yes", shown.out, re.MULTILINE)
        refused = re.search(rf"^absent: .*\b{site['site']}\b.*: {re.escape(site['reason'])}$", shown.out, re.MULTILINE)
        assert listed if site["readable"] else refused, site["site"]


def test_check_fails_when_parity_fails(run: Run, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = api.open_model(str(tiny_folder)).summary()
    summary["parity"] |= {"exact": False, "error": 0.5}
    monkeypatch.setattr("hooks.model.Instrumented.summary", lambda self: summary)
    assert run("check", tiny_folder).code == 1
    assert run("check", tiny_folder, "--json").code == 1


def test_tokens_are_the_tokenizers_own(run: Run, tiny_folder: Path) -> None:
    rows = run("tokens", tiny_folder, "a <|end|> b", "--json").json
    ids = api.load_tokenizer(tiny_folder)("a <|end|> b")["input_ids"]
    assert [row["id"] for row in rows] == ids
    assert [row["special"] for row in rows] == [row["string"] == "<|end|>" for row in rows]
    plain = run("tokens", tiny_folder, "a <|end|> b", "--plain", "--json").json
    assert len(plain) > len(rows) and not any(row["special"] for row in plain)


def test_analyses_have_a_schema_for_their_parameters(run: Run) -> None:
    entries = {entry["name"]: entry for entry in run("analyses", "--json").json}
    assert {"attention_patterns", "head_scores", "next_token", "ablation"} <= set(entries)
    assert entries["ablation"]["inputs"] == ["clean"] and "kind" in entries["ablation"]["params"]["properties"]


@pytest.mark.parametrize("analysis", ["attention_patterns", "head_scores", "next_token", "ablation"])
def test_new_prints_an_experiment_that_runs(analysis: str, run: Run, tiny_folder: Path) -> None:
    made = run("new", analysis, "--model", tiny_folder)
    spec = made.json
    for inputs in spec["inputs"].values():
        inputs["answers"], inputs["foils"] = [{"id": 5}], [{"id": 6}]  # the tiny tokenizer splits names
    Path("e.json").write_text(json.dumps(spec))
    done = run("run", "e.json", "--json")
    assert done.code == 0 and done.json["grids"]


def test_run_writes_a_folder_that_reads_back(run: Run, experiment: Path) -> None:
    done = run("run", experiment)
    (folder,) = Path("results").iterdir()
    stored = read_folder(folder)
    assert done.code == 0 and str(folder) in done.out and folder.name == stored.id
    assert stored.grid("effect").values.shape == (2, 4)


def test_run_as_json_prints_the_result_and_nothing_else(run: Run, experiment: Path, tiny_folder: Path) -> None:
    printed = Result.from_json(run("run", experiment, "--json").json)
    assert not Path("results").exists()
    again = api.run(Experiment.model_validate_json(experiment.read_text()))
    assert printed.id == again.id
    assert np.array_equal(printed.grid("effect").values, again.grid("effect").values)
    run("run", experiment, "--json", "--out", "kept")
    assert read_folder(Path("kept") / printed.id).id == printed.id


def test_run_a_second_time_is_answered_from_the_workspace(run: Run, experiment: Path) -> None:
    first, second = run("run", experiment, "--json").json, run("run", experiment, "--json").json
    assert first["provenance"]["started"] == second["provenance"]["started"]


def test_a_note_does_not_change_the_identity(run: Run, experiment: Path) -> None:
    plain = run("run", experiment, "--json").json["id"]
    experiment.write_text(json.dumps(json.loads(experiment.read_text()) | {"note": "again"}))
    assert run("run", experiment, "--json").json["id"] == plain


def test_replay_agrees_with_what_was_stored(run: Run, experiment: Path) -> None:
    run("run", experiment)
    (folder,) = Path("results").iterdir()
    outcome = run("replay", folder, "--json").json
    assert outcome["agrees"] and outcome["tolerance"] == 1e-4
    names = ("effect", "metric_clean", "control_low", "control_high", "kl")
    assert outcome["differences"] == dict.fromkeys(names, 0.0)


def test_replay_fails_for_a_number_that_was_changed(run: Run, experiment: Path) -> None:
    run("run", experiment)
    (folder,) = Path("results").iterdir()
    stored = read_folder(folder)
    effect = stored.grid("effect")
    values = effect.values.copy()
    values[1, 2] += 0.01
    changed = Grid("effect", values, effect.dims, effect.coords, effect.unit, effect.baseline, effect.about)
    write_folder(Result(stored.experiment, {**stored.grids, "effect": changed}, stored.provenance), folder)
    outcome = run("replay", folder)
    assert outcome.code == 1 and "DIFFERS" in outcome.out and "0.01" in outcome.out


def test_a_result_of_the_workspace_is_named_by_its_id(run: Run, experiment: Path) -> None:
    result_id = run("run", experiment, "--json").json["id"]
    made = run("export", result_id, "--as", "csv", "--out", "-")
    assert made.out.splitlines()[0] == "grid,layer,head,value,unit" and len(made.out.splitlines()) == 1 + 8 + 1 + 2 + 8


def test_export_names_the_file_by_analysis_and_id(run: Run, experiment: Path) -> None:
    result_id = run("run", experiment, "--json").json["id"]
    assert run("export", result_id, "--as", "script").out.strip() == f"ablation-{result_id[:12]}.py"
    Path("folder").mkdir()
    run("export", result_id, "--as", "json", "--out", "folder")
    assert json.loads(Path(f"folder/ablation-{result_id[:12]}.json").read_text())["id"] == result_id


def test_the_workspace_can_be_listed_measured_pinned_and_emptied(run: Run, tiny_folder: Path) -> None:
    Path("e.json").write_text(run("new", "attention_patterns", "--model", tiny_folder).out)
    result_id = run("run", "e.json", "--json").json["id"]
    listed = run("workspace", "list", "--json").json
    (capture,) = listed["captures"]
    assert [card["id"] for card in listed["results"]] == [result_id]
    sizes = run("workspace", "size", "--json").json
    assert sizes["captures_bytes"] == capture["bytes"] > 0 and sizes["results_bytes"] > 0
    assert run("workspace", "verify").out.strip() == "all sound"
    assert run("workspace", "pin", capture["id"][:10]).code == 0
    assert run("workspace", "list", "--json").json["captures"][0]["pinned"]
    assert run("workspace", "delete", capture["id"]).code == 0
    assert run("workspace", "delete", result_id).code == 0
    emptied = run("workspace", "list", "--json").json
    assert emptied["captures"] == [] and emptied["results"] == []


def test_verify_names_a_damaged_capture_and_fails(run: Run, tiny_folder: Path, tmp_path: Path) -> None:
    Path("e.json").write_text(run("new", "attention_patterns", "--model", tiny_folder).out)
    run("run", "e.json", "--json")
    (path,) = (tmp_path / "workspace" / "store").glob("*.h5")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    outcome = run("workspace", "verify", "--json")
    assert outcome.code == 1 and path.name in outcome.json["problems"]


def failures(tiny: Path) -> dict[str, tuple[tuple[object, ...], int, str]]:
    """Commands that must fail: words, exit code, and a piece of the message."""
    return {
        "no such command": (("frobnicate",), 2, "No such command 'frobnicate'"),
        "missing argument": (("run",), 2, "Missing argument"),
        "no such file": (("run", "nope.json"), 2, "no file nope.json"),
        "not JSON": (("run", "broken.json"), 2, "not JSON"),
        "unknown field": (("run", "field.json"), 2, "surprise"),
        "unknown analysis": (("new", "magic"), 2, "unknown analysis 'magic'"),
        "unknown parameter": (("run", "param.json"), 2, "loudness"),
        "unknown model": (("check", "smolm2"), 2, "unknown model 'smolm2'"),
        "not a model": (("check", "."), 2, "no config.json"),
        "unknown site": (("capture", tiny, "--text", "a", "--sites", "L0.zz", "--out", "a.h5"), 2, "unknown site 'zz'"),
        "unknown layer": (("capture", tiny, "--text", "a", "--sites", "L9.z", "--out", "a.h5"), 2, "has 2 layers"),
        "empty prompt": (("tokens", tiny, ""), 2, "prompt"),
        "empty prompts file": (("capture", tiny, "--file", "empty.txt", "--out", "a.h5"), 2, "holds no prompts"),
        "two sources of prompts": (("capture", tiny, "--out", "a.h5"), 2, "--text"),
        "unknown device": (("check", tiny, "--device", "abacus"), 2, "abacus"),
        "engine of a later version": (("run", "e.json", "--engine", "ray"), 2, "ray is an optional extra"),
        "no such result": (("export", "nope", "--as", "csv"), 2, "no result folder"),
        "path as a result": (("export", "../../etc", "--as", "csv"), 2, "no result"),
        "unknown form": (("export", "r", "--as", "docx"), 2, "no result folder"),
        "unknown host": (("serve", tiny, "--host", "0.0.0.0"), 2, "no token"),
        "impossible port": (("serve", tiny, "--port", "99999"), 2, "port"),
        "unknown id": (("workspace", "delete", "abc"), 2, "nothing in the workspace"),
    }


@pytest.mark.parametrize("case", failures(Path()))
def test_a_failure_is_one_error_line_and_one_hint(case: str, run: Run, tiny_folder: Path) -> None:
    Path("broken.json").write_text("{")
    Path("field.json").write_text('{"model": "toy", "analysis": "head_scores", "surprise": 1}')
    Path("param.json").write_text('{"model": "toy", "analysis": "head_scores", "params": {"loudness": 1}}')
    Path("empty.txt").write_text("\n")
    words, code, message = failures(tiny_folder)[case]
    outcome = run(*words)
    lines = outcome.err.splitlines()
    assert (outcome.code, outcome.out) == (code, "")
    assert [line.partition(":")[0] for line in lines] == ["error", "hint"]
    assert message in lines[0] and len(lines[1]) > len("hint: ")


def test_an_answer_of_several_tokens_is_refused_with_its_tokens(run: Run, experiment: Path) -> None:
    spec = json.loads(experiment.read_text())
    spec["inputs"]["clean"]["answers"] = [" Konstantinopel"]
    experiment.write_text(json.dumps(spec))
    outcome = run("run", experiment)
    assert outcome.code == 2 and "Konstantinopel" in outcome.err and outcome.err.count("\n") == 2


def test_debug_shows_where_it_failed(run: Run) -> None:
    assert "Traceback" in run("new", "magic", debug=True).err
    assert "Traceback" not in run("new", "magic").err


def test_a_message_never_moves_the_cursor(run: Run) -> None:
    outcome = run("check", "a\x1b[2J\nb")
    assert "\x1b" not in outcome.err and outcome.err.count("\n") == 2


def test_an_unwritable_folder_is_a_failure_of_the_machine(run: Run, experiment: Path) -> None:
    Path("occupied").write_text("a file where a folder should go")
    outcome = run("run", experiment, "--out", "occupied")
    assert outcome.code == 1 and outcome.err.startswith("error: ") and "occupied" in outcome.err


def test_the_settings_of_the_environment_are_checked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_STORE_LIMIT", "plenty")
    outcome = run("workspace", "size")
    assert outcome.code == 2 and "'plenty' is not a size" in outcome.err
    assert Settings.load(store_limit_bytes="2GB").store_limit_bytes == 2 << 30


def test_bench_prints_ratios_of_this_machine(run: Run, toy: Path) -> None:
    ratios = run("bench", "--json").json
    assert ratios["model"] == "toy"
    assert all(ratios[name] > 0 for name in ("observe", "sweep", "check", "check_own"))
