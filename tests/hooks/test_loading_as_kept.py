"""Weights as users have them: half precision, quantised, pruned, with adapters, with another tokenizer."""

from __future__ import annotations

import json
import pickle
import re

import pytest
import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from torch.nn.utils import prune
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from hooks.companion import first_difference
from hooks.dense import dense_weight
from hooks.errors import ModelError
from hooks.interventions.zero import Zero
from hooks.loading import from_memory, load
from hooks.model import Instrumented, instrument, open_model
from hooks.plan import CapturePlan
from hooks.projections import head_writes, in_features, out_features, weight_of
from hooks.prompts import IdsPrompt, PromptSet

IDS = [3, 1, 4, 1, 5, 9]
INPUTS = PromptSet(prompts=(IdsPrompt(ids=IDS),))


def tiny(*, seed: int = 0, vocab: int = 32) -> LlamaForCausalLM:
    """A random Llama of 2 layers, 2 heads, width 16, with weights large enough that an error shows."""
    config = LlamaConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, vocab_size=vocab,
        attn_implementation="eager",
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.2, generator=generator)
    return model


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([IDS])).logits


def save_lora(folder, *, base: LlamaForCausalLM | None = None, targets=("q_proj", "o_proj"), **options) -> PeftModel:
    """A LoRA adapter whose B, which training begins at zero, is random."""
    torch.manual_seed(1)
    config = LoraConfig(r=2, lora_alpha=8, target_modules=list(targets), init_lora_weights=False, **options)
    adapted = get_peft_model(base or tiny(), config).eval()
    adapted.save_pretrained(folder)
    return adapted


@pytest.fixture
def base(tmp_path):
    tiny().save_pretrained(tmp_path / "base")
    return tmp_path / "base"


# Half precision


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_on_a_cpu_says_how_far_it_is_from_float32(base, dtype):
    model = open_model(base, device="cpu", dtype=dtype)
    (warning,) = model.warnings
    name = str(dtype).removeprefix("torch.")
    found = re.fullmatch(
        rf"{name} on a CPU: logits of a 6-token probe differ from float32 by up to (\S+) \(largest (\S+)\)", warning
    )
    assert found, warning
    assert 0 < float(found[1]) < 0.1 * float(found[2])
    assert model.info.dtype == name and model.proof.exact
    assert model.summary()["warnings"] == [warning]


def test_the_deviation_is_that_of_the_stored_weights_not_of_the_rounded_ones(base):
    """Weights that bfloat16 cannot hold: computing in float32 from the rounded ones would hide their error."""
    state = load_file(base / "model.safetensors")
    state["lm_head.weight"] = torch.full((32, 16), 1 + 2**-9)
    save_file(state, base / "model.safetensors", {"format": "pt"})
    loaded = load(base, device="cpu", dtype=torch.bfloat16)
    assert (loaded.model.lm_head.weight == 1).all()
    assert (loaded.in_float32().lm_head.weight == 1 + 2**-9).all()


def test_float32_has_no_such_warning_and_auto_takes_the_stored_type(base, tmp_path):
    assert open_model(base, device="cpu").warnings == ()
    tiny().to(torch.bfloat16).save_pretrained(tmp_path / "half")
    assert load(tmp_path / "half", device="cpu", dtype="auto").model.dtype == torch.bfloat16
    assert load(tmp_path / "half", device="cpu").model.dtype == torch.float32


# Quantised


@pytest.mark.parametrize(
    ("method", "settings", "package"),
    [
        ("bitsandbytes", {"load_in_4bit": True}, "bitsandbytes"),
        ("bitsandbytes", {"load_in_8bit": True}, "bitsandbytes"),
        ("gptq", {"bits": 4, "group_size": 128}, "gptqmodel"),
        ("awq", {"bits": 4, "group_size": 128}, "gptqmodel"),
        ("compressed-tensors", {"format": "pack-quantized"}, "compressed-tensors"),
    ],
)
def test_a_quantised_checkpoint_names_the_package_that_reads_it(base, method, settings, package):
    config = json.loads((base / "config.json").read_text())
    config["quantization_config"] = {"quant_method": method, **settings}
    (base / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=f"quantised by {method}, and what reads them is not installed") as caught:
        load(base, device="cpu")
    assert caught.value.hint.startswith("pip install ") and package in caught.value.hint


