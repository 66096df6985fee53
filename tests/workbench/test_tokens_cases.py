"""Prompts and their labels from the door to the picture: known faults of other tools, as cases."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from analyses.experiment import Experiment
from analyses.grid import Grid
from hooks.errors import InputError
from hooks.prompts import IdsPrompt, PromptSet
from hooks.reference import ModelRef
from hooks.tokens import display
from tests.workbench.conftest import byte_level_tokenizer
from workbench.figures.attention import head_figure
from workbench.figures.auto import figure
from workbench.jobs import Job
from workbench.requests import CaptureRequest, ExperimentRequest
from workbench.workspace import Workspace

TAGS = "<s> <b>x</b> <br> &lt; \n  \t end"
WEATHER = "Today, the weather is"


def pattern_of(workspace: Workspace, model: str, prompt: str | IdsPrompt) -> np.ndarray:
    """The patterns of layer 0, [head q k]."""
    request = CaptureRequest(
        model=ModelRef.model_validate(model), inputs=PromptSet(prompts=(prompt,)), sites=("L0.pattern",)
    )
    assert workspace.wait(workspace.submit(request).id).state == "done"
    stored = workspace.capture(request)
    assert stored is not None
    return np.asarray(stored.read("L0.pattern", prompt=0))


def head_grid(values: np.ndarray) -> Grid:
    n = len(values)
    places = tuple(range(n))
    return Grid("pattern", values, ("q_pos", "k_pos"), {"q_pos": places, "k_pos": places}, "attention")


@pytest.mark.parametrize("text", [TAGS, "هذا اختبار", "The word سلام means hi", "每个人都有他的作战策略"])
def test_c04_c05_every_label_of_a_map_is_its_token_literally(opened: Workspace, tiny_folder: Path, text: str) -> None:
    strings = opened.tokens(str(tiny_folder), PromptSet(prompts=(text,))).strings[0][:28]
    drawn = head_figure(head_grid(np.eye(len(strings), dtype=np.float32)), strings, "light", "attention")
    axis = json.loads(drawn.to_json())["layout"]["xaxis"]
    assert axis["tickvals"] == list(range(len(strings)))
    for shown, token in zip(axis["ticktext"], strings, strict=True):
        bare = shown.strip("\u2068\u2069")
        assert bare.strip() and "<" not in bare
        assert bare.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == token
        assert not any(0x100 <= ord(char) <= 0x143 for char in bare)


def test_c04_hover_and_ticks_of_bars_are_escaped(opened: Workspace, tiny_folder: Path) -> None:
    strings = opened.tokens(str(tiny_folder), PromptSet(prompts=(TAGS,))).strings[0]
    values = np.linspace(0, 1, len(strings), dtype=np.float32)
    grid = Grid("prob", values, ("rank",), {"rank": tuple(range(len(strings))), "token": strings}, "prob")
    drawn = json.loads(figure(grid, title="t").to_json())
    labels = [*drawn["layout"]["yaxis"]["ticktext"], *drawn["data"][0]["hovertext"]]
    assert all(label.strip() for label in labels)
    assert not any("<b>x" in label or "<s>" in label or "<br></" in label for label in labels)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random GPT-2 with learned positions for 16 tokens."""
    folder = tmp_path_factory.mktemp("models") / "learned"
    tokenizer = byte_level_tokenizer()
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=4, n_positions=16)
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def run(workspace: Workspace, model: str, prompt: str | IdsPrompt) -> Job:
    experiment = Experiment(
        model=ModelRef.model_validate(model),
        inputs={"clean": PromptSet(prompts=(prompt,))},
        analysis="attention_patterns",
    )
    return workspace.wait(workspace.submit(ExperimentRequest(experiment=experiment)).id)


def test_c07_an_empty_and_a_too_long_prompt_are_refused_and_the_next_run_works(
    workspace: Workspace, learned: str
) -> None:
    for prompt, words in (
        ("", "prompt 1 is empty"),
        (IdsPrompt(ids=(5,) * 17), "has 17 tokens, but this model has positions for 16"),
        (IdsPrompt(ids=(5, 10_000)), "uses token id 10000"),
    ):
        job = run(workspace, learned, prompt)
        assert job.state == "failed" and job.error is not None
        assert job.error["code"] == "input" and words in job.error["message"] and job.error["hint"]
        assert run(workspace, learned, "The cat").state == "done"
    assert run(workspace, learned, IdsPrompt(ids=(5,) * 16)).state == "done"


def test_c07_one_token_attends_to_itself(opened: Workspace, tiny_folder: Path) -> None:
    pattern = pattern_of(opened, str(tiny_folder), IdsPrompt(ids=(5,)))
    assert pattern.shape[-2:] == (1, 1)
    assert (pattern == 1).all()
    drawn = head_figure(head_grid(pattern[0]), ("x",), "light", "attention")
    assert np.asarray(drawn.data[0].z).shape == (1, 1)


def test_c07_a_rotary_model_beyond_its_trained_length_runs_with_a_warning(
    workspace: Workspace, save_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = save_model(tmp_path / "rotary")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 8}), "utf-8")
    prompt = IdsPrompt(ids=(5,) * 16)
    assert pattern_of(workspace, str(folder), prompt).shape[-1] == 16
    (warning,) = workspace.tokens(str(folder), PromptSet(prompts=(prompt,))).warnings
    assert "has 16 tokens" in warning and "up to 8" in warning


@pytest.mark.parametrize("hide_first", [False, True])
def test_c08_the_label_of_every_cell_is_the_token_that_was_run_there(
    opened: Workspace, tiny_folder: Path, hide_first: bool
) -> None:
    model = str(tiny_folder)
    batch = opened.tokens(model, PromptSet(prompts=(WEATHER,)))
    pattern = pattern_of(opened, model, WEATHER)[1]
    drawn = head_figure(head_grid(pattern), batch.strings[0], "light", "attention", hide_first=hide_first)
    ids = batch.id_lists()[0]
    expected = display(byte_level_tokenizer(), ids)
    labels = dict(zip(drawn.layout.xaxis.tickvals, drawn.layout.xaxis.ticktext, strict=True))
    shown = np.asarray(drawn.data[0].z)
    for q, k in np.random.default_rng(0).integers(0, len(ids), (50, 2)):
        assert labels[int(k)] == expected[k] and labels[int(q)] == expected[q]
        assert shown[q, k] == pattern[q, k]


def test_c08_hiding_special_tokens_leaves_out_nothing_but_them(opened: Workspace, tiny_folder: Path) -> None:
    batch = opened.tokens(str(tiny_folder), PromptSet(prompts=(f"<|end|>{WEATHER}",)))
    plain = opened.tokens(str(tiny_folder), PromptSet(prompts=(WEATHER,)))
    kept = [(token, word) for token, word, special in zip(
        batch.id_lists()[0], batch.strings[0], batch.special[0].tolist(), strict=True) if not special]  # fmt: skip
    assert kept == list(zip(plain.id_lists()[0], plain.strings[0], strict=True))


def test_c06_a_prompt_that_the_embedding_has_no_row_for_is_refused_before_the_forward_pass(
    opened: Workspace, tiny_folder: Path
) -> None:
    with pytest.raises(InputError, match="uses token id 400, but the embedding has"):
        opened.tokens(str(tiny_folder), PromptSet(prompts=(IdsPrompt(ids=(400,)),)))
