"""The workspace: one app per folder, what is answered without an engine, what is there again after a restart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from analyses.analysis import normalised
from analyses.experiment import Experiment
from hooks.errors import InputError, ModelError, SiteMissing, SpecError, StoreError
from hooks.model import open_model
from hooks.prompts import IdsPrompt, PromptSet
from hooks.reference import ModelRef
from workbench.cache.key import ModelFacts, capture_key
from workbench.requests import CaptureRequest, ExperimentRequest, OpenRequest
from workbench.settings import Settings
from workbench.workspace import Workspace

HOLDER = """
import sys, time
sys.path.insert(0, {root!r})
from workbench.settings import Settings
from workbench.workspace import Workspace
workspace = Workspace.open(Settings(workspace_dir={folder!r}), engine="inline")
print("open", flush=True)
sys.stdin.read()
"""


def request_of(folder: Path, inputs: PromptSet, *sites: str) -> CaptureRequest:
    return CaptureRequest(model=ModelRef(name=str(folder)), inputs=inputs, sites=sites or ("L*.pattern",))


def captured(workspace: Workspace, request: CaptureRequest) -> None:
    job = workspace.wait(workspace.submit(request).id)
    assert job.state == "done", job.error


# -- one app per folder


def test_c32_a_second_app_in_one_process_names_the_first(settings: Settings, workspace: Workspace) -> None:
    with pytest.raises(StoreError, match=f"in use by process {os.getpid()}") as caught:
        Workspace.open(settings, engine="inline")
    assert "--workspace" in caught.value.hint


def test_c32_a_second_app_names_the_process_of_the_first_and_takes_over_when_that_is_killed(settings: Settings) -> None:
    code = HOLDER.format(root=str(Path(__file__).parents[2]), folder=str(settings.workspace_dir))
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "open\n"
        with pytest.raises(StoreError, match=f"in use by process {first.pid}"):
            Workspace.open(settings, engine="inline")
        first.kill()
    Workspace.open(settings, engine="inline").close()


def test_a_command_may_work_beside_the_app(
    settings: Settings, workspace: Workspace, tiny_folder: Path, prompts: PromptSet
) -> None:
    beside = Workspace.open(settings, engine="inline", exclusive=False)
    try:
        request = request_of(tiny_folder, prompts)
        captured(beside, request)
        assert workspace.capture(request) is not None
        assert workspace.submit(request).from_cache
    finally:
        beside.close()


def test_a_closed_workspace_can_be_opened_again(settings: Settings) -> None:
    for _ in range(2):
        Workspace.open(settings, engine="inline").close()


def test_a_folder_that_cannot_be_made_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be used"):
        Workspace.open(Settings(workspace_dir=tmp_path / "file" / "workspace"), engine="inline")


# -- what survives


def test_c32_a_reload_sees_jobs_results_and_captures(settings: Settings, tiny_folder: Path, prompts: PromptSet) -> None:
    request = request_of(tiny_folder, prompts)
    experiment = Experiment(
        model=request.model, inputs={"clean": prompts}, analysis="ablation", params={"over": "mlp"}, note="mine"
    )
    first = Workspace.open(settings, engine="inline")
    captured(first, request)
    job = first.wait(first.submit(ExperimentRequest(experiment=experiment)).id)
    assert job.id == normalised(experiment).id
    stored = first.capture(request)
    assert stored is not None
    values = stored.read("L*.pattern")
    summary, listed = first.summary(request.model), first.jobs()
    first.close()

    again = Workspace.open(settings, engine="inline")
    try:
        assert again.jobs() == listed
        assert again.job(job.id) == job
        assert again.summary(request.model) == summary
        stored = again.capture(request)
        assert stored is not None
        assert np.array_equal(stored.read("L*.pattern"), values)
        assert [card.id for card in again.results()] == [job.id]
        asked = again.submit(ExperimentRequest(experiment=experiment))
        assert (asked.state, asked.from_cache) == ("done", True)
    finally:
        again.close()


def test_closing_fails_what_is_unfinished_with_a_sentence(
    settings: Settings, workspace: Workspace, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = Workspace.open(settings, engine="inline", exclusive=False)
    monkeypatch.setattr(beside._engine, "wake", lambda: None)
    job = beside.submit(OpenRequest(model=ModelRef(name=str(tiny_folder))))
    assert job.state == "queued"
    beside.close()
    ended = workspace.job(job.id)
    assert ended is not None
    assert ended.state == "failed"
    assert ended.error is not None
    assert ended.error["message"] == "the app was closed while this ran."


def test_a_job_of_a_process_that_died_fails_when_somebody_waits_for_it(
    settings: Settings, workspace: Workspace, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = Workspace.open(settings, engine="inline", exclusive=False)
    monkeypatch.setattr(beside._engine, "wake", lambda: None)
    job = beside.submit(OpenRequest(model=ModelRef(name=str(tiny_folder))))
    beside._locks._own.release()  # what the system does when the process dies
    ended = workspace.wait(job.id)
    assert ended.error is not None
    assert ended.error["message"] == "the app was closed while this ran."
    assert workspace.wait(workspace.submit(OpenRequest(model=ModelRef(name=str(tiny_folder)))).id).state == "done"
    beside.close()


def test_c26_a_damaged_capture_is_named_set_aside_and_computed_again(
    settings: Settings, tiny_folder: Path, prompts: PromptSet
) -> None:
    requests = [request_of(tiny_folder, prompts, site) for site in ("L0.z", "L0.pattern", "L1.z")]
    first = Workspace.open(settings, engine="inline")
    paths, values = [], []
    for request in requests:
        captured(first, request)
        stored = first.capture(request)
        assert stored is not None
        paths.append(stored.path)
        values.append(stored.read(request.sites[0]))
    first.close()
    paths[1].write_bytes(paths[1].read_bytes()[: paths[1].stat().st_size // 2])

    again = Workspace.open(settings, engine="inline")
    try:
        for number, request in enumerate(requests):
            job = again.wait(again.submit(request).id)
            assert (job.state, job.from_cache) == ("done", number != 1)
            stored = again.capture(request)
            assert stored is not None
            assert np.array_equal(stored.read(request.sites[0]), values[number])
        assert len(again.warnings) == 1
        assert paths[1].name in again.warnings[0]
        assert paths[1].with_name(paths[1].name + ".damaged").exists()
    finally:
        again.close()


def test_c26_a_flipped_byte_is_found_by_an_analysis_which_then_computes_it_again(
    workspace: Workspace, tiny_folder: Path, prompts: PromptSet
) -> None:
    request = request_of(tiny_folder, prompts)
    captured(workspace, request)
    stored = workspace.capture(request)
    assert stored is not None
    values = stored.read("L*.pattern", prompt=0)
    with h5py.File(stored.path, "r") as file:
        where = file["activations/L1.pattern"].id.get_chunk_info(2).byte_offset
    raw = bytearray(stored.path.read_bytes())
    raw[where] ^= 4
    stored.path.write_bytes(raw)
    experiment = Experiment(model=request.model, inputs={"clean": prompts}, analysis="attention_patterns")
    job = workspace.wait(workspace.submit(ExperimentRequest(experiment=experiment)).id)
    assert (job.state, job.from_cache) == ("done", False)
    result = workspace.result(job.id)
    assert result is not None
    assert np.array_equal(result.grid("pattern").values, values)
    assert any("is damaged" in warning for warning in result.provenance.warnings)


def test_locks_of_killed_processes_are_removed(settings: Settings, workspace: Workspace) -> None:
    owners = settings.workspace_dir / "owners"
    for name, age in (("dead", 1000), ("young", 0)):
        (owners / f"{name}.lock").write_text("")
        os.utime(owners / f"{name}.lock", (time.time() - age,) * 2)
    Workspace.open(settings, engine="inline", exclusive=False).close()
    left = {path.stem for path in owners.iterdir()}
    assert left == {"young", workspace._locks.owner}


# -- what is answered without an engine


def test_tokens_are_those_that_the_model_gets(workspace: Workspace, tiny_folder: Path) -> None:
    inputs = PromptSet(prompts=("When Mary", "hello <b>"), answers=(" the", "!"))
    expected = open_model(tiny_folder, device="cpu").tokens(inputs)
    before = workspace.tokens(str(tiny_folder), inputs)
    workspace.wait(workspace.submit(OpenRequest(model=ModelRef(name=str(tiny_folder)))).id)
    after = workspace.tokens(str(tiny_folder), inputs)
    for batch in (before, after):
        assert batch.ids.tolist() == expected.ids.tolist()
        assert (batch.strings, batch.answers) == (expected.strings, expected.answers)


def test_unusable_prompts_are_refused_at_the_door(workspace: Workspace, tiny_folder: Path) -> None:
    model = ModelRef(name=str(tiny_folder))
    with pytest.raises(InputError, match="empty"):
        workspace.tokens(model, PromptSet(prompts=("",)))
    workspace.wait(workspace.submit(OpenRequest(model=model)).id)
    with pytest.raises(InputError, match="empty"):
        workspace.submit(request_of(tiny_folder, PromptSet(prompts=("",))))
    with pytest.raises(InputError, match="token id 99999"):
        workspace.tokens(model, PromptSet(prompts=(IdsPrompt(ids=(99999,)),)))
    with pytest.raises(SiteMissing, match=r"L7\.pattern does not exist"):
        workspace.capture(request_of(tiny_folder, PromptSet(prompts=("a",)), "L7.pattern"))
    with pytest.raises(SpecError, match="unknown analysis"):
        workspace.submit(ExperimentRequest(experiment=Experiment(model=model, analysis="nothing")))
    assert [job.kind for job in workspace.jobs()] == ["open"]


@pytest.mark.parametrize("prompt", ["a\0b", "x" * 900, "<script>alert(1)</script>", "  \n\t", "每个人😊"])
def test_c29_what_the_input_accepts_is_cached_and_comes_back(
    workspace: Workspace, tiny_folder: Path, prompt: str
) -> None:
    inputs = PromptSet(prompts=(prompt,))
    request = request_of(tiny_folder, inputs, "L0.z")
    captured(workspace, request)
    stored = workspace.capture(request)
    assert stored is not None
    assert stored.provenance["inputs"]["prompts"] == [prompt]
    assert stored.strings == workspace.tokens(request.model, inputs).strings


def test_c29_half_a_character_is_refused_before_anything_runs(workspace: Workspace, tiny_folder: Path) -> None:
    request = request_of(tiny_folder, PromptSet(prompts=("a\ud800",)), "L0.z")
    workspace.wait(workspace.submit(OpenRequest(model=request.model)).id)
    with pytest.raises(InputError, match="lone surrogate"):
        workspace.submit(request)
    assert list(workspace.store.folder.iterdir()) == []


def test_an_unknown_model_is_one_error(workspace: Workspace) -> None:
    assert workspace.summary("no-such-model") is None
    with pytest.raises(ModelError, match="no-such-model"):
        workspace.tokens("no-such-model", PromptSet(prompts=("a",)))


def test_a_summary_is_forgotten_when_the_models_folder_changes(
    workspace: Workspace, tmp_path: Path, save_model: Callable[..., Path], prompts: PromptSet
) -> None:
    folder = save_model(tmp_path / "model", seed=1)
    request = request_of(folder, prompts)
    captured(workspace, request)
    old = workspace.summary(request.model)
    save_model(folder, seed=2)
    assert workspace.summary(request.model) is None
    assert workspace.capture(request) is None
    captured(workspace, request)
    new = workspace.summary(request.model)
    assert old is not None
    assert new is not None
    assert new["hash"] != old["hash"]
    first, second = (entry.read_bytes() for entry in sorted(workspace.store.folder.glob("*.h5")))
    assert first != second


def test_a_damaged_summary_counts_as_unknown(workspace: Workspace, tiny_folder: Path) -> None:
    model = ModelRef(name=str(tiny_folder))
    workspace.wait(workspace.submit(OpenRequest(model=model)).id)
    for path in (workspace.settings.workspace_dir / "models").iterdir():
        path.write_text("{")
    assert workspace.summary(model) is None


def test_the_key_knows_everything_that_can_change_a_number(workspace: Workspace, tiny_folder: Path) -> None:
    model = ModelRef(name=str(tiny_folder))
    workspace.wait(workspace.submit(OpenRequest(model=model)).id)
    summary = workspace.summary(model)
    assert summary is not None
    inputs = PromptSet(prompts=("a b c", "d"))
    request = request_of(tiny_folder, inputs)
    batch, other = workspace.tokens(model, inputs), workspace.tokens(model, PromptSet(prompts=("a b d", "d")))
    zero = CaptureRequest._edits(({"kind": "zero", "at": "L0.z[head=1]"},))
    patch = CaptureRequest._edits(({"kind": "patch", "at": "L0.z[head=1]", "source": "corrupt"},))
    sites = [site for site in open_model(tiny_folder, device="cpu").sites if site.name == "z"]

    def changed(**change: object) -> ModelFacts:
        return ModelFacts(json.loads(json.dumps(summary)) | change)

    info, versions = summary["info"], summary["versions"]
    keys = [
        capture_key(ModelFacts(summary), batch, sites),
        capture_key(ModelFacts(summary), other, sites),
        capture_key(ModelFacts(summary), batch, sites[:1]),
        capture_key(ModelFacts(summary), batch, sites, zero),
        capture_key(ModelFacts(summary), batch, sites, patch, {"corrupt": batch}),
        capture_key(ModelFacts(summary), batch, sites, patch, {"corrupt": other}),
        capture_key(changed(hash="other"), batch, sites),
        capture_key(changed(tokenizer_hash="other"), batch, sites),
        capture_key(changed(attention="other"), batch, sites),
        capture_key(changed(info=info | {"dtype": "bfloat16"}), batch, sites),
        capture_key(changed(info=info | {"device": "cuda:0"}), batch, sites),
        capture_key(changed(versions=versions | {"torch": "1"}), batch, sites),
        capture_key(changed(versions=versions | {"transformers": "1"}), batch, sites),
    ]
    assert len(set(keys)) == len(keys)
    assert capture_key(ModelFacts(summary), batch, reversed(sites)) == keys[0]
    assert capture_key(ModelFacts(summary), batch, sites, zero, {"corrupt": other}) == keys[3]
    assert workspace.capture(request) is None


# -- settings


def test_settings_come_from_flags_then_environment_then_defaults(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WORKBENCH_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("WORKBENCH_PORT", "9000")
    monkeypatch.setenv("WORKBENCH_STORE_LIMIT", "1.5 GB")
    settings = Settings.load(port=9001, host=None)
    assert (settings.workspace_dir, settings.port, settings.host) == (tmp_path, 9001, "127.0.0.1")
    assert settings.store_limit_bytes == 3 << 29
    assert (settings.assets_dir.name, settings.token) == ("assets", None)


def test_a_wrong_setting_names_its_flag_and_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_STORE_LIMIT", "many")
    with pytest.raises(SpecError, match="'many' is not a size") as caught:
        Settings.load()
    assert "WORKBENCH_STORE_LIMIT" in caught.value.hint
    monkeypatch.delenv("WORKBENCH_STORE_LIMIT")
    with pytest.raises(SpecError, match="unknown setting"):
        Settings.load(colour="red")


def test_the_token_is_not_in_what_prints() -> None:
    assert "secret" not in repr(Settings(token="secret"))
