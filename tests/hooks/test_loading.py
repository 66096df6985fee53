"""Opening a model: what cannot be opened is refused with the reason, and nothing is unpickled."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

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


def test_c24_an_encoder_is_refused_with_a_sentence(tmp_path):
    config = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=32)
    BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="BertModel is not a decoder language model"):
        load(tmp_path)


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
