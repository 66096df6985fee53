"""The command line: a test set becomes an experiment, and an ablation becomes a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workbench import cli


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Run a command in an empty folder; its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WORKBENCH_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def command(*words: object):
        capfd.readouterr()
        code = cli.run([str(word) for word in words], debug=False)
        return code, *capfd.readouterr()

    return command


def test_a_test_set_is_evaluated_and_its_edit_saved_as_a_model(run, tiny_folder: Path, tmp_path: Path) -> None:
    pairs = [{"UID": "a", "sentence_good": "Mary went to the store.", "sentence_bad": "Mary store the to went."}] * 2
    (tmp_path / "blimp.jsonl").write_text("\n".join(map(json.dumps, pairs)), "utf-8")
    code, out, _ = run("new", "evaluation", "--data", "blimp.jsonl", "--model", tiny_folder)
    experiment = json.loads(out)
    assert code == 0 and experiment["params"]["kind"] == "minimal_pairs"
    experiment["params"]["edits"] = [{"kind": "zero", "at": f"L{n}.mlp_post[unit=7]"} for n in (0, 1)]
    (tmp_path / "e.json").write_text(json.dumps(experiment), "utf-8")
    code, out, _ = run("run", "e.json", "--out", "r")
    assert code == 0 and "accuracy_change" in out
    (folder,) = (tmp_path / "r").iterdir()
    code, out, _ = run("export", folder, "--as", "checkpoint", "--out", "pruned")
    assert code == 0 and "cut out" in out and "intermediate_size 47" in out
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "experiment.json"} <= {
        path.name for path in (tmp_path / "pruned").iterdir()
    }
    code, _, err = run("export", folder, "--as", "checkpoint", "--out", "pruned")
    assert code == 2 and "is not empty" in err and "Traceback" not in err
    code, _, err = run("export", folder, "--as", "vectors")
    assert code == 2 and "name no vector" in err


def test_a_file_that_is_no_test_set_is_one_error(run, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"a": 1}', "utf-8")
    code, out, err = run("new", "evaluation", "--data", "x.jsonl")
    assert (code, out) == (2, "") and "x.jsonl: line 1 has the fields a" in err
