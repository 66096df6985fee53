"""Mixtures of experts: what the router weighs, what each expert writes, and an expert as a part that can be cut."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from hooks.interventions.zero import Zero
from hooks.plan import CapturePlan
from hooks.sites import Part, Site
from tests.laws import plainly
from tests.laws.conftest import opened, random_batch, sites_named

# Layers with experts, experts per token, and whether the chosen experts' weights sum to 1.
MIXTURES = {
    "deepseek-v3": ((1,), 2, False),
    "gpt-oss": ((0, 1), 2, True),
    "jamba": ((0,), 2, False),
    "mixtral": ((0, 1), 2, True),
    "qwen2-moe": ((1,), 2, False),
    "qwen3-moe": ((0, 1), 2, False),
}


@pytest.fixture(params=sorted(MIXTURES))
def name(request):
    return request.param


def written_by(module, expert, neurons):
    """What one expert's output matrix, with its bias where it has one, makes of its neurons."""
    weight = module.down_proj[expert].detach()
    bias = getattr(module, "down_proj_bias", None)
    # GPT-OSS keeps [expert d_mlp d_model], the others [expert d_model d_mlp].
    return neurons @ weight.T if bias is None else neurons @ weight + bias[expert].detach()


def test_experts_are_in_exactly_the_layers_that_have_them(name):
    layers, _, _ = MIXTURES[name]
    model = opened(name)[1]
    assert model.info.n_experts == 4
    for kind in ("router", "router_logits", "expert_post"):
        assert tuple(site.layer for site in sites_named(model, kind)) == layers
    dense = set(range(model.info.n_layers)) - set(layers)
    assert {site.layer for site in sites_named(model, "mlp_post")} == dense


def test_weights_are_of_the_chosen_experts_only_and_as_many_as_the_config_says(name):
    layers, chosen, sums_to_one = MIXTURES[name]
    model = opened(name)[1]
    run = model.run(
        random_batch(model, 7), CapturePlan.of(*sites_named(model, "router", "router_logits", "expert_post"))
    )
    for layer in layers:
        router, logits, post = (run[Site(kind, layer)] for kind in ("router", "router_logits", "expert_post"))
        assert router.shape == logits.shape == (1, 7, 4)
        assert post.shape == (1, 7, 4, model.info.d_expert)
        assert ((router != 0).sum(-1) == chosen).all()
        assert post[router == 0].abs().max() == 0 and post[router != 0].abs().max() > 0
        if sums_to_one:
            assert_close(router.sum(-1), torch.ones(1, 7), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["gpt-oss", "mixtral", "qwen3-moe"])
def test_the_experts_that_are_chosen_have_the_highest_scores(name):
    model = opened(name)[1]
    run = model.run(random_batch(model, 7), CapturePlan.of(*sites_named(model, "router", "router_logits")))
    for site in sites_named(model, "router"):
        best = run[Site("router_logits", site.layer)].topk(2, dim=-1).indices.sort(-1).values
        assert torch.equal(best, run[site].topk(2, dim=-1).indices.sort(-1).values)


def test_the_weighted_writes_of_all_experts_sum_to_what_the_experts_give(name):
    layers, _, _ = MIXTURES[name]
    plain, model = opened(name)
    batch = random_batch(model, 7)
    run = model.run(batch, CapturePlan.of(*sites_named(model, "router", "expert_post")))
    modules = {layer: plainly.experts(plain, layer) for layer in layers}
    gave = plainly.outputs(plain, batch, modules)
    for layer in layers:
        router, post = run[Site("router", layer)], run[Site("expert_post", layer)]
        total = sum(router[..., e, None] * written_by(modules[layer], e, post[..., e, :]) for e in range(4))
        assert_close(total, gave[layer][0].reshape(total.shape), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("at", ["router", "expert_post"])
def test_cutting_an_expert_removes_exactly_its_part(name, at):
    """Without its weight it writes nothing; without its neurons only its bias, where it has one, weighted."""
    layers, _, _ = MIXTURES[name]
    plain, model = opened(name)
    batch = random_batch(model, 7, 5)
    for layer in layers:
        module, out = plainly.experts(plain, layer), Site("mlp_out", layer)
        sites = [out, Site("router", layer), Site("expert_post", layer)]
        clean = model.run(batch, CapturePlan.of(*sites))
        router, post = clean[sites[1]], clean[sites[2]]
        for expert in range(4):
            cut = model.run(batch, CapturePlan.of(*sites), [Zero(at=Part(Site(at, layer), expert=expert))])
            write = written_by(module, expert, post[..., expert, :])
            if at == "expert_post":
                write = write - written_by(module, expert, torch.zeros_like(post[..., expert, :]))
            assert_close(cut[out], clean[out] - router[..., expert, None] * write, rtol=1e-5, atol=1e-5)
            others = [e for e in range(4) if e != expert]
            assert torch.equal(cut[sites[1]][..., others], router[..., others])


def test_the_score_of_an_expert_cannot_be_edited_and_the_reason_says_what_can(name):
    row = opened(name)[1].proof.row("router_logits")
    assert not row.writable and "edit router" in row.reason
