"""Cases that concern several processes, answers or steps at once: workers, large maps, half precision."""

from __future__ import annotations

import ast
import csv
import io
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest
import torch
from flask.testing import FlaskClient

from analyses.experiment import Experiment
from hooks.model import open_model
from hooks.plan import CapturePlan
from hooks.prompts import PromptSet
from hooks.reference import ModelRef
from tests.workbench.test_figures_attention import grid_of, random_patterns
from workbench import urls
from workbench.app import create_app
from workbench.export import export
from workbench.figures import attention
from workbench.parts import attention_data
from workbench.parts.attention_routes import mosaic_url
from workbench.requests import CaptureRequest, ExperimentRequest
from workbench.settings import Settings
from workbench.urls import State
from workbench.workspace import Workspace

PROMPT = "The cat sat on the mat"
SOURCES = sorted((Path(__file__).parents[2] / "workbench").rglob("*.py"))


@pytest.fixture
def workers(settings: Settings) -> Iterator[list[Workspace]]:
    """Two workspaces over one folder, as two processes have them."""
    opened = [Workspace.open(settings, engine="inline", exclusive=False) for _ in range(2)]
    yield opened
    for workspace in opened:
        workspace.close()


def pages(workspace: Workspace) -> FlaskClient:
    return create_app(workspace).server.test_client()


def test_c32_any_worker_answers_what_another_computed_also_after_a_restart(
    workers: list[Workspace], settings: Settings, tiny_folder: Path
) -> None:
    state = State(model=str(tiny_folder), prompt=PROMPT, answer="", foil="", layer=1, head=2)
    search = urls.write(state)
    addresses = ["/_dash-layout", "/_dash-dependencies", f"/attention{search}", f"/data/head{search}"]
    addresses.append(mosaic_url(state, "1"))
    first, second = workers
    assert first.wait(first.submit(attention_data.patterns_of(state)).id).state == "done"
    clients = [pages(first), pages(second)]
    seen = [[clients[number % 2].get(address) for address in addresses] for number in range(4)]
    second.close()
    workers[1] = Workspace.open(settings, engine="inline", exclusive=False)
    clients[1] = pages(workers[1])
    seen += [[clients[number % 2].get(address) for address in addresses] for number in range(4)]
    assert [answer.status_code for answers in seen for answer in answers] == [200] * 40
    for answers in list(zip(*seen, strict=True))[-2:]:
        assert len({answer.data for answer in answers}) == 1 and len(answers[0].data) > 100


def test_c33_the_overview_of_144_heads_at_512_tokens_stays_below_five_megabytes() -> None:
    layer = random_patterns(1, 12, 512)[0]
    mosaic = attention.mosaic(repeat(layer, 12))
    assert mosaic.tiles.shape[:2] == (12, 12) and "512 × 512" in mosaic.note()
    assert len(mosaic.encode()) < 5_000_000


def test_c33_a_map_of_1024_tokens_stays_below_five_megabytes() -> None:
    pattern = np.tril(np.random.default_rng(0).random((1024, 1024), np.float32))
    drawn = attention.head_figure(grid_of(pattern), ("t",) * 1024, "light", "attention")
    assert len(drawn.to_json()) < 5_000_000


def test_c33_the_browser_keeps_no_data_but_which_notices_were_closed() -> None:
    kept = [
        ast.literal_eval(next(word.value for word in node.keywords if word.arg == "id"))
        for path in SOURCES
        if "storage_type" in path.read_text("utf-8")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and any(
            word.arg == "storage_type" and ast.literal_eval(word.value) != "memory" for word in node.keywords
        )
    ]  # fmt: skip
    assert kept == ["dismissed"]


def test_c28_a_model_in_bfloat16_is_captured_viewed_and_exported_with_its_own_numbers(
    workspace: Workspace, tiny_folder: Path
) -> None:
    model = ModelRef(name=str(tiny_folder), dtype="bfloat16")
    inputs = PromptSet(prompts=(PROMPT,))
    asked = CaptureRequest(model=model, inputs=inputs, sites=("L1.pattern",))
    assert workspace.wait(workspace.submit(asked).id).state == "done"
    stored = workspace.capture(asked)
    assert stored is not None and stored.dtype == "bfloat16"
    plain = open_model(tiny_folder, device="cpu", dtype=torch.bfloat16)
    expected = plain.run(plain.tokens(inputs), CapturePlan.of("L1.pattern"))["L1.pattern"][0]
    read = stored.read("L1.pattern", prompt=0)
    np.testing.assert_array_equal(read, expected.float().numpy())
    assert np.abs(read.sum(-1) - 1).max() < 5e-3
    experiment = Experiment(
        model=model, inputs={"clean": inputs}, analysis="attention_patterns", params={"layers": [1], "heads": [2]}
    )
    job = workspace.wait(workspace.submit(ExperimentRequest(experiment=experiment)).id)
    assert job.state == "done", job.error
    result = workspace.result(job.id)
    assert result is not None and result.provenance.dtype == "bfloat16"
    rows = list(csv.DictReader(io.StringIO(export(result, "csv").data.decode("utf-8-sig"))))
    values = sorted(np.float32(row["value"]) for row in rows if row["value"])
    assert values == sorted(read[2].ravel())
