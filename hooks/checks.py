"""The equation that each site must satisfy, as data: what is compared, in words and in tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from hooks.choose import in_any_order
from hooks.evidence import Evidence, same_values
from hooks.experts import written_by
from hooks.sites import Site

Pairs = list[tuple[Tensor, Tensor]]
USUAL_ACTIVATIONS = ("silu", "gelu", "gelu_new", "relu", "relu2", "quick_gelu", "tanh", "sigmoid", "linear")


@dataclass(frozen=True)
class Check:
    """words: the equation. pairs: (ours, expected) tensors for a site. exact: equal bit for bit, else to rounding."""

    words: str
    pairs: Callable[[Evidence, Site], Pairs]
    exact: bool = False


def _once(pairs: Callable[[Evidence, Site], Pairs]) -> Callable[[Evidence, Site], Pairs]:
    """Computed once for all sites of a layer, which share the equation; self- and cross-attention are apart."""

    @wraps(pairs)
    def kept(e: Evidence, site: Site) -> Pairs:
        key = (pairs.__name__, site.stack, site.layer, _names(site))
        if key not in e.kept:
            e.kept[key] = pairs(e, site)
        return e.kept[key]

    return kept


def _embed(e: Evidence, site: Site) -> Pairs:
    start = e.wiring.stacks[site.stack].start
    first = Site("resid_pre", 0, site.stack)
    total = e.at(Site("embed", None, site.stack))
    if start.pos_embed is not None:
        total = total + e.at(Site("pos_embed", None, site.stack))
    for port in start.others:
        total = total + e.call(port).gave  # type: ignore[operator]
    if start.norm is not None:
        total = e.apply(start.norm.module, total)
    return [(total, e.at(first))]


def _resid_pre(e: Evidence, site: Site) -> Pairs:
    hidden = e.states[site.stack].hidden
    known = e.call(e.wiring.ports[site]).given if hidden is None else hidden[site.layer or 0]
    return [] if known is None else [(e.at(site), known)]


def _resid_post(e: Evidence, site: Site) -> Pairs:
    hidden, value = e.states[site.stack].hidden, e.at(site)
    if hidden is None:
        known = e.call(e.wiring.ports[site]).gave
        return [] if known is None else [(value, known)]
    norm = e.wiring.stacks[site.stack].final_norm
    if not e.last(site) or norm is None or torch.equal(value, hidden[-1]):
        return [(value, hidden[(site.layer or 0) + 1])]
    return [(e.apply(norm.module, value), hidden[-1])]


@_once
def _block(e: Evidence, site: Site) -> Pairs:
    layer = e.layer(site)
    assert layer.steps is not None
    stream, after = e.at(site, layer.begins), e.at(site, "resid_post")
    if layer.parallel:
        sums = in_any_order(stream, *(e.at(site, step.site) for step in layer.steps))
        return [(min(sums, key=lambda total: float((total - after).abs().max())), after)]
    for step in layer.steps:
        stream = stream + e.at(site, step.site)
        stream = stream if step.norm is None else e.apply(step.norm, stream)
    return [(stream, after)]


def _resid_mid(e: Evidence, site: Site) -> Pairs:
    if e.layer(site).begins == "resid_mid":
        return _block(e, site)
    stream = e.at(site, "resid_pre")
    for step in (e.layer(site).steps or ())[:-1]:
        stream = stream + e.at(site, step.site)
        stream = stream if step.norm is None else e.apply(step.norm, stream)
    return [(stream, e.at(site))]


def _projected(e: Evidence, site: Site) -> Pairs:
    """What a projection made, in the observed pass, of what it read."""
    port = e.wiring.ports[site]
    call = e.call(port)
    return [] if call.given is None or call.gave is None else [(port.view.open(call.gave, len(e.batch)), e.at(site))]


def _read(e: Evidence, site: Site) -> Pairs:
    """What a sublayer reads: the input of the projection that follows, where that reads it whole."""
    follower = "q" if site.name == "attn_in" else "mlp_pre"
    port = e.wiring.ports.get(e.beside(site, follower))
    given = e.call(e.wiring.ports[site]).given
    projected = None if port is None else e.call(port).given
    known = projected if given is not None and same_values(projected, given) else given
    return [] if known is None else [(e.at(site), known.reshape(e.at(site).shape))]


def _names(site: Site) -> str:
    return "cross_" if site.name.startswith("cross_") else ""


@_once
def _scores_of(e: Evidence, site: Site) -> Pairs:
    facts = e.run.attention[site.stack, site.layer or 0]
    q, k = e.at(site, "q_rot"), e.at(site, "k_rot")
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k.repeat_interleave(q.shape[2] // k.shape[2], dim=2)) * facts.scaling
    if facts.softcap is not None:
        scores = torch.tanh(scores / facts.softcap) * facts.softcap
    if facts.bias is not None:
        scores = scores + facts.bias
    seen = e.at(site, "pattern") > 0
    return [(torch.where(seen, scores, 0.0), torch.where(seen, e.at(site, "scores"), 0.0))]


def _softmax(e: Evidence, site: Site) -> Pairs:
    scores, pattern = e.at(site), e.at(site, f"{_names(site)}pattern")
    facts = e.run.attention.get((site.stack, site.layer or 0))
    sinks = None if facts is None or _names(site) else facts.sinks
    if sinks is not None:
        column = sinks.reshape(1, -1, 1, 1).expand(scores.shape[0], -1, scores.shape[2], 1)
        scores = torch.cat([scores, column], dim=-1)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(pattern.dtype)
    return [(weights[..., : pattern.shape[-1]], pattern)]


def _pattern(e: Evidence, site: Site) -> Pairs:
    states = e.states[site.stack]
    returned = states.cross if _names(site) else states.attentions
    if returned is not None and isinstance(returned[site.layer or 0], Tensor):
        return [(e.at(site), returned[site.layer or 0])]
    return _mixed(e, site)


def _mixed(e: Evidence, site: Site) -> Pairs:
    """pattern · v = z, or, where one of them cannot be seen, what z gives when projected."""
    cross = _names(site)
    if not e.has(site, f"{cross}pattern", f"{cross}v", f"{cross}z"):
        return _projected(e, site) if site.name.endswith("v") else _carried(e, site)
    return _mixture(e, site)


@_once
def _mixture(e: Evidence, site: Site) -> Pairs:
    cross = _names(site)
    pattern, v, z = (e.at(site, f"{cross}{name}") for name in ("pattern", "v", "z"))
    v = v.repeat_interleave(z.shape[2] // v.shape[2], dim=2)
    return [(torch.einsum("bhqk,bkhd->bqhd", pattern, v), z)]


def _carried(e: Evidence, site: Site) -> Pairs:
    roles = e.wiring.attention_of(site)
    if roles is None or roles.o is None or not e.has(site, f"{_names(site)}z"):
        return []
    port = e.wiring.ports[e.beside(site, f"{_names(site)}z")]
    raw, gave = e.apply(roles.o, e.at(site, f"{_names(site)}z").flatten(-2)), e.call(port).gave
    return [] if gave is None else [(raw, gave.reshape(raw.shape))]


def _heads(e: Evidence, site: Site) -> Pairs:
    roles = e.wiring.attention_of(site)
    assert roles is not None and roles.o is not None
    bias = getattr(e.module(roles.o), "bias", None)
    total, gave = e.at(site).sum(dim=2), e.call(e.wiring.ports[e.beside(site, f"{_names(site)}z")]).gave
    total = total + bias if isinstance(bias, Tensor) else total
    return [] if gave is None else [(total, gave.reshape(total.shape))]


@_once
def _neurons(e: Evidence, site: Site) -> Pairs:
    mlp = e.layer(site).mlp
    assert mlp is not None
    pre, after = e.at(site, "mlp_pre"), e.at(site, "mlp_post")
    made = [e.apply(mlp.activation, pre)] if mlp.activation else [f(pre) for f in _activations(e.model.config)]
    if mlp.gated:
        up = e.at(site, "mlp_up")
        if up.shape != pre.shape:
            return [(up, pre)]
        made = [post * up for post in made]
    if pre.shape != after.shape:
        return [(pre, after)]
    return [(min(made, key=lambda post: float((post - after).abs().max())), after)]


def _activations(config: Any) -> list[Callable[[Tensor], Tensor]]:
    """What an MLP may apply that calls a function and no module: the equation says which of them it is."""
    from transformers.activations import ACT2FN

    fields = ("hidden_activation", "hidden_act", "activation_function", "activation", "ffn_act")
    named = [value for field in fields if isinstance(value := getattr(config, field, None), str) and value in ACT2FN]
    return [ACT2FN[name] for name in dict.fromkeys((*named, *USUAL_ACTIVATIONS))]


def _mlp_post(e: Evidence, site: Site) -> Pairs:
    """By the equation of the neurons; where their input is not seen, by what W_out makes of them."""
    mlp = e.layer(site).mlp
    assert mlp is not None
    if e.has(site, "mlp_pre"):
        return _neurons(e, site)
    raw, gave = e.apply(mlp.down, e.at(site)), e.call(e.wiring.ports[site]).gave
    return [] if gave is None else [(raw, gave.reshape(raw.shape))]


def _routed(e: Evidence, site: Site) -> Pairs:
    experts = e.layer(site).experts
    assert experts is not None
    gave = e.seen.of(experts.holder)[0].gave
    with torch.inference_mode():
        total = written_by(e.module(experts.holder), e.at(site, "router"), e.at(site, "expert_post"))
    return [] if gave is None else [(total.reshape(gave.shape), gave)]


def _router_logits(e: Evidence, site: Site) -> Pairs:
    port = e.wiring.ports[site]
    gave = e.call(port).gave
    return [] if gave is None else [(e.at(site), port.view.open(gave, len(e.batch)))]


def _ln_final(e: Evidence, site: Site) -> Pairs:
    stack = e.wiring.stacks[site.stack]
    hidden = e.states[site.stack].hidden
    assert stack.final_norm is not None
    normed = e.apply(stack.final_norm.module, e.at(Site("resid_post", len(stack.layers) - 1, site.stack)))
    pairs = [(e.at(site), normed)]
    if hidden is not None and torch.equal(hidden[-1], normed):
        pairs.append((e.at(site), hidden[-1]))
    return pairs


def _logits(e: Evidence, site: Site) -> Pairs:
    return [(e.at(site), e.wiring.feed.answers(e.reference, e.batch))]


SUM = "resid_pre plus what the sublayers write = resid_post, in the block's order and with its norms"
QK = "scaled q_rot · k_rot = scores where a key is visible"
MIXED = "pattern · v = z"
NEURONS = "activation(mlp_pre), times mlp_up where gated, = mlp_post"
EMBED = "embed + pos_embed, and what else is embedded, = the first residual stream"
ROUTED = "sum over experts of router · W_out expert_post = what the experts write"
UNHOOKED = "equals the unhooked model's hidden state"
HEADS = "sum over heads + b_O = output projection of z"

CHECKS: dict[str, Check] = {
    "embed": Check(EMBED, _embed),
    "pos_embed": Check(EMBED, _embed),
    "resid_pre": Check(UNHOOKED, _resid_pre, True),
    "attn_in": Check("equals what the q projection reads", _read, True),
    "q": Check("q projection of what it reads = q", _projected),
    "k": Check("k projection of what it reads = k", _projected),
    "v": Check(MIXED, _mixed),
    "q_rot": Check(QK, _scores_of),
    "k_rot": Check(QK, _scores_of),
    "scores": Check("softmax(scores) = pattern", _softmax),
    "pattern": Check("equals the unhooked model's attention", _pattern),
    "z": Check(MIXED, _mixed),
    "head_out": Check(HEADS, _heads),
    "attn_out": Check(SUM, _block, True),
    "mixer_out": Check(SUM, _block, True),
    "cross_q": Check("projection of what it reads = cross_q", _projected),
    "cross_k": Check("projection of the encoder's output = cross_k", _projected),
    "cross_v": Check("cross_pattern · cross_v = cross_z", _mixed),
    "cross_scores": Check("softmax(cross_scores) = cross_pattern", _softmax),
    "cross_pattern": Check("equals the unhooked model's cross-attention", _pattern),
    "cross_z": Check("cross_pattern · cross_v = cross_z", _mixed),
    "cross_head_out": Check(HEADS, _heads),
    "cross_attn_out": Check(SUM, _block, True),
    "resid_mid": Check("resid_pre plus what attention writes = resid_mid", _resid_mid, True),
    "mlp_in": Check("equals what the MLP's first projection reads", _read, True),
    "mlp_pre": Check(NEURONS, _neurons),
    "mlp_up": Check(NEURONS, _neurons),
    "mlp_post": Check(NEURONS, _mlp_post),
    "router_logits": Check("equals the router's scores", _router_logits, True),
    "router": Check(ROUTED, _routed),
    "expert_post": Check(ROUTED, _routed),
    "mlp_out": Check(SUM, _block, True),
    "resid_post": Check(UNHOOKED, _resid_post, True),
    "ln_final": Check("equals the final norm of the last resid_post", _ln_final, True),
    "logits": Check("equals the unhooked model's logits", _logits, True),
}