def test_an_unknown_method_of_quantisation_is_a_sentence(base):
    config = json.loads((base / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "sorcery"}
    (base / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="sorcery"):
        load(base, device="cpu")


class Eighths(nn.Module):
    """A linear map whose weight is kept as whole numbers of eighths, as quantised layers keep theirs."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.in_features, self.out_features = columns, rows
        kept = torch.arange(rows * columns).reshape(rows, columns) - 7
        self.register_buffer("weight", kept.to(torch.int8))
        self.register_buffer("bias", torch.arange(rows).float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ (self.weight.float() / 8).T + self.bias


def test_a_quantised_projection_gives_the_matrix_that_it_multiplies_with():
    layer = Eighths(6, 4)
    assert torch.equal(weight_of(layer), layer.weight.float() / 8)
    assert (in_features(layer), out_features(layer)) == (4, 6)
    z = torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(head_writes(layer, z).sum(2) + layer.bias, layer(z.flatten(2)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_pytorchs_own_quantised_linear_gives_its_matrix():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(8, 4))
    quantised = torch.ao.quantization.quantize_dynamic(plain, {nn.Linear}, dtype=torch.qint8)[0]
    torch.testing.assert_close(weight_of(quantised), plain[0].weight, atol=0.01, rtol=0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_model_that_pytorch_quantised_in_memory_is_opened_with_its_own_numbers():
    def quantised(model: nn.Module) -> nn.Module:
        return torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)

    model = quantised(tiny())
    opened = instrument(model)
    assert opened.proof.exact and torch.equal(opened.run(opened.tokens(INPUTS)).logits, logits(model))
    assert opened.hash == from_memory(quantised(tiny())).hash != from_memory(quantised(tiny(seed=1))).hash


def test_a_weight_that_is_no_matrix_is_an_error_with_its_kind():
    module = nn.Module()
    module.weight = nn.Parameter(torch.zeros(4, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(ModelError, match="the weight of a Module is not a matrix of numbers"):
        dense_weight(module)


# Pruned


def pruned() -> LlamaForCausalLM:
    model = tiny()
    for layer in model.model.layers:
        prune.l1_unstructured(layer.self_attn.o_proj, "weight", amount=0.25)
    return model


def test_a_model_with_masks_is_observed_as_it_runs():
    model = pruned()
    opened = instrument(model)
    assert opened.proof.exact and opened.proof.identity == 0.0
    assert opened.warnings == ("pruned: 25.0% of the weights in 2 tensors are masked to zero",)
    assert torch.equal(opened.run(opened.tokens(INPUTS)).logits, logits(model))


def test_an_ablation_under_masks_removes_what_the_masked_head_writes():
    model = pruned()
    opened = instrument(model)
    batch = opened.tokens(INPUTS)
    before = opened.run(batch, CapturePlan.of("L0.z", "L0.attn_out"))
    after = opened.run(batch, CapturePlan.of("L0.attn_out"), edits=[Zero(at="L0.z[head=1]")])
    projection = model.model.layers[0].self_attn.o_proj
    write = before["L0.z"][:, :, 1] @ (projection.weight_orig * projection.weight_mask).detach()[:, 8:].T
    torch.testing.assert_close(after["L0.attn_out"], before["L0.attn_out"] - write)


def test_the_hash_covers_the_masks():
    first, second = pruned(), pruned()
    assert from_memory(first).hash == from_memory(second).hash != from_memory(tiny()).hash
    mask = second.model.layers[0].self_attn.o_proj.weight_mask
    mask[0, 0] = 1 - mask[0, 0]
    assert from_memory(first).hash != from_memory(second).hash


def test_masks_in_a_checkpoint_are_multiplied_in_with_a_notice(base):
    model = pruned()
    save_file({name: value.clone() for name, value in model.state_dict().items()}, base / "model.safetensors")
    loaded = load(base, device="cpu")
    assert loaded.warnings == (
        "pruned: 25.0% of the weights in 2 tensors are masked to zero; the masks are multiplied into the weights",
    )
    assert torch.equal(logits(loaded.model), logits(model))


# Adapters


def test_an_adapter_gives_the_numbers_that_peft_gives(base, tmp_path):
    adapted = save_lora(tmp_path / "lora")
    opened = Instrumented(load(base, adapter=tmp_path / "lora", device="cpu"))
    got = opened.run(opened.tokens(INPUTS)).logits
    torch.testing.assert_close(got, logits(adapted), atol=1e-5, rtol=1e-5)
    assert torch.equal(got, logits(adapted.merge_and_unload()))
    assert (got - logits(tiny())).abs().max() > 0.1
    assert opened.proof.exact and opened.source.endswith("+ adapter lora, merged")


def test_base_and_adapter_have_hashes_of_their_own(base, tmp_path):
    save_lora(tmp_path / "lora")
    plain = load(base, device="cpu")
    adapted = load(base, adapter=tmp_path / "lora", device="cpu")
    config = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    (tmp_path / "lora" / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 16}))
    stronger = load(base, adapter=tmp_path / "lora", device="cpu")
    assert len({plain.hash, adapted.hash, stronger.hash}) == 3
    assert load(base, device="cpu").hash == plain.hash


def test_a_wrapped_model_in_memory_is_observed_with_its_adapter_active(tmp_path):
    adapted = save_lora(tmp_path / "lora")
    opened = instrument(adapted)
    batch = opened.tokens(INPUTS)
    run = opened.run(batch, CapturePlan.of("L0.z", "L0.head_out", "L0.attn_out"))
    assert opened.proof.exact and torch.equal(run.logits, logits(adapted))
    torch.testing.assert_close(run["L0.head_out"].sum(2), run["L0.attn_out"], atol=1e-5, rtol=1e-5)
    merged = adapted.merge_and_unload().model.layers[0].self_attn.o_proj.weight
    torch.testing.assert_close(opened.weights.W_O(0)[1], merged[:, 8:].T, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["lora_bias", "all_linear", "dora"])
def test_kinds_of_lora(base, tmp_path, kind):
    options = {
        "lora_bias": {"bias": "lora_only"},
        "all_linear": {"targets": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")},
        "dora": {"use_dora": True},
    }[kind]
    adapted = save_lora(tmp_path / "lora", **options)
    loaded = load(base, adapter=tmp_path / "lora", device="cpu")
    torch.testing.assert_close(logits(loaded.model), logits(adapted), atol=1e-4, rtol=1e-4)


def test_c45_a_pickled_adapter_is_refused_unopened(base, tmp_path):
    save_lora(tmp_path / "lora")
    marker = tmp_path / "ran"

    class Payload:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    (tmp_path / "lora" / "adapter_model.safetensors").unlink()
    (tmp_path / "lora" / "adapter_model.bin").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(ModelError, match="pickled weights"):
        load(base, adapter=tmp_path / "lora", device="cpu")
    assert not marker.exists()


def test_an_adapter_of_another_model_is_refused(base, tmp_path):
    other = LlamaForCausalLM(
        LlamaConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=2, num_attention_heads=2, vocab_size=32)
    )
    save_lora(tmp_path / "lora", base=other)
    with pytest.raises(ModelError, match="does not go onto this model"):
        load(base, adapter=tmp_path / "lora", device="cpu")


def test_an_adapter_of_a_deeper_model_is_refused_rather_than_half_applied(base, tmp_path):
    tiny_config = tiny().config
    tiny_config.num_hidden_layers = 1
    save_lora(tmp_path / "lora", base=LlamaForCausalLM(tiny_config))
    with pytest.raises(ModelError, match=r"lacks weights|does not go onto"):
        load(base, adapter=tmp_path / "lora", device="cpu")


def test_an_adapter_that_changes_the_prompt_is_refused(base, tmp_path):
    get_peft_model(tiny(), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)).save_pretrained(
        tmp_path / "prompt"
    )
    with pytest.raises(ModelError, match="positions would no longer be the prompt's"):
        load(base, adapter=tmp_path / "prompt", device="cpu")


def test_without_peft_an_adapter_says_what_to_install(base, tmp_path, monkeypatch):
    save_lora(tmp_path / "lora")
    monkeypatch.setattr("hooks.adapters.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="adapters need PEFT") as caught:
        load(base, adapter=tmp_path / "lora", device="cpu")
    assert "[peft]" in caught.value.hint


# Another tokenizer


def words(*vocabulary: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token=vocabulary[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=vocabulary[0])


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (("?", "a", "b"), ("?", "a", "b"), None),
        (("?", "a", "b"), ("?", "a", "c"), "position 1: 'b' (2) against '?' (0)"),
        (("?", "a", "b", "x"), ("?", "a", "x", "b"), "position 1: 'b' (2) against 'b' (3)"),
    ],
    ids=["equal", "unknown word", "other id"],
)
def test_c06_the_first_disagreement_of_two_tokenizers(first, second, expected):
    found = first_difference(words(*first), words(*second), "a b")
    assert (None if found is None else str(found)) == expected


def test_c06_a_companion_is_used_and_a_disagreement_is_a_warning(base, tmp_path):
    words("?", "The", "quick", "brown").save_pretrained(base)
    words("?", "The", "quick", "brown").save_pretrained(tmp_path / "same")
    words("?", "The", "brown", "quick").save_pretrained(tmp_path / "other")
    assert load(base, tokenizer=tmp_path / "same", device="cpu").warnings == ()
    loaded = load(base, tokenizer=tmp_path / "other", device="cpu")
    assert loaded.tokenizer("The brown")["input_ids"] == [1, 2]
    (warning,) = loaded.warnings
    assert "disagrees with the companion" in warning and "position 1: 'quick' (2) against 'quick' (3)" in warning
    assert loaded.tokenizer_hash != load(base, device="cpu").tokenizer_hash


def test_a_companion_without_a_tokenizer_is_refused(base, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="there is no tokenizer in"):
        load(base, tokenizer=tmp_path / "empty", device="cpu")
