"""Gradients at sites: against autograd through plain hooks, and against finite differences in many families."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import torch
from pydantic import PrivateAttr
from torch import nn
from torch.testing import assert_close

from hooks.errors import SiteMissing, SpecError
from hooks.interventions.base import Intervention
from hooks.interventions.zero import Zero
from hooks.model import instrument
from hooks.plan import CapturePlan
from hooks.prompts import IdsPrompt, PromptSet
from hooks.sites import Part, Site
from tests.analyses.by_hand import LAYERS, VARIANTS, ByHand
from tests.laws.conftest import opened, random_batch

ROWS = [[3, 17, 40, 8, 22, 5], [9, 31, 12, 50]]
EDGES = ("resid_pre", "attn_out", "mlp_out", "resid_post", "z", "q", "k", "v")
LAST = torch.tensor([len(row) - 1 for row in ROWS])


def objective(logits):
    return logits[:, -1, 11].sum() - logits[:, -1, 42].sum()


@pytest.fixture(scope="module", params=VARIANTS)
def by_hand(request):
    return ByHand(request.param)


@pytest.fixture(scope="module")
def model(by_hand):
    return instrument(by_hand.model)


@pytest.fixture(scope="module")
def batch(model):
    return model.tokens(PromptSet(prompts=tuple(IdsPrompt(ids=tuple(row)) for row in ROWS)))


def plain_gradients(by_hand, row, *, before=lambda name, layer, x: x, patterns=False):
    """Gradients by a zero added at each edge (or to each softmax) of the plain model, for one prompt."""
    leaves, softmax = {}, nn.functional.softmax

    def added(key, x):
        leaves[key] = torch.zeros_like(x, requires_grad=True)
        return x + leaves[key]

    def shown(*args, **kwargs):
        return added(("pattern", len(leaves)), softmax(*args, **kwargs))

    with ExitStack() as stack:
        if patterns:
            stack.enter_context(pytest.MonkeyPatch.context()).setattr(nn.functional, "softmax", shown)
        else:
            for name in EDGES:
                for layer in range(LAYERS):
                    at = (name, layer)
                    stack.callback(by_hand._hook(name, layer, lambda x, at=at: added(at, before(*at, x))).remove)
        objective(by_hand.model(input_ids=torch.tensor([row]), use_cache=False).logits[:, -1:]).backward()
    return {key: leaf.grad[0] for key, leaf in leaves.items()}


def test_they_equal_autograd_through_plain_hooks_on_the_plain_model(by_hand, model, batch):
    """q, k and v of fused projections, key/value heads that are shared, writes after a norm; padding has none."""
    sites = [Site(name, layer) for name in EDGES for layer in range(LAYERS)]
    found = model.gradients(batch, sites, objective, logits_at=LAST)
    run = model.run(batch, CapturePlan(sites=frozenset(sites)), logits_at=LAST)
    for n, row in enumerate(ROWS):
        expected = plain_gradients(by_hand, row)
        for site in sites:
            assert_close(found.grads[site][n, : len(row)], expected[site.name, site.layer], rtol=1e-4, atol=1e-5)
            assert not found.grads[site][n, len(row) :].any()
    assert all(torch.equal(found.values[site], run[site]) for site in sites)
    assert torch.equal(found.logits, run.logits) and found.value == pytest.approx(float(objective(run.logits)))


def test_the_pattern_is_differentiated_inside_the_attention_function(by_hand, model, batch):
    found = model.gradients(batch, [Site("pattern", layer) for layer in range(LAYERS)], objective, logits_at=LAST)
    for n, row in enumerate(ROWS):
        expected = plain_gradients(by_hand, row, patterns=True)
        for layer in range(LAYERS):
            ours = found.grads[Site("pattern", layer)][n, :, : len(row), : len(row)]
            assert_close(ours, expected["pattern", layer], rtol=1e-4, atol=1e-5)


def test_a_dropped_layer_passes_no_slope_through_what_it_writes(by_hand, model, batch):
    """As if what the layer writes were detached on its way to the stream."""
    groups = [[Site("attn_out", layer), Site("mlp_out", layer)] for layer in range(LAYERS)]
    sites = [Site(name, layer) for name in ("z", "resid_pre") for layer in range(LAYERS)]
    found = model.gradients(batch, sites, objective, logits_at=LAST, drop=groups)
    whole = model.gradients(batch, sites, objective, logits_at=LAST)
    assert all(torch.equal(found.grads[site], whole.grads[site]) for site in sites)
    for dropped, grads in enumerate(found.dropped):

        def detached(name, layer, x, dropped=dropped):
            return x.detach() if layer == dropped and name in ("attn_out", "mlp_out") else x

        for n, row in enumerate(ROWS):
            expected = plain_gradients(by_hand, row, before=detached)
            for site in sites:
                assert_close(grads[site][n, : len(row)], expected[site.name, site.layer], rtol=1e-4, atol=1e-5)
        assert not grads[Site("z", dropped)].any()


class Shift(Intervention):
    kind: str = "shift"
    _by: torch.Tensor = PrivateAttr()

    def edit(self, x, ctx):
        return x + self._by


def shifts(directions, size):
    made = []
    for site, direction in directions.items():
        made.append(Shift(at=Part(site)))
        made[-1]._by = size * direction
    return made


@pytest.mark.parametrize("variant", ["albert", "granite", "jamba", "mixtral", "phi3"])
def test_all_sites_moved_together_move_the_objective_by_the_sum_of_their_slopes(variant):
    """Shared blocks, tensors written in place, experts, mixers, fused and scaled writes: a central difference."""
    model = opened(variant)[1]
    batch = random_batch(model, 5, 5)
    weights = torch.randn(model.run(batch).logits.shape, generator=torch.Generator().manual_seed(0))
    found = model.gradients(batch, model.writable, lambda logits: (logits * weights).sum())
    torch.manual_seed(0)
    directions = {site: torch.randn_like(x) * found.values[site].std() for site, x in found.grads.items()}
    ends = [
        float((model.run(batch, edits=shifts(directions, size)).logits.double() * weights).sum())
        for size in (2e-3, -2e-3)
    ]
    expected = (ends[0] - ends[1]) / 4e-3
    along = sum(float((found.grads[site] * direction).sum()) for site, direction in directions.items())
    assert along == pytest.approx(expected, rel=5e-3, abs=2e-2)


@pytest.fixture(scope="module")
def llama():
    return opened("llama")


def test_a_site_is_differentiated_after_its_edit_and_under_the_others(llama):
    model = llama[1]
    batch, site = random_batch(model, 5, 5), Site("z", 0)
    cut = Zero(at=Part(site, head=1))
    found = model.gradients(batch, [site], objective, edits=[cut])
    assert not found.values[site][:, :, 1].any()
    torch.manual_seed(0)
    direction = torch.randn_like(found.values[site])
    ends = [
        float(objective(model.run(batch, edits=[cut, *shifts({site: direction}, size)]).logits))
        for size in (1e-2, -1e-2)
    ]
    assert float((found.grads[site] * direction).sum()) == pytest.approx((ends[0] - ends[1]) / 2e-2, rel=1e-2)


def test_nothing_is_left_behind_not_even_by_an_objective_that_fails(llama):
    plain, model = llama
    batch = random_batch(model, 5)

    def traces():
        hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in plain.modules()]
        return hooks, [(parameter.requires_grad, parameter.grad) for parameter in plain.parameters()]

    before = traces()

    def fails(logits):
        raise ValueError("mine")

    for objective_of in (objective, fails):
        try:
            model.gradients(batch, [Site("z", 0)], objective_of)
        except ValueError as error:
            assert str(error) == "mine"
        assert traces() == before
    model.run(batch)


@pytest.mark.parametrize(
    ("sites", "objective_of", "error", "words"),
    [
        (["L0.z"], lambda x: x[:, -1].argmax(-1).float().sum(), SpecError, "no gradient"),
        (["L0.z"], lambda x: x[:, -1, 3], SpecError, "shape"),
        ([], objective, SpecError, "no site"),
        (["L0.head_out"], objective, SiteMissing, "read-only"),
        (["L9.z"], objective, SiteMissing, "does not exist"),
    ],
)
def test_what_has_no_gradient_is_refused_with_a_reason(llama, sites, objective_of, error, words):
    model = llama[1]
    with pytest.raises(error, match=words) as caught:
        model.gradients(random_batch(model, 5, 5), [Site.parse(site) for site in sites], objective_of)
    assert caught.value.hint
