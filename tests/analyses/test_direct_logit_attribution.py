"""Direct logit attribution by arithmetic on the plain model's activations; its terms sum to the logit difference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from analyses.bench import Bench
from analyses.execute import run_experiment
from analyses.experiment import Experiment
from hooks.errors import InputError, SiteMissing, SpecError
from hooks.model import instrument
from tests.analyses.by_hand import HEADS, LAYERS, VARIANTS, ByHand, put
from tests.analyses.pairs import ANSWERS, CLEAN, FOILS, difference, runner
from tests.laws.conftest import opened


@pytest.fixture(scope="module", params=VARIANTS)
def by_hand(request):
    return ByHand(request.param)


@pytest.fixture(scope="module")
def attribute(by_hand):
    return runner(by_hand.model, "direct_logit_attribution")


def projection(by_hand, layer):
    """W_O of one layer of the plain model, [head d_head d_model], and its bias."""
    name = {"gpt2": "c_proj", "gpt_neox": "dense"}.get(by_hand.variant, "o_proj")
    module = getattr(by_hand.attention(layer), name)
    weight = module.weight if by_hand.variant == "gpt2" else module.weight.T
    return weight.detach().unflatten(0, (HEADS, -1)), module.bias


def direction(by_hand, stream, n):
    """What an addend is multiplied with: the final norm with its scale held, then the two unembedding columns."""
    model, variant = by_hand.model, by_hand.variant
    u = (model.get_output_embeddings().weight[ANSWERS[n]] - model.get_output_embeddings().weight[FOILS[n]]).detach()
    if variant in ("gpt2", "gpt_neox"):
        norm = model.transformer.ln_f if variant == "gpt2" else model.gpt_neox.final_layer_norm
        scaled = norm.weight.detach() * u / torch.sqrt(stream.var(unbiased=False) + norm.eps)
        return scaled - scaled.mean(), float(norm.bias.detach() @ u)
    norm = model.model.norm
    gain = 1 + norm.weight if variant == "gemma2" else norm.weight
    eps = norm.eps if variant == "gemma2" else norm.variance_epsilon
    return gain.detach() * u / torch.sqrt((stream**2).mean() + eps), 0.0


def written(by_hand, n):
    """Activations of one prompt at its last position, and the direction there."""
    names = ("resid_pre", "z", "attn_out", "mlp_out", "resid_post")
    _, seen = by_hand.run(CLEAN[n], reads=[(name, layer) for name in names for layer in range(LAYERS)])
    last = {key: value[0, -1] for key, value in seen.items()}
    return last, *direction(by_hand, last["resid_post", LAYERS - 1], n)


def whole(result):
    return sum(grid.values.sum() for name, grid in result.grids.items() if name in ("effect", "others"))


def test_a_heads_effect_is_its_write_along_the_unembedding(by_hand, attribute):
    result = attribute({"by": "head", "per_prompt": True})
    if by_hand.variant == "gemma2":
        assert result.grid("effect").dims == ("component",)
        assert "norms what its layers write before it is added" in result.grid("effect").about
        return
    effect = result.grid("effect_by_prompt")
    assert effect.dims == ("prompt", "layer", "head")
    for n in range(len(CLEAN)):
        last, v, _ = written(by_hand, n)
        for layer in range(LAYERS):
            weight, _ = projection(by_hand, layer)
            expected = [float(last["z", layer][head] @ weight[head] @ v) for head in range(HEADS)]
            assert effect.values[n, layer] == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_the_components_are_the_embeddings_heads_biases_and_mlps_and_sum_to_the_difference(by_hand, attribute):
    effect = attribute({"by": "component", "per_prompt": True}).grid("effect_by_prompt")
    assert effect.coords["component"][0] == "token embedding"
    for n in range(len(CLEAN)):
        last, v, beta = written(by_hand, n)
        found = dict(zip(effect.coords["component"], effect.values[n], strict=True))
        start = [found.pop("token embedding"), found.pop("position embedding", 0.0)]
        assert sum(start) == pytest.approx(float(last["resid_pre", 0] @ v), rel=1e-4, abs=1e-4)
        assert found.pop("norm bias", 0.0) == pytest.approx(beta, rel=1e-4, abs=1e-4)
        for layer in range(LAYERS):
            attention = found.pop(f"heads {layer}", 0.0) + found.pop(f"bias of attention {layer}", 0.0)
            attention += found.pop(f"attention {layer}", 0.0)
            assert attention == pytest.approx(float(last["attn_out", layer] @ v), rel=1e-4, abs=1e-4)
            assert found.pop(f"MLP {layer}") == pytest.approx(float(last["mlp_out", layer] @ v), rel=1e-4, abs=1e-4)
        assert not found
    biases = [name for name in effect.coords["component"] if name.startswith("bias of attention")]
    assert len(biases) == (LAYERS if by_hand.variant in ("gpt2", "gpt_neox") else 0)


@pytest.mark.parametrize("by", ["component", "head", "neuron"])
def test_all_addends_sum_to_the_logit_difference(by_hand, attribute, by):
    """Of Gemma 2 to the difference before its soft cap."""
    result = attribute({"by": by})
    logits = [by_hand.run(row)[0].double() for row in CLEAN]
    cap = 30.0 if by_hand.variant == "gemma2" else None
    logits = [cap * torch.atanh(x / cap) for x in logits] if cap else logits
    expected = np.mean([difference(x, n) for n, x in enumerate(logits)])
    assert whole(result) == pytest.approx(expected, abs=1e-3)
    assert result.grid("metric_clean").values == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert result.grid("total").values == pytest.approx(expected, abs=1e-3)
    assert result.grid("sum_error").values < 1e-3 and " equal within" in result.grid("total").about
    assert ("soft cap of 30" in result.grid("effect").about) == (cap is not None)


def test_under_edits_the_addends_are_those_of_the_edited_run(by_hand, attribute):
    """A zeroed head writes nothing; what setting a residual stream adds is apart from the writes of its layer."""
    if by_hand.variant == "gemma2":
        return
    edits = [{"kind": "zero", "at": "L1.z[head=2]"}, {"kind": "zero", "at": "L2.resid_pre[pos=5]"}]
    result = attribute({"by": "head", "per_prompt": True, "edits": edits})
    zeroed = [("z", 1, lambda z: z.index_fill(2, torch.tensor(2), 0.0)),
              ("resid_pre", 2, lambda x: x.index_fill(1, torch.tensor(5), 0.0))]  # fmt: skip
    expected = [difference(by_hand.run(row, zeroed)[0].double(), n) for n, row in enumerate(CLEAN)]
    assert result.grid("metric_clean_by_prompt").values == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert result.grid("total_by_prompt").values == pytest.approx(expected, rel=1e-4, abs=1e-4)
    effect, others = result.grid("effect_by_prompt").values, result.grid("others_by_prompt")
    assert not effect[:, 1, 2].any() and effect[:, 1, 1].all()
    # All that came before the reset is taken back, so what is left is what the last layer writes.
    names = [str(name) for name in others.coords["component"]]
    rest, last = names.index("rest of layer 2"), [n for n, name in enumerate(names) if name.endswith(" 2")]
    kept = sum(others.values[:, n] for n in last if n != rest) + effect[:, 2].sum(-1)
    kept = kept + sum(others.values[:, n] for n, name in enumerate(names) if name in ("norm bias", "unembedding bias"))
    assert kept == pytest.approx(expected, rel=1e-4, abs=1e-4)
    with pytest.raises(SpecError, match="leave out edits"):
        attribute({"edits": edits, "self_repair": True})


def test_neurons_and_their_bias_sum_to_what_the_mlp_adds(by_hand, attribute):
    neurons, whole = attribute({"by": "neuron", "layers": [1]}), attribute({"by": "component"}).grid("effect")
    mlp = dict(zip(whole.coords["component"], whole.values, strict=True))["MLP 1"]
    if by_hand.variant == "gemma2":
        assert neurons.grid("effect").dims == ("component",)
        return
    others = neurons.grid("others")
    rest = dict(zip(others.coords["component"], others.values, strict=True))
    assert neurons.grid("effect").dims == ("layer", "unit") and "MLP 0" in rest and "MLP 1" not in rest
    assert neurons.grid("effect").values.sum() + rest.get("bias of MLP 1", 0.0) == pytest.approx(
        mlp, rel=1e-4, abs=1e-4
    )


def test_self_repair_is_what_ablating_a_head_loses_less_than_its_direct_effect(by_hand, attribute):
    result = attribute({"by": "head", "self_repair": True})
    direct, ablation, repair = (result.grid(name) for name in ("direct", "ablation", "repair"))
    assert repair.values == pytest.approx(ablation.values + direct.values, abs=1e-5)
    if by_hand.variant == "gemma2":
        assert direct.dims == ("layer",)
        return
    assert direct.values == pytest.approx(result.grid("effect").values, abs=1e-5)
    lost = []
    for n, row in enumerate(CLEAN):
        cut, _ = by_hand.run(row, [("z", 1, lambda x: put(torch.zeros_like(x), head=2)(x))])
        lost.append(difference(cut, n) - difference(by_hand.run(row)[0], n))
    assert ablation.values[1, 2] == pytest.approx(np.mean(lost), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("kind", ["zero", "mean"])
def test_nothing_is_repaired_where_nothing_comes_after(kind):
    """The heads of the last layer, with a final norm that only multiplies and an MLP that writes nothing."""
    by_hand = ByHand("llama")
    by_hand.model.model.norm.forward = lambda x: 0.5 * by_hand.model.model.norm.weight * x
    nn.init.zeros_(by_hand.model.model.layers[-1].mlp.down_proj.weight)
    result = runner(by_hand.model, "direct_logit_attribution")({"self_repair": True, "ablation": kind})
    assert np.abs(result.grid("ablation").values[-1]).min() > 1e-4
    assert result.grid("repair").values[-1] == pytest.approx(np.zeros(HEADS), abs=1e-5)
    assert np.abs(result.grid("repair").values[0]).max() > 1e-3


def test_sets_of_answers_are_averaged_and_without_foils_the_logit_itself_is_split():
    by_hand = ByHand("gpt2")
    run = runner(by_hand.model, "direct_logit_attribution")
    inputs = {"prompts": [{"ids": CLEAN[0]}], "answers": [[{"id": 11}, {"id": 12}]]}
    spec = {"model": "tiny", "inputs": {"clean": inputs}, "analysis": "direct_logit_attribution", "params": {}}
    experiment = Experiment.model_validate(spec)
    model = instrument(by_hand.model)
    logits = by_hand.run(CLEAN[0])[0]
    total = run_experiment(experiment, Bench(model, experiment)).grid("total")
    assert total.values == pytest.approx(float(logits[[11, 12]].mean()), abs=1e-3)
    with pytest.raises(InputError, match="needs answers"):
        run({}, answers=False)


SUMS = ["bloom", "cohere", "gpt-oss", "granite", "jamba", "t5-gated"]


@pytest.mark.parametrize("variant", [*SUMS, "bert", "vit"])
def test_other_families_sum_too_or_say_why_not(variant):
    """Norms of the embedding, factors of writes and logits, experts and mixers; a stream that is normed has no sum."""
    model = opened(variant)[1]
    rows = {"prompts": [{"ids": row} for row in CLEAN], "answers": [{"id": 11}] * 2, "foils": [{"id": 42}] * 2}
    if variant == "t5-gated":
        rows |= {"targets": [{"ids": row[:3]} for row in CLEAN]}
    if variant == "vit":
        shape = model.info.pixels
        pixels = torch.randn(shape, generator=torch.Generator().manual_seed(0)).tolist()
        rows = {"prompts": [{"pixels": pixels}], "answers": [{"id": 0}], "foils": [{"id": 1}]}
    spec = {
        "model": variant,
        "inputs": {"clean": rows},
        "analysis": "direct_logit_attribution",
        "params": {"by": "head"},
    }
    experiment = Experiment.model_validate(spec)
    if variant not in SUMS:
        with pytest.raises(SiteMissing) as caught:
            run_experiment(experiment, Bench(model, experiment))
        assert caught.value.hint
        return
    result = run_experiment(experiment, Bench(model, experiment))
    assert result.grid("sum_error").values < 1e-3
    assert whole(result) == pytest.approx(float(result.grid("metric_clean").values), abs=1e-3)
