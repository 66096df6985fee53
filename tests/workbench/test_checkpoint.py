"""Pruned checkpoints: transformers opens the folder, and its model gives the ablated logits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM

from analyses.experiment import Experiment
from hooks.errors import InputError, ModelError, SpecError, StoreError
from hooks.tiny import build
from workbench import api
from workbench.export import checkpoint

IDS = ((5, 9, 12, 40, 33, 8), (8, 7, 30, 21))
PROJECTIONS = {
    "gpt2": ("transformer.h.{}.attn.c_proj", "transformer.h.{}.mlp.c_proj"),
    "llama": ("model.layers.{}.self_attn.o_proj", "model.layers.{}.mlp.down_proj"),
    "gemma2": ("model.layers.{}.self_attn.o_proj", "model.layers.{}.mlp.down_proj"),
    "gpt-neox-parallel": ("gpt_neox.layers.{}.attention.dense", "gpt_neox.layers.{}.mlp.dense_4h_to_h"),
}
# (layer, head) and (layer, neuron): unlike from layer to layer, then alike.
UNEVEN = [(0, 1), (1, 2), (1, 3)], [(0, 7), (0, 20), (1, 3)]
NEURONS = [], [(0, 7), (0, 20), (1, 3), (1, 40)]
GROUPS = [(0, 0), (0, 1), (1, 2), (1, 3)], []
ONE_OF_EACH = [(0, 0), (0, 3), (1, 1), (1, 2)], []


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WORKBENCH_DEVICE", "cpu")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory):
    """A tiny model of each shape on disk, opened from there, by variant."""
    folders = {variant: tmp_path_factory.mktemp(variant) for variant in PROJECTIONS}
    for variant, folder in folders.items():
        build(variant).save_pretrained(folder)
    return {variant: (str(folder), api.open_model(str(folder), device="cpu")) for variant, folder in folders.items()}


def ablated(model, at, **params):
    """The result of removing parts, on two prompts of unequal length."""
    inputs = {"clean": {"prompts": [{"ids": list(ids)} for ids in IDS]}}
    asked = {"at": at, "metric": "loss", **params}
    spec = {"model": model[0], "inputs": inputs, "analysis": "ablation", "params": asked}
    return api.run(Experiment.model_validate(spec), model[1])


def save(model, result, folder):
    return api.save_checkpoint(result, folder, model[1])


def parts(heads, neurons):
    return [f"L{layer}.z[head={head}]" for layer, head in heads] + [
        f"L{layer}.mlp_post[unit={unit}]" for layer, unit in neurons
    ]


def logits(model, hooks=()):
    """Plain logits of each prompt, with inputs of projections set to zero by hooks of the test's own."""

    def cut(start, stop):
        def hook(_, args):
            x = args[0].clone()
            x[..., start:stop] = 0
            return (x, *args[1:])

        return hook

    handles = [model.get_submodule(path).register_forward_pre_hook(cut(*span)) for path, span in hooks]
    with torch.no_grad():
        found = [model(input_ids=torch.tensor([ids]), use_cache=False).logits[0] for ids in IDS]
    for handle in handles:
        handle.remove()
    return torch.cat(found)


def zeroed(variant, heads, neurons):
    attention, mlp = PROJECTIONS[variant]
    spans = [(attention.format(layer), (8 * head, 8 * head + 8)) for layer, head in heads]
    return logits(build(variant), spans + [(mlp.format(layer), (unit, unit + 1)) for layer, unit in neurons])


@pytest.mark.parametrize(
    ("variant", "cut", "structured"),
    [
        *((variant, UNEVEN, False) for variant in PROJECTIONS),
        *((variant, NEURONS, True) for variant in ("gpt2", "llama", "gpt-neox-parallel")),
        ("gpt2", ONE_OF_EACH, False),
        ("llama", GROUPS, True),
        ("gemma2", ONE_OF_EACH, True),
    ],
)
def test_the_saved_model_gives_the_ablated_logits_in_plain_transformers(models, tmp_path, variant, cut, structured):
    out = tmp_path / "pruned"
    made = save(models[variant], ablated(models[variant], parts(*cut)), out)
    assert made.structured == structured
    again = AutoModelForCausalLM.from_pretrained(out, attn_implementation="eager").eval()
    assert torch.allclose(logits(again), zeroed(variant, *cut), atol=1e-5)
    assert (again.num_parameters() < build(variant).num_parameters()) == structured
    assert ("cut out" in (out / "README.md").read_text("utf-8")) == structured


