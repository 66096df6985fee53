"""Attribution patching against autograd through plain hooks, and where it must be exact."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from analyses.analysis import normalised, sentence
from analyses.experiment import Experiment
from hooks.errors import InputError, SpecError
from tests.analyses.by_hand import HEADS, LAYERS, VARIANTS, ByHand, put
from tests.analyses.pairs import ANSWERS, CLEAN, CORRUPT, FOILS, difference, prompts, runner

LENGTH = len(CLEAN[0])
EDGES = ("resid_pre", "attn_out", "mlp_out", "z", "q", "k", "v")
QUIET = {"check": 0}


@pytest.fixture(scope="module", params=VARIANTS)
def by_hand(request):
    return ByHand(request.param)


@pytest.fixture(scope="module")
def estimate(by_hand):
    return runner(by_hand.model, "attribution_patching")


@pytest.fixture(scope="module")
def llama():
    return runner(ByHand("llama").model, "attribution_patching")


@cache
def slopes(by_hand, row, n, dropped=None):
    """Value and derivative of the plain model's logit difference at all edges and patterns of one prompt."""
    leaves, values, softmax, layers = {}, {}, nn.functional.softmax, iter(range(LAYERS))

    def added(key, x):
        leaves[key], values[key] = torch.zeros_like(x, requires_grad=True), x.detach()
        return x + leaves[key]

    def shown(scores, *args, **kwargs):
        return added(("pattern", next(layers)), softmax(scores, *args, **kwargs))

    with ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setattr(nn.functional, "softmax", shown)
        for name, layer in product(EDGES, range(LAYERS)):
            stack.callback(by_hand._hook(name, layer, lambda x, at=(name, layer): added(at, x)).remove)
        for name in () if dropped is None else ("attn_out", "mlp_out"):
            stack.callback(by_hand._hook(name, dropped, torch.Tensor.detach).remove)
        logits = by_hand.model(input_ids=torch.tensor([row]), use_cache=False).logits[0, -1]
        (logits[ANSWERS[n]] - logits[FOILS[n]]).backward()
    return values, {key: leaf.grad for key, leaf in leaves.items()}


def patterns(by_hand, row, name, layer, change):
    """The plain model's pattern of a layer whose queries or keys are changed; each head sees its own alone."""
    seen, softmax = [], nn.functional.softmax

    def shown(*args, **kwargs):
        seen.append(softmax(*args, **kwargs))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.functional, "softmax", shown)
        by_hand.run(row, [(name, layer, change)])
    return seen[layer]


def pairs(direction):
    for n, (clean, corrupt) in enumerate(zip(CLEAN, CORRUPT, strict=True)):
        yield (n, *map(tuple, (corrupt, clean) if direction == "denoising" else (clean, corrupt)))


def gap(by_hand):
    ends = [[difference(by_hand.run(row)[0], n) for n, row in enumerate(rows)] for rows in (CLEAN, CORRUPT)]
    return np.mean(ends[0]) - np.mean(ends[1])


def first_order(by_hand, name, direction):
    """The mean over pairs of (source − run) · gradient, with the axes of the edge after the layer."""
    effects = []
    for n, run, source in pairs(direction):
        (here, grads), (there, _) = slopes(by_hand, run, n), slopes(by_hand, source, n)
        effects.append(
            torch.stack([(there[name, la] - here[name, la]) * grads[name, la] for la in range(LAYERS)])[:, 0]
        )
    return torch.stack(effects).mean(0).numpy()


@pytest.mark.parametrize("direction", ["denoising", "noising"])
def test_an_estimate_is_the_change_of_the_activation_times_the_slope(by_hand, estimate, direction):
    """With the axes after layer: pos d_model, pos head d_head, or head q_pos k_pos."""
    for name, over, summed in (
        *((edge, ["layer", "pos"], 2) for edge in ("resid_pre", "attn_out", "mlp_out")),
        *((edge, ["layer", "head"], (1, 3)) for edge in ("z", "q", "k", "v")),
        ("pattern", ["layer", "head"], (2, 3)),
    ):
        expected = first_order(by_hand, name, direction).sum(summed)
        result = estimate({"site": name, "over": over, "direction": direction, **QUIET})
        effect, scaled = result.grid("estimate_effect"), result.grid("estimate")
        assert effect.values == pytest.approx(expected, rel=1e-4, abs=1e-4)
        assert scaled.values == pytest.approx(expected / gap(by_hand), rel=1e-4, abs=1e-4)
        assert "estimate" in scaled.about and scaled.dims[0] == "layer" and scaled.baseline == 0.0


