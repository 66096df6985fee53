"""Neurons against plain hooks on plain models: activations, direct effects that sum to the MLP's, logit weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from analyses.bench import Bench
from analyses.execute import run_experiment
from analyses.experiment import Experiment
from hooks.errors import InputError, SiteMissing, SpecError
from tests.analyses.by_hand import LAYERS, VARIANTS, ByHand, put
from tests.analyses.pairs import CLEAN, runner
from tests.analyses.test_direct_logit_attribution import written
from tests.laws.conftest import opened

CLOSE = {"rel": 1e-4, "abs": 1e-4}
# The modules of an MLP: W_out, what the nonlinearity reads, the linear branch.
MODULES = {"gpt2": ("c_proj", "c_fc", ""), "gpt_neox": ("dense_4h_to_h", "dense_h_to_4h", "")}


@pytest.fixture(scope="module", params=VARIANTS)
def by_hand(request):
    return ByHand(request.param)


@pytest.fixture(scope="module")
def view(by_hand):
    return runner(by_hand.model, "neuron_view")


def mlp(by_hand, layer):
    return by_hand._block(layer).mlp


def names(by_hand):
    return MODULES.get(by_hand.variant, ("down_proj", "gate_proj", "up_proj"))


def w_out(by_hand, layer):
    """[neuron d_model] and the bias."""
    module = getattr(mlp(by_hand, layer), names(by_hand)[0])
    weight = module.weight.detach()
    return weight if by_hand.variant == "gpt2" else weight.T, module.bias


def neurons(by_hand, ids, writes=()):
    """What W_out reads, its gate's input and its linear branch by layer, each [pos neuron], by hooks of our own."""
    seen, handles = {}, []

    def keep(key):
        def hook(_, given, gave=None):
            seen[key] = (given[0] if gave is None else gave).detach()[0]

        return hook

    for layer in range(LAYERS):
        down, gate, up = names(by_hand)
        handles.append(getattr(mlp(by_hand, layer), down).register_forward_pre_hook(keep(("post", layer))))
        handles.append(getattr(mlp(by_hand, layer), gate).register_forward_hook(keep(("gate", layer))))
        if up:
            handles.append(getattr(mlp(by_hand, layer), up).register_forward_hook(keep(("up", layer))))
    by_hand.run(ids, writes)
    for handle in handles:
        handle.remove()
    return seen


def effects(by_hand, n):
    """Direct effects of every neuron and of each layer's bias on prompt n, and what each MLP adds, by arithmetic."""
    (last, v, _), acts = written(by_hand, n), neurons(by_hand, CLEAN[n])
    found, biases, whole = [], [], []
    for layer in range(LAYERS):
        weight, bias = w_out(by_hand, layer)
        act, led = acts["post", layer][-1], v
        if by_hand.variant == "gemma2":
            norm = by_hand._block(layer).post_feedforward_layernorm
            led = v * (1 + norm.weight.detach()) / torch.sqrt(((act @ weight) ** 2).mean() + norm.eps)
        found.append(act * (weight @ led))
        biases.append(0.0 if bias is None else float(bias.detach() @ led))
        whole.append(float(last["mlp_out", layer] @ v))
    return torch.stack(found).numpy(), np.array(biases), np.array(whole)


def units(grid):
    """Layer and unit of each cell of a ranking."""
    return list(zip(grid.coords["layer"], grid.coords["unit"], strict=True))


def test_direct_effects_are_the_neurons_writes_along_the_unembedding_and_sum_to_the_mlps(by_hand, view):
    result = view({"score": "direct", "top": 1000, "per_prompt": True})
    grid, totals = result.grid("score_by_prompt"), result.grid("layer_total_by_prompt")
    where = tuple(np.array(units(grid)).T)
    for n in range(len(CLEAN)):
        expected, bias, whole = effects(by_hand, n)
        assert grid.values.shape[1] == expected.size
        assert grid.values[n] == pytest.approx(expected[where], **CLOSE)
        # What the neurons of a layer add together is what its MLP adds, its bias aside.
        assert totals.values[n] + bias == pytest.approx(whole, **CLOSE)
    means = np.abs(grid.values.mean(axis=0))
    assert (np.diff(means) <= 1e-6).all() and f"of {means.size} neurons" in result.grid("score").about


