"""Opening a model: what cannot be opened is refused with the reason, and nothing is unpickled."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from hooks.errors import ModelError
from hooks.loading import hash_state, load, pick_device
from hooks.model import instrument, open_model


def tiny() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, vocab_size=32)
    ).eval()


def test_a_folder_without_a_config_is_not_a_model(tmp_path):
    with pytest.raises(ModelError, match=r"no config\.json"):
        load(tmp_path)


def test_c45_pickled_weights_are_refused_without_being_read(tmp_path):
    marker = tmp_path / "ran"
    tiny().config.save_pretrained(tmp_path)

    class Payload:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    torch.save({"weight": Payload()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled"):
        load(tmp_path)
    assert not marker.exists()


def test_c45_a_model_that_brings_its_own_code_is_refused_and_the_code_never_runs(tmp_path):
    marker = tmp_path / "ran"
    tiny().save_pretrained(tmp_path)
    (tmp_path / "own.py").write_text(f"open({str(marker)!r}, 'w')\nclass Config: ...\nclass Model: ...\n")
    config = json.loads((tmp_path / "config.json").read_text())
    own = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model", "AutoTokenizer": ["own.Model", None]}
    config |= {"model_type": "own", "architectures": ["Model"], "auto_map": own}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"auto_map": own}))
    with pytest.raises(ModelError):
        load(tmp_path, device="cpu")
    assert not marker.exists()


def test_damaged_weights_are_named(tmp_path):
    tiny().save_pretrained(tmp_path)
    (weights,) = tmp_path.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:50])
    with pytest.raises(ModelError, match="cannot be opened"):
        load(tmp_path)


def test_a_damaged_gguf_is_named(tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"'model.gguf' is not a GGUF file"):
        load(file)
    with pytest.raises(ModelError, match="there is no file"):
        load(tmp_path / "other.gguf")


SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 32}


@pytest.mark.parametrize(
    "model",
    [
        lambda: BertForMaskedLM(BertConfig(vocab_size=32, **SMALL)),
        lambda: BertForSequenceClassification(BertConfig(vocab_size=32, num_labels=3, **SMALL)),
        lambda: BertModel(BertConfig(vocab_size=32, **SMALL)),
        lambda: T5ForConditionalGeneration(T5Config(**T5)),
        lambda: ViTForImageClassification(ViTConfig(image_size=8, patch_size=4, **SMALL)),
    ],
    ids=["masked", "classifier", "bare encoder", "encoder-decoder", "vision"],
)
def test_c24_each_kind_of_model_opens_as_the_class_that_saved_it(tmp_path, model):
    saved = model()
    saved.save_pretrained(tmp_path)
    loaded = load(tmp_path, device="cpu")
    assert type(loaded.model) is type(saved) and loaded.tokenizer is None and loaded.warnings == ()
    assert loaded.model.config._attn_implementation == "eager" and not loaded.model.training
    theirs = loaded.model.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in saved.state_dict().items())


@pytest.mark.parametrize("named", [["MyOwnModel"], ["PreTrainedModel"], ["AutoConfig"], [], None])
def test_c45_a_class_that_transformers_does_not_ship_is_not_asked_for(tmp_path, named):
    tiny().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["architectures"] = named
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert type(load(tmp_path, device="cpu").model) is LlamaForCausalLM


def test_an_image_model_brings_its_processor(tmp_path):
    ViTForImageClassification(ViTConfig(image_size=8, patch_size=4, **SMALL)).save_pretrained(tmp_path)
    settings = {"image_processor_type": "ViTImageProcessor", "size": {"height": 8, "width": 8}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    pixels = load(tmp_path, device="cpu").processor(Image.new("RGB", (20, 10)), return_tensors="pt")["pixel_values"]
    assert pixels.shape == (1, 3, 8, 8)


def test_a_sound_model_brings_its_feature_extractor(tmp_path):
    config = WhisperConfig(
        vocab_size=8, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, num_mel_bins=8, max_source_positions=20,
        max_target_positions=20, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    WhisperForConditionalGeneration(config).save_pretrained(tmp_path)
    WhisperFeatureExtractor(feature_size=8).save_pretrained(tmp_path)
    assert load(tmp_path, device="cpu").processor.feature_size == 8


def test_weights_that_the_checkpoint_lacks_are_said_to_be_random(tmp_path):
    model = BertForSequenceClassification(BertConfig(vocab_size=32, **SMALL))
    model.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["classifier.weight"]
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    assert load(tmp_path, device="cpu").warnings == ("not in the checkpoint, so random: classifier.weight",)


def test_shards_are_read_and_hashed_together_and_a_missing_one_is_named(tmp_path):
    model = tiny()
    model.save_pretrained(tmp_path, max_shard_size="4KB")
    shards = sorted(tmp_path.glob("*.safetensors"))
    assert len(shards) > 1
    loaded = load(tmp_path, device="cpu")
    assert hash_state(loaded.model.state_dict().items()) == hash_state(model.state_dict().items())
    data = bytearray(shards[-1].read_bytes())
    data[-1] ^= 1
    shards[-1].write_bytes(data)
    assert load(tmp_path, device="cpu").hash != loaded.hash
    shards[-1].unlink()
    with pytest.raises(ModelError, match=f"1 of its {len(shards)} weight files are missing .{shards[-1].name}"):
        load(tmp_path, device="cpu")


def test_c45_the_flag_opens_pickled_weights_but_runs_no_code(tmp_path):
    model, marker = tiny(), tmp_path / "ran"
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    loaded = load(tmp_path, device="cpu", allow_pickle=True)
    assert hash_state(loaded.model.state_dict().items()) == hash_state(model.state_dict().items())

    class Payload:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    torch.save({"weight": Payload()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be opened"):
        load(tmp_path, device="cpu", allow_pickle=True)
    assert not marker.exists()


def test_an_adapter_alone_is_told_from_a_model(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="is an adapter, not a model") as caught:
        load(tmp_path)
    assert "BASE+" in caught.value.hint


def test_spreading_over_gpus_needs_several(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ModelError, match="over several GPUs, and there are 1 here"):
        load(tmp_path, device="auto-map")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("hooks.loading.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="needs accelerate"):
        load(tmp_path, device="auto-map")


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", "/nowhere/model", "a/b/c"])
def test_c45_names_that_look_like_paths_are_not_asked_of_a_hub(name):
    with pytest.raises(ModelError):
        load(name)


def test_a_config_that_is_not_json_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError):
        load(tmp_path)


def test_an_unknown_device_is_refused():
    with pytest.raises(ModelError, match="not a device"):
        pick_device("quantum")
    assert pick_device("cpu") == torch.device("cpu")


def test_the_hash_is_of_names_types_and_values():
    model = tiny()
    first = hash_state(model.state_dict().items())
    assert first == hash_state(tiny().state_dict().items())
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1
    assert hash_state(model.state_dict().items()) != first


def test_a_summary_is_plain_json_with_every_site_of_the_vocabulary():
    summary = instrument(tiny()).summary()
    assert json.loads(json.dumps(summary)) == summary
    assert summary["parity"] == {**summary["parity"], "exact": True, "error": 0.0}
    assert {"resid_pre", "q_rot", "head_out", "logits"} <= {row["site"] for row in summary["sites"]}


def test_sizes_are_read_from_weights():
    info = instrument(tiny()).info
    assert (info.n_layers, info.n_heads, info.n_kv_heads, info.d_model, info.d_head, info.d_mlp, info.d_vocab) == (
        2, 2, 2, 16, 8, 24, 32,
    )  # fmt: skip


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_model_on_cuda_keeps_exact_parity():
    model = instrument(tiny().to("cuda"))
    assert model.proof.exact and model.proof.identity == 0.0


def test_a_model_in_bfloat16_keeps_exact_parity():
    model = instrument(tiny().to(torch.bfloat16))
    assert model.proof.exact and model.proof.identity == 0.0
    assert "z" in model.proof.names(writable=True)


def test_opening_a_saved_folder_gives_the_same_numbers(tmp_path):
    from tests.hooks.test_tokens import BARE

    plain = tiny()
    plain.save_pretrained(tmp_path)
    BARE.save_pretrained(tmp_path)
    opened = open_model(tmp_path, device="cpu")
    assert opened.proof.exact
    assert opened.info.n_params == sum(parameter.numel() for parameter in plain.parameters())
