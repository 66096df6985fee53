"""Path patching against the three runs of its definition, made with plain hooks on the plain model."""

from __future__ import annotations

import numpy as np
import pytest

from analyses.analysis import normalised, sentence
from analyses.experiment import Experiment
from hooks.errors import SiteMissing, SpecError
from tests.analyses.by_hand import HEADS, LAYERS, VARIANTS, ByHand, put
from tests.analyses.pairs import CLEAN, CORRUPT, difference, runner

LAST = len(CLEAN[0]) - 1


@pytest.fixture(scope="module", params=VARIANTS)
def by_hand(request):
    return ByHand(request.param)


@pytest.fixture(scope="module")
def path(by_hand):
    return runner(by_hand.model, "path_patching")


@pytest.fixture(scope="module")
def llama():
    return runner(ByHand("llama").model, "path_patching")


def others_frozen(seen, sender):
    """A write of z per layer that holds every head but the sender at its unedited value."""
    kind, layer, head = sender

    def hold(at):
        def change(x):
            kept = seen["z", at].clone()
            if kind == "z" and at == layer:
                kept[:, :, head] = x[:, :, head]
            return kept

        return change

    return [("z", at, hold(at)) for at in range(LAYERS)]


def effect(by_hand, sender, receivers, *, denoising=False, freeze_mlps=False):
    """sender: (site, layer, head or None); receivers: [(site, layer, head, pos)], none for the logits."""
    values = []
    sites = [(name, layer) for name in ("z", "mlp_out") for layer in range(LAYERS)]
    for n, (clean, corrupt) in enumerate(zip(CLEAN, CORRUPT, strict=True)):
        run, source = (corrupt, clean) if denoising else (clean, corrupt)
        before, seen = by_hand.run(run, reads=sites)
        _, sent = by_hand.run(source, reads=sites)
        name, layer, head = sender
        writes = [*others_frozen(seen, sender)]
        if freeze_mlps:
            writes += [
                ("mlp_out", at, put(seen["mlp_out", at])) for at in range(LAYERS) if (name, layer) != ("mlp_out", at)
            ]
        # The last write at an edge wins, so the sender's comes after what holds the others.
        writes += [(name, layer, put(sent[name, layer], head=head))]
        after, heard = by_hand.run(run, writes, reads=[receiver[:2] for receiver in receivers])
        if receivers:
            given = [(site, at, put(heard[site, at], head=h, pos=pos)) for site, at, h, pos in receivers]
            after, _ = by_hand.run(run, given)
        values.append(difference(after, n) - difference(before, n))
    return np.mean(values)