def test_heads_at_positions_and_single_units_are_cells_too(by_hand, estimate):
    expected = first_order(by_hand, "z", "denoising")
    cells = estimate({"site": "z", "over": ["pos", "layer", "head"], **QUIET}).grid("estimate_effect")
    assert cells.dims == ("pos", "layer", "head")
    assert cells.values == pytest.approx(expected.sum(3).transpose(1, 0, 2), rel=1e-4, abs=1e-4)
    units = estimate({"site": "mlp_out", "over": ["layer", "unit"], **QUIET}).grid("estimate_effect")
    assert units.values == pytest.approx(first_order(by_hand, "mlp_out", "denoising").sum(1), rel=1e-4, abs=1e-4)
    some = {"layers": [2, 0], "heads": [3, 1], "positions": ["last", 1]}
    chosen = estimate({"site": "z", "over": ["layer", "head", "pos"], **some, **QUIET}).grid("estimate_effect")
    assert chosen.coords["position"] == ("last", 1)
    assert chosen.values == pytest.approx(
        expected.sum(3)[[2, 0]][:, [LENGTH - 1, 1]][:, :, [3, 1]].transpose(0, 2, 1), rel=1e-4, abs=1e-4
    )


def softmax_again(by_hand, name, pos=None):
    """AtP*'s estimate of each head, mean over pairs: real patched patterns, then the slope at the pattern; GradDrop."""
    effects = []
    for n, run, source in pairs("denoising"):
        (here, _), (there, _) = slopes(by_hand, run, n), slopes(by_hand, source, n)
        moved = [
            patterns(by_hand, run, name, layer, put(there[name, layer], pos=pos)) - here["pattern", layer]
            for layer in range(LAYERS)
        ]
        grads = [slopes(by_hand, run, n, dropped)[1] for dropped in range(LAYERS)]
        passes = [
            torch.stack([(moved[layer] * grad["pattern", layer]).sum((0, 2, 3)) for layer in range(LAYERS)])
            for grad in grads
        ]
        heads = HEADS if name == "q" else by_hand.kv_heads
        shared = torch.stack(passes).unflatten(-1, (heads, -1)).sum(-1)
        effects.append(shared.abs().mean(0) * LAYERS / (LAYERS - 1))
    return torch.stack(effects).mean(0).numpy()


@pytest.mark.parametrize("name", ["q", "k"])
def test_atp_star_computes_the_softmax_again_and_averages_absolute_estimates(by_hand, estimate, name):
    result = estimate({"site": name, "over": ["layer", "head"], "method": "atp_star", **QUIET})
    expected = softmax_again(by_hand, name)
    assert result.grid("estimate_effect").values == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert result.grid("estimate").values == pytest.approx(expected / abs(gap(by_hand)), rel=1e-4, abs=1e-4)
    alone = estimate({"site": name, "over": ["layer", "head", "pos"], "method": "atp_star", **QUIET})
    expected = softmax_again(by_hand, name, pos=1)
    assert alone.grid("estimate_effect").values[:, :, 1] == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_atp_star_of_other_sites_drops_one_layer_at_a_time(by_hand, estimate):
    effects = []
    for n, run, source in pairs("noising"):
        there, _ = slopes(by_hand, source, n)
        passes = []
        for dropped in range(LAYERS):
            here, grads = slopes(by_hand, run, n, dropped)
            change = [(there["z", la] - here["z", la]) * grads["z", la] for la in range(LAYERS)]
            passes.append(torch.stack(change).sum((1, 2, 4)).abs())
        effects.append(torch.stack(passes).mean(0) * LAYERS / (LAYERS - 1))
    star = {"site": "z", "over": ["layer", "head"], "method": "atp_star", "direction": "noising"}
    found = estimate({**star, **QUIET}).grid("estimate_effect")
    assert found.values == pytest.approx(torch.stack(effects).mean(0).numpy(), rel=1e-4, abs=1e-4)


def test_on_a_linear_path_the_estimate_is_the_patch():
    """The last block of a model whose final norm is the identity, and whose last MLP gives nothing."""
    by_hand = ByHand("llama")
    by_hand.model.model.norm.forward = lambda x: x
    nn.init.zeros_(by_hand.model.model.layers[-1].mlp.down_proj.weight)
    run = runner(by_hand.model, "attribution_patching")
    for site, over in (("z", ["layer", "head"]), ("attn_out", ["layer", "pos"]), ("v", ["layer", "head", "pos"])):
        result = run({"site": site, "over": over, "layers": [LAYERS - 1], "check": 100})
        exact = result.grid("exact")
        assert exact.valid is None and np.abs(exact.values).max() > 1e-3
        assert result.grid("estimate").values == pytest.approx(exact.values, abs=1e-5)
        assert result.grid("agreement").values == pytest.approx([1.0, 1.0], abs=1e-5)


