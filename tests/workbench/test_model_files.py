"""Exports for which the model is opened, from the app: asked for as jobs, kept beside the result, told in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from flask.testing import FlaskClient
from safetensors.torch import load
from transformers import AutoModelForCausalLM

from analyses.experiment import Experiment
from analyses.result import Result
from workbench.app import create_app
from workbench.export.model_files import model_forms
from workbench.requests import ExperimentRequest, ModelFileRequest
from workbench.workspace import Workspace

PROMPT = "When Mary and John went to"
CUT = {"kind": "zero", "at": ["L0.z[head=1]"], "metric": "logit_diff"}
STEER = {"kind": "add", "at": "L1.resid_post", "vector": "up"}


@pytest.fixture(scope="module")
def client(opened: Workspace) -> FlaskClient:
    return create_app(opened).server.test_client()


def computed(opened: Workspace, folder: Path, analysis: str, params: dict[str, Any], **more: Any) -> Result:
    inputs = {"clean": {"prompts": [PROMPT], "answers": [" the"], "foils": [" a"]}}
    asked = Experiment.model_validate(
        {"model": str(folder), "inputs": inputs, "analysis": analysis, "params": params, **more}
    )
    job = opened.wait(opened.submit(ExperimentRequest(experiment=asked)).id)
    assert job.state == "done", job.error
    result = opened.result(job.id)
    assert result is not None
    return result


def written(client: FlaskClient, opened: Workspace, result: Result, form: str) -> dict[str, Any]:
    """What the app says when the job that a POST began has ended."""
    address = f"/export/{result.id}/model/{form}"
    begun = client.post(address, json={"session": "me"}).get_json()
    assert begun["state"] in ("queued", "running", "done"), begun
    request = ModelFileRequest.model_validate({"form": form, "result": result.id, "model": result.experiment.model})
    opened.wait(request.id)
    said: dict[str, Any] = client.get(address).get_json()
    return said


def test_the_saved_model_is_the_ablated_one_and_stands_beside_its_result(
    client: FlaskClient, opened: Workspace, tiny_folder: Path
) -> None:
    result = computed(opened, tiny_folder, "ablation", CUT)
    assert model_forms(result) == ("checkpoint",)
    said = written(client, opened, result, "checkpoint")
    folder = Path(said["folder"])
    saved, plain = (AutoModelForCausalLM.from_pretrained(path).eval() for path in (folder, tiny_folder))
    width = plain.config.hidden_size // plain.config.num_attention_heads
    with torch.no_grad():
        plain.model.layers[0].self_attn.o_proj.weight[:, width : 2 * width] = 0
        ids = torch.tensor([[1, 5, 9, 3]])
        assert torch.allclose(saved(ids).logits, plain(ids).logits, atol=1e-4, rtol=1e-4)
    assert str(saved.num_parameters()) in "".join(filter(str.isdigit, "".join(said["words"])))
    assert said["open"].startswith("/model?model=")
    again = opened.submit(ModelFileRequest(form="checkpoint", result=result.id, model=result.experiment.model))
    assert again.state == "done" and again.from_cache
    opened.delete(result.id)
    assert opened.checkpoint(result.id) is None and not folder.exists()
    opened.restore(result.id)
    assert opened.checkpoint(result.id) is not None and folder.is_dir()


def test_what_another_process_left_half_done_is_made_anew(
    client: FlaskClient, opened: Workspace, tiny_folder: Path
) -> None:
    result = computed(opened, tiny_folder, "ablation", {**CUT, "at": ["L1.z[head=0]"]})
    kept = Path(written(client, opened, result, "checkpoint")["folder"])
    (kept.parent / "checkpoint.json").unlink()
    (kept / "model.safetensors").unlink()
    assert opened.checkpoint(result.id) is None
    assert written(client, opened, result, "checkpoint")["state"] == "done"
    assert (kept / "model.safetensors").is_file()


def test_vectors_are_computed_once_and_then_downloaded(
    client: FlaskClient, opened: Workspace, tiny_folder: Path
) -> None:
    width = AutoModelForCausalLM.from_pretrained(tiny_folder).config.hidden_size
    numbers = [float(number) for number in range(width)]
    result = computed(
        opened, tiny_folder, "evaluation", {"kind": "perplexity", "edits": [STEER]}, vectors={"up": numbers}
    )
    assert model_forms(result) == ("checkpoint", "vectors")
    assert client.get(f"/export/{result.id}/vectors").status_code == 404
    said = written(client, opened, result, "vectors")
    answer = client.get(said["file"])
    assert answer.headers["Content-Disposition"].endswith('.safetensors"')
    assert load(answer.data)["up"].tolist() == numbers
    refused = written(client, opened, result, "checkpoint")
    assert refused["state"] == "failed" and refused["message"] and refused["hint"]


def test_what_has_no_one_set_of_edits_offers_no_model(opened: Workspace, tiny_folder: Path) -> None:
    assert model_forms(computed(opened, tiny_folder, "next_token", {})) == ()
    assert model_forms(computed(opened, tiny_folder, "ablation", {"over": "head", "kind": "zero"})) == ()


def test_an_unknown_form_or_result_is_said_in_one_sentence(client: FlaskClient) -> None:
    for address in ("/export/abcdef0123456789/model/checkpoint", "/export/abcdef0123456789/model/pickle"):
        said = client.post(address, json={}).get_json()
        assert said["state"] == "failed" and said["message"]