def test_every_head_to_the_logits_equals_the_definition(by_hand, path):
    grid = path({}).grid("effect")
    assert (grid.dims, grid.values.shape, grid.baseline) == (("layer", "head"), (LAYERS, HEADS), 0.0)
    for layer, head in ((0, 0), (0, 3), (1, 1), (2, 2)):
        assert grid.values[layer, head] == pytest.approx(effect(by_hand, ("z", layer, head), []), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(
    ("receivers", "places", "denoising"),
    [
        (["L2.q[head=1,pos=last]"], [("q", 2, 1, LAST)], False),
        (["L1.k[head=0]", "L2.v[head=1]"], [("k", 1, 0, None), ("v", 2, 1, None)], False),
        (["L2.v[head=0]"], [("v", 2, 0, None)], True),
    ],
)
def test_every_head_to_the_inputs_of_heads_equals_the_definition(by_hand, path, receivers, places, denoising):
    direction = "denoising" if denoising else "noising"
    grid = path({"receivers": receivers, "direction": direction}).grid("effect")
    for layer, head in ((0, 0), (0, 2), (1, 3)):
        expected = effect(by_hand, ("z", layer, head), places, denoising=denoising)
        assert grid.values[layer, head] == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("freeze", [False, True])
def test_mlps_between_sender_and_receiver_recompute_unless_they_are_frozen(by_hand, path, freeze):
    params = {"senders": "mlps", "receivers": ["L2.v[head=0]"], "freeze_mlps": freeze}
    result = path(params).grid("effect")
    assert ("MLPs frozen" in result.about, "MLPs recompute" in result.about) == (freeze, not freeze)
    for layer in (0, 1):
        expected = effect(by_hand, ("mlp_out", layer, None), [("v", 2, 0, None)], freeze_mlps=freeze)
        assert result.values[layer] == pytest.approx(expected, rel=1e-4, abs=1e-4)
    named = path({**params, "senders": ["L1.mlp_out", "L0.z[head=2]"]}).grid("effect")
    assert named.coords["sender"] == ("L1.mlp_out", "L0.z[head=2]")
    expected = effect(by_hand, ("z", 0, 2), [("v", 2, 0, None)], freeze_mlps=freeze)
    assert named.values == pytest.approx([result.values[1], expected], rel=1e-4, abs=1e-4)


def test_the_last_residual_is_the_logits_and_a_sender_after_its_receivers_has_no_effect(llama):
    logits = llama({}).grid("effect").values
    assert llama({"receivers": [f"L{LAYERS - 1}.resid_post"]}).grid("effect").values == pytest.approx(logits, abs=1e-5)
    early = llama({"receivers": ["L1.q[head=0]"]}).grid("effect")
    assert np.abs(early.values[0]).max() > 1e-4 and np.abs(early.values[1:]).max() < 1e-6
    assert f"{2 * HEADS} senders come after all receivers" in early.about


def test_equal_prompts_have_no_effect_and_all_values_add_up_over_prompts(llama):
    same = llama({"receivers": ["L2.q[head=1]"]}, corrupt=CLEAN)
    assert np.abs(same.grid("effect").values).max() < 1e-5
    result = llama({"per_prompt": True})
    assert result.grid("effect_by_prompt").values.mean(0) == pytest.approx(result.grid("effect").values, abs=1e-6)
    assert {"metric_clean", "effect_low", "effect_high"} <= set(result.grids)


def test_the_numbers_do_not_depend_on_the_packing_and_the_map_fills(llama):
    seen = []
    params = {"receivers": ["L2.q[head=1]"]}
    small = llama(params, budget_bytes=1, progress=lambda step: seen.append(step.partial))
    assert small.grid("effect").values == pytest.approx(llama(params).grid("effect").values, abs=2e-5)
    counts = [grid.values.size if grid.valid is None else int(grid.valid.sum()) for grid in seen if grid is not None]
    assert counts == sorted(counts) and counts[0] < counts[-1] == LAYERS * HEADS


@pytest.mark.parametrize(
    ("params", "error", "words"),
    [
        ({"receivers": ["L2.z[head=1]"]}, SpecError, "is no input of a part"),
        ({"receivers": []}, SpecError, "name at least one part"),
        ({"receivers": ["L2.q[head=9]"]}, SiteMissing, "4 heads"),
        ({"senders": ["L7.z[head=0]"]}, SiteMissing, "3 layers"),
        ({"senders": ["L0.z[head=0]"], "layers": [0]}, SpecError, "named one by one"),
        ({"senders": ["encoder.L0.z[head=0]"]}, SpecError, "another stack"),
    ],
)
def test_paths_that_cannot_be_are_refused(llama, params, error, words):
    with pytest.raises(error, match=words) as caught:
        llama(params)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, "Send the corrupt output of every head, one at a time, to the logits alone in 1 prompt of the clean set, "
             "with all other heads frozen; measure the change of logit(‘ Mary’) − logit(‘ John’)."),
        ({"senders": ["L0.z[head=1]"], "receivers": "L2.q[head=3]", "direction": "denoising", "freeze_mlps": True},
         "Send the clean output of head 0.1, one at a time, to queries of head 2.3 alone in 1 prompt of the corrupt "
         "set, with all other heads and all MLPs frozen; measure the change of"),
    ],
)  # fmt: skip
def test_an_experiment_says_who_tells_whom(params, words):
    clean = {"prompts": ["a"], "answers": [" Mary"], "foils": [" John"]}
    inputs = {"clean": clean, "corrupt": {"prompts": ["b"]}}
    spec = {"model": "tiny", "inputs": inputs, "analysis": "path_patching", "params": params}
    experiment = normalised(Experiment.model_validate(spec))
    assert sentence(experiment).startswith(words)
    assert normalised(experiment).id == experiment.id