def test_a_peak_is_the_largest_activation_of_real_tokens_with_its_sign_and_place(by_hand, view):
    """The second prompt is shorter: its padding is no token."""
    rows = [CLEAN[0], CLEAN[1][:3]]
    grid = view({"top": 4, "per_layer": True, "per_prompt": True}, clean=rows, answers=False).grid("score_by_prompt")
    acts = [neurons(by_hand, row) for row in rows]
    for layer in range(LAYERS):
        each = [act["post", layer] for act in acts]
        peaks = torch.stack([act.gather(0, act.abs().argmax(0, keepdim=True))[0] for act in each])
        order = peaks.mean(0).abs().argsort(descending=True)[:4]
        start = 4 * layer
        assert grid.coords["unit"][start : start + 4] == tuple(order.tolist())
        assert grid.values[:, layer] == pytest.approx(peaks[:, order].numpy(), **CLOSE)
        prompt, pos = (grid.coords[f"peak_{name}"][start] for name in ("prompt", "pos"))
        assert float(each[prompt][pos, order[0]]) == pytest.approx(float(peaks[:, order[0]].abs().max()) * (
            1 if peaks[prompt, order[0]] > 0 else -1), **CLOSE)  # fmt: skip


@pytest.mark.parametrize(("params", "pick"), [
    ({"at": 2}, lambda x: x[2]),
    ({"at": "last"}, lambda x: x[-1]),
    ({"skip_first": True}, lambda x: x[1:].gather(0, x[1:].abs().argmax(0, keepdim=True))[0]),
])  # fmt: skip
def test_activations_count_at_a_position_or_without_the_first(by_hand, view, params, pick):
    grid = view({"top": 10, "layers": [1], **params}, answers=False).grid("score")
    expected = torch.stack([pick(neurons(by_hand, row)["post", 1]) for row in CLEAN]).mean(0)
    assert grid.values == pytest.approx(expected[list(grid.coords["unit"])].numpy(), **CLOSE)
    assert abs(grid.values[0]) == pytest.approx(float(expected.abs().max()), **CLOSE)
    assert set(grid.coords["layer"]) == {1}


def test_a_neuron_shows_its_activation_with_gate_and_linear_branch_and_what_edits_make_of_it(by_hand, view):
    edit = {"kind": "zero", "at": "L0.z[head=2]"}
    result = view({"top": 0, "neuron": "L2.mlp_post[unit=7]", "edits": [edit]}, answers=False)
    cut = [("z", 0, lambda x: put(torch.zeros_like(x), head=2)(x))]
    for n, row in enumerate(CLEAN):
        clean, edited = neurons(by_hand, row), neurons(by_hand, row, cut)
        for name, side in (("activation", "post"), ("gate", "gate"), ("up", "up")):
            if (side, 2) in clean:
                assert result.grid(name).values[n] == pytest.approx(clean[side, 2][:, 7].numpy(), **CLOSE)
        assert result.grid("activation_edited").values[n] == pytest.approx(edited["post", 2][:, 7].numpy(), **CLOSE)
    assert ("up" in result.grids) == (by_hand.variant in ("llama", "gemma2"))


def test_promoted_tokens_are_those_of_the_neurons_output_weights(by_hand, view):
    result = view({"top": 0, "neuron": "L1.mlp_post[unit=5]", "tokens": 6, "per_prompt": True})
    w = w_out(by_hand, 1)[0][5]
    if by_hand.variant in ("gpt2", "gpt_neox"):
        last = by_hand.model.transformer.ln_f if by_hand.variant == "gpt2" else by_hand.model.gpt_neox.final_layer_norm
        w = last.weight * (w - w.mean())
    elif by_hand.variant == "gemma2":
        w = w * (1 + by_hand._block(1).post_feedforward_layernorm.weight) * (1 + by_hand.model.model.norm.weight)
    else:
        w = w * by_hand.model.model.norm.weight
    logits = (by_hand.model.get_output_embeddings().weight @ w).detach()
    logits = logits - logits.mean()
    for name, expected in (("promoted", logits.topk(6)), ("suppressed", (-logits).topk(6))):
        grid = result.grid(name)
        assert grid.coords["id"] == tuple(expected.indices.tolist())
        sign = 1 if name == "promoted" else -1
        assert grid.values == pytest.approx(sign * expected.values.numpy(), **CLOSE)
    expected = [effects(by_hand, n)[0][1, 5] for n in range(len(CLEAN))]
    assert result.grid("direct_by_prompt").values == pytest.approx(expected, **CLOSE)