def test_a_sample_of_cells_is_patched_for_real_beside_the_estimate(by_hand, estimate):
    result = estimate({"site": "z", "over": ["layer", "head"], "check": 5})
    exact = result.grid("exact")
    sampled = [tuple(map(int, cell)) for cell in np.argwhere(exact.valid)]
    assert len(sampled) == 5 and "5 of 12 cells" in exact.about
    measured = []
    for layer, head in sampled:
        effects = []
        for n, run, source in pairs("denoising"):
            _, there = by_hand.run(source, reads=[("z", layer)])
            patched, _ = by_hand.run(run, [("z", layer, put(there["z", layer], head=head))])
            effects.append(difference(patched, n) - difference(by_hand.run(run)[0], n))
        measured.append(np.mean(effects))
        assert exact.values[layer, head] == pytest.approx(measured[-1] / gap(by_hand), rel=1e-4, abs=1e-4)
    estimated = [result.grid("estimate_effect").values[cell] for cell in sampled]
    assert result.grid("agreement").coords["measure"] == ("pearson", "spearman")
    assert result.grid("agreement").values[0] == pytest.approx(np.corrcoef(estimated, measured)[0, 1], abs=1e-3)
    again = estimate({"site": "z", "over": ["layer", "head"], "check": 5}).grid("exact")
    other = estimate({"site": "z", "over": ["layer", "head"], "check": 5}, seed=1).grid("exact")
    assert np.array_equal(again.valid, exact.valid) and not np.array_equal(other.valid, exact.valid)


@pytest.mark.parametrize("budget", [1, 1 << 30])
def test_the_numbers_do_not_depend_on_how_many_pairs_share_a_forward(llama, monkeypatch, budget):
    """Nor on whether the two runs of a pair do."""
    params = {"site": "q", "over": ["layer", "head", "pos"], "method": "atp_star", "per_prompt": True, **QUIET}
    reference = llama(params)
    monkeypatch.setattr("analyses.attribution.TOKENS_TOGETHER", 0)
    for name in ("estimate_effect_by_prompt", "metric_clean_by_prompt", "metric_corrupt_by_prompt"):
        apart = llama(params, budget_bytes=budget).grid(name)
        assert apart.values == pytest.approx(reference.grid(name).values, abs=2e-5)


def test_prompts_of_other_lengths_are_estimated_as_if_alone(llama):
    clean, corrupt = [CLEAN[0], CLEAN[1][:4]], [CORRUPT[0], CORRUPT[1][:4]]
    params = {"site": "z", "over": ["layer", "head"], "per_prompt": True, **QUIET}
    both = llama(params, clean=clean, corrupt=corrupt).grid("estimate_effect_by_prompt").values
    first = llama(params, clean=clean[:1], corrupt=corrupt[:1]).grid("estimate_effect").values
    assert both[0] == pytest.approx(first, abs=1e-5)


@pytest.mark.parametrize(
    ("params", "error", "words"),
    [
        ({"metric": "kl", "direction": "noising"}, SpecError, "no slope"),
        ({"metric": "rank"}, SpecError, "no gradient"),
        ({"method": "atp_star", "site": "q", "over": ["layer", "unit"]}, SpecError, "unit"),
        ({"site": "z", "over": ["head"]}, SpecError, "layer"),
    ],
)
def test_what_cannot_be_estimated_is_refused_with_a_reason(llama, params, error, words):
    with pytest.raises(error, match=words):
        llama({"site": "z", **params})


def test_pairs_of_unequal_length_are_refused(llama):
    with pytest.raises(InputError, match="pair 0"):
        llama({"site": "z"}, corrupt=[[3, 33, 40], CORRUPT[1]])


def test_a_divergence_from_the_clean_run_has_a_slope_in_the_corrupt_one(llama):
    grids = llama({"site": "resid_pre", "metric": "kl", **QUIET})
    assert np.abs(grids.grid("estimate_effect").values).max() > 1e-3
    assert grids.grid("metric_clean").values == pytest.approx(0.0, abs=1e-6)


def test_a_recovery_that_is_undefined_says_so(llama):
    result = llama({"site": "z", "over": ["layer", "head"], "check": 3}, corrupt=CLEAN)
    assert not result.grid("estimate").valid.any() and "undefined" in result.grid("estimate").about
    assert result.grid("estimate_effect").values == pytest.approx(np.zeros((LAYERS, HEADS)), abs=1e-6)
    assert not result.grid("agreement").valid.any()


def test_an_attribution_is_called_an_estimate_in_words():
    inputs = {"clean": prompts(CLEAN, answers=True), "corrupt": prompts(CORRUPT)}
    spec = {"model": "tiny", "inputs": inputs, "analysis": "attribution_patching", "params": {"site": "z"}}
    words = sentence(normalised(Experiment.model_validate(spec)))
    assert words.startswith("Estimate by attribution patching what patching the clean head outputs into 2 prompts")
    assert "20 of them for real" in words
