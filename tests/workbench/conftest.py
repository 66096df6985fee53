"""Shared by the tests of the workbench: a tiny random model on disk, settings in a temporary folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from hooks.prompts import PromptSet
from workbench.requests import OpenRequest
from workbench.settings import Settings
from workbench.workspace import Workspace

TEXT = ["When Mary and John went to the store, John gave a drink to Mary.", "The cat sat on the mat, hello world!"]


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of about 300 entries: every text has ids, and they decode to it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(TEXT * 8, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>")


def save_tiny_model(
    folder: Path, *, layers: int = 2, d_mlp: int = 48, seed: int = 0, dtype: torch.dtype = torch.float32
) -> Path:
    """A random Llama with 4 query and 2 key/value heads, weights large enough that wrong wiring shows."""
    tokenizer = byte_level_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=d_mlp,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
    )
    model = LlamaForCausalLM(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.2, generator=generator)
    model.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def save_model() -> Callable[..., Path]:
    """`save_tiny_model`, for tests that need several models."""
    return save_tiny_model


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model on disk."""
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings that keep everything in a temporary folder."""
    return Settings(cache_dir=tmp_path / "cache", workspace_dir=tmp_path / "workspace", device="cpu")


@pytest.fixture
def workspace(settings: Settings) -> Iterator[Workspace]:
    """A workspace whose jobs run in this process."""
    opened = Workspace.open(settings, engine="inline")
    yield opened
    opened.close()


@pytest.fixture
def prompts() -> PromptSet:
    """One prompt with its answer and foil."""
    return PromptSet(prompts=("When Mary and John went to",), answers=(" the",), foils=(" a",))


@pytest.fixture(scope="module")
def opened(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A workspace in which the tiny model is open; captures are shared by the tests of one file."""
    folder = tmp_path_factory.mktemp("opened")
    settings = Settings(cache_dir=folder / "cache", workspace_dir=folder / "workspace", device="cpu")
    workspace = Workspace.open(settings, engine="inline")
    assert workspace.wait(workspace.submit(OpenRequest(model=str(tiny_folder))).id).state == "done"
    yield workspace
    workspace.close()