# ---- Other families


def result_of(variant, params):
    model = opened(variant)[1]
    rows = {"prompts": [{"ids": row} for row in CLEAN], "answers": [{"id": 11}] * 2, "foils": [{"id": 42}] * 2}
    if variant == "vit":
        pixels = torch.randn(model.info.pixels, generator=torch.Generator().manual_seed(0)).tolist()
        rows = {"prompts": [{"pixels": pixels}], "answers": [{"id": 0}], "foils": [{"id": 1}]}

    def run(analysis, given):
        spec = {"model": variant, "inputs": {"clean": rows}, "analysis": analysis, "params": given}
        experiment = Experiment.model_validate(spec)
        return run_experiment(experiment, Bench(model, experiment))

    return model, run("neuron_view", params), run


def test_experts_neurons_sum_to_what_the_experts_add():
    _, result, run = result_of("mixtral", {"score": "direct", "top": 1000})
    whole = run("direct_logit_attribution", {"by": "component"}).grid("effect")
    parts = dict(zip(whole.coords["component"], whole.values, strict=True))
    expected = [parts[f"MLP {layer}"] for layer in result.grid("layer_total").coords["layer"]]
    assert result.grid("layer_total").values == pytest.approx(expected, **CLOSE)
    assert result.grid("score").coords["neuron"][0].startswith("L")
    assert max(result.grid("score").coords["expert"]) == 3


def test_an_experts_neuron_is_active_where_the_router_chose_its_expert():
    _, result, _ = result_of("mixtral", {"top": 0, "neuron": "L1.expert_post[expert=2,unit=4]"})
    router, activation = result.grid("router").values, result.grid("activation").values
    assert router.shape == activation.shape == (2, 6)
    assert (activation[router == 0] == 0).all() and (activation[router > 0] != 0).all() and router.any()
    assert {"promoted", "suppressed", "direct"} <= set(result.grids)


def test_a_layer_to_which_a_shared_expert_adds_too_is_left_out_and_said_to_be():
    _, result, _ = result_of("qwen2-moe", {"score": "direct", "top": 10})
    assert set(result.grid("layer_total").coords["layer"]) == {0}
    assert "do not sum to what they write: 1" in result.grid("score").about


@pytest.mark.parametrize("variant", ["vit", "bert"])
def test_images_and_encoders_have_neurons_too(variant):
    model, result, run = result_of(variant, {"top": 5, "neuron": "L1.mlp_post[unit=3]"})
    assert result.grid("score").values.shape == (5,)
    width = model.info.grid[0] * model.info.grid[1] + model.info.prefix if variant == "vit" else 6
    assert result.grid("activation").values.shape[-1] == width
    assert any("no logit weights" in note for note in result.provenance.warnings)
    with pytest.raises(SiteMissing, match="norms its residual stream" if variant == "bert" else "no unembedding"):
        run("neuron_view", {"score": "direct"})


@pytest.mark.parametrize(("params", "error", "words"), [
    ({"score": "direct", "at": 1}, SpecError, "leave out at"),
    ({"top": 0}, SpecError, "nothing is asked for"),
    ({"neuron": "L1.z[head=2]"}, SpecError, "is no neuron"),
    ({"neuron": "L1.mlp_post[unit=7,pos=1]"}, SpecError, "is no neuron"),
    ({"neuron": "L1.mlp_post[unit=4800]"}, SiteMissing, "has 48 units"),
    ({"layers": [7]}, SiteMissing, "this model has 3 layers"),
    ({"at": 99}, InputError, "position 99 is not in every prompt"),
    ({"at": "nobody"}, InputError, "no position is called"),
])  # fmt: skip
def test_what_cannot_be_asked_is_refused_in_words(params, error, words):
    with pytest.raises(error, match=words):
        runner(ByHand("llama").model, "neuron_view")(params)


def test_direct_effects_need_answers_and_a_peak_needs_a_token():
    view = runner(ByHand("llama").model, "neuron_view")
    with pytest.raises(InputError, match="need answers"):
        view({"score": "direct"}, answers=False)
    with pytest.raises(InputError, match="no position left"):
        view({"skip_first": True}, clean=[[3]], answers=False)