def test_whole_groups_of_a_grouped_model_leave_with_their_key_value_heads(models, tmp_path):
    save(models["llama"], ablated(models["llama"], parts(*GROUPS)), tmp_path / "out")
    config = AutoConfig.from_pretrained(tmp_path / "out")
    assert (config.num_attention_heads, config.num_key_value_heads, config.head_dim) == (2, 1, 8)
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        assert file.get_slice("model.layers.1.self_attn.k_proj.weight").get_shape() == [8, 32]


@pytest.mark.parametrize("variant", PROJECTIONS)
def test_what_an_mlp_or_attention_writes_can_be_silenced_with_its_bias(models, tmp_path, variant):
    made = save(models[variant], ablated(models[variant], ["L0.mlp_out", "L1.attn_out"]), tmp_path / "out")
    assert made.difference < 1e-5 and not made.structured


def test_a_mean_over_positions_goes_into_the_bias_where_there_is_one(models, tmp_path):
    params = {"kind": "mean", "mean_over": "positions"}
    at = ["L0.z[head=1]", "L1.mlp_post[unit=3]"]
    assert save(models["gpt2"], ablated(models["gpt2"], at, **params), tmp_path / "out").difference < 1e-5
    with pytest.raises(SpecError, match="no bias"):
        save(models["llama"], ablated(models["llama"], at, **params), tmp_path / "other")


@pytest.mark.parametrize(
    ("at", "params", "words"),
    [
        (["L0.z[head=1,pos=last]"], {}, "some positions"),
        (["L0.resid_post"], {}, "cannot be saved"),
        (["L0.pattern[head=1]"], {}, "cannot be saved"),
        (["L0.z[head=1]"], {"kind": "resample", "source": "clean"}, "depends on the prompt"),
        (None, {"over": "head"}, "no one set of edits"),
    ],
)
def test_edits_that_weights_cannot_hold_are_refused(models, tmp_path, at, params, words):
    with pytest.raises(SpecError, match=words):
        save(models["llama"], ablated(models["llama"], at, **params), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_left_alone(models, tmp_path):
    (tmp_path / "mine.txt").write_text("keep", "utf-8")
    with pytest.raises(SpecError, match="not empty"):
        save(models["llama"], ablated(models["llama"], parts(*NEURONS)), tmp_path)
    assert (tmp_path / "mine.txt").read_text("utf-8") == "keep"


def test_a_full_disk_is_one_error_and_leaves_nothing(models, tmp_path, monkeypatch):
    def full(model, found, part):
        (part / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "_write", full)
    with pytest.raises(StoreError, match="No space left"):
        save(models["llama"], ablated(models["llama"], parts(*NEURONS)), tmp_path / "out")
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


def test_a_saved_model_that_differs_is_not_kept(models, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "make_constant", lambda model, removal: None)
    with pytest.raises(ModelError, match="differ from the edited run"):
        save(models["llama"], ablated(models["llama"], parts(*UNEVEN)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def steered(model):
    edits = [{"kind": "add", "at": "L0.resid_post[pos=last]", "vector": "push"},
             {"kind": "add", "at": "L1.z[head=2]", "vector": "apart"},
             {"kind": "add", "at": "L0.z[head=1]", "vector": "apart"}]  # fmt: skip
    sides = {name: {"prompts": [{"ids": list(ids)}]} for name, ids in zip(("clean", "corrupt"), IDS, strict=True)}
    vectors = {"push": [0.5] * 32, "apart": {"of": "clean", "minus": "corrupt"}}
    spec = {"model": model[0], "inputs": sides, "vectors": vectors, "analysis": "evaluation"}
    return api.run(Experiment.model_validate({**spec, "params": {"kind": "perplexity", "edits": edits}}), model[1])


def test_vectors_are_written_as_they_were_used_and_read_back(models, tmp_path):
    result, file = steered(models["llama"]), tmp_path / "v.safetensors"
    api.save_vectors(result, file, models["llama"][1])
    with safe_open(file, "pt") as held:
        told = json.loads(held.metadata()["vectors"])
    assert told["apart@L1.z[head=2]"]["layer"] == 1 and told["apart@L1.z[head=2]"]["site"] == "z"
    vectors = api.load_vectors(file)
    assert vectors["push"] == (0.5,) * 32
    means = []
    for ids in IDS:
        plain, seen = build("llama"), []
        plain.model.layers[1].self_attn.o_proj.register_forward_pre_hook(
            lambda _, args, seen=seen: seen.append(args[0][0, :, 16:24].mean(0))
        )
        with torch.no_grad():
            plain(input_ids=torch.tensor([ids]))
        means.append(seen[0])
    assert vectors["apart@L1.z[head=2]"] == pytest.approx((means[0] - means[1]).tolist(), abs=1e-5)


def test_a_file_that_holds_no_vectors_is_refused(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="no safetensors file"):
        api.load_vectors(tmp_path / "x.safetensors")
