"""The equation that each site must satisfy, as data: what is compared, in words and in tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.activations import ACT2FN

from hooks.errors import ModelError
from hooks.info import ModelInfo
from hooks.run import Run
from hooks.sites import Site
from hooks.tokens import TokenBatch
from hooks.wiring import Wiring

Pairs = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the checks look at: the hooked run and the unhooked model's own outputs on the same batch."""

    model: PreTrainedModel
    wiring: Wiring
    info: ModelInfo
    batch: TokenBatch
    run: Run
    reference: Any

    def at(self, name: str, layer: int | None = None) -> Tensor:
        return self.run.activations[Site(name, layer)]

    def module(self, name: str, layer: int | None = None) -> nn.Module:
        """The module on whose edge a site is seen."""
        return self.model.get_submodule(self.wiring.ports[Site(name, layer)].module)

    def projected(self, site: str, source: str, layer: int | None) -> Tensor:
        """Site `site` computed from site `source` by the module that gives it."""
        port = self.wiring.ports[Site(site, layer)]
        with torch.inference_mode():
            return port.view.open(self.model.get_submodule(port.module)(self.at(source, layer)), len(self.batch))

    @property
    def real(self) -> Tensor:
        """[batch pos] True where a position holds a real token."""
        return self.batch.mask.to(self.run.logits.device)


@dataclass(frozen=True)
class Check:
    """words: the equation. pairs: (ours, expected) tensors for a layer. exact: equal bit for bit, else to rounding.

    absent: why a model may lack the site.
    """

    words: str
    pairs: Callable[[Evidence, int | None], Pairs]
    exact: bool = False
    absent: Callable[[ModelInfo], str] | None = None


def _embed(e: Evidence, _: int | None) -> Pairs:
    total = e.at("embed")
    if Site("pos_embed") in e.run.activations:
        total = total + e.at("pos_embed")
    return [(total, e.reference.hidden_states[0])]


def _resid_post(e: Evidence, layer: int | None) -> Pairs:
    last = layer == e.info.n_layers - 1
    if not last:
        return [(e.at("resid_post", layer), e.reference.hidden_states[(layer or 0) + 1])]
    with torch.inference_mode():
        return [(e.module("ln_final")(e.at("resid_post", layer)), e.reference.hidden_states[-1])]


def _block(e: Evidence, layer: int | None) -> Pairs:
    before, after = e.at("resid_pre", layer), e.at("resid_post", layer)
    attn, mlp = e.at("attn_out", layer), e.at("mlp_out", layer)
    if e.info.parallel:
        sums = ((attn + mlp) + before, (before + attn) + mlp, (before + mlp) + attn)
        return [(min(sums, key=lambda total: float((total - after).abs().max())), after)]
    return [((before + attn) + mlp, after)]


def _scores_of(e: Evidence, layer: int | None) -> Pairs:
    facts = e.run.attention[layer or 0]
    q, k = e.at("q_rot", layer), e.at("k_rot", layer).repeat_interleave(e.info.group, dim=2)
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * facts.scaling
    if facts.softcap is not None:
        scores = torch.tanh(scores / facts.softcap) * facts.softcap
    seen = e.at("pattern", layer) > 0
    return [(torch.where(seen, scores, 0.0), torch.where(seen, e.at("scores", layer), 0.0))]


def _softmax(e: Evidence, layer: int | None) -> Pairs:
    pattern = e.at("pattern", layer)
    return [(torch.softmax(e.at("scores", layer), dim=-1, dtype=torch.float32).to(pattern.dtype), pattern)]


def _mixed(e: Evidence, layer: int | None) -> Pairs:
    v = e.at("v", layer).repeat_interleave(e.info.group, dim=2)
    return [(torch.einsum("bhqk,bkhd->bqhd", e.at("pattern", layer), v), e.at("z", layer))]


def _heads(e: Evidence, layer: int | None) -> Pairs:
    projection = e.model.get_submodule(e.wiring.output_projection[layer or 0])
    with torch.inference_mode():
        raw = projection(e.at("z", layer).flatten(-2))
    total = e.at("head_out", layer).sum(dim=2)
    return [(total + projection.bias if isinstance(projection.bias, Tensor) else total, raw)]


def _neurons(e: Evidence, layer: int | None) -> Pairs:
    post = _activation(e.model.config)(e.at("mlp_pre", layer))
    return [(post * e.at("mlp_up", layer) if e.info.gated else post, e.at("mlp_post", layer))]


def _activation(config: Any) -> Callable[[Tensor], Tensor]:
    for name in ("hidden_activation", "hidden_act", "activation_function"):
        if (known := getattr(config, name, None)) is not None:
            return ACT2FN[known]
    raise ModelError(f"{type(config).__name__} does not name its activation function.", "This family is not known yet.")


def _written(e: Evidence, layer: int | None) -> Pairs:
    down = e.model.get_submodule(e.wiring.down_projection[layer or 0])
    with torch.inference_mode():
        raw = down(e.at("mlp_post", layer))
    port = e.wiring.ports[Site("mlp_out", layer)]
    if port.module != e.wiring.down_projection[layer or 0]:
        with torch.inference_mode():
            raw = e.model.get_submodule(port.module)(raw)
    return [(raw, e.at("mlp_out", layer))]


def _logits(e: Evidence, _: int | None) -> Pairs:
    return [(e.at("logits"), e.reference.logits)]


def _no_learned(info: ModelInfo) -> str:
    return "no learned position embeddings" + (
        ": positions enter by rotating q and k" if info.positions == "rotary" else ""
    )


def _parallel(_: ModelInfo) -> str:
    return "parallel blocks: attention and MLP both read resid_pre, so there is no stream between them"


def _ungated(_: ModelInfo) -> str:
    return "the MLP has no gate"


UNHOOKED = "equals the unhooked model's hidden state"
CHECKS: dict[str, Check] = {
    "embed": Check("embed + pos_embed = the unhooked model's first hidden state", _embed, exact=True),
    "pos_embed": Check("embed + pos_embed = the unhooked model's first hidden state", _embed, True, _no_learned),
    "resid_pre": Check(
        UNHOOKED, lambda e, layer: [(e.at("resid_pre", layer), e.reference.hidden_states[layer or 0])], exact=True
    ),
    "attn_in": Check(
        "q projection of attn_in = q", lambda e, layer: [(e.projected("q", "attn_in", layer), e.at("q", layer))]
    ),
    "q": Check(
        "q projection of attn_in = q", lambda e, layer: [(e.projected("q", "attn_in", layer), e.at("q", layer))]
    ),
    "k": Check(
        "k projection of attn_in = k", lambda e, layer: [(e.projected("k", "attn_in", layer), e.at("k", layer))]
    ),
    "v": Check("pattern · v = z", _mixed),
    "q_rot": Check("scaled q_rot · k_rot = scores where a key is visible", _scores_of),
    "k_rot": Check("scaled q_rot · k_rot = scores where a key is visible", _scores_of),
    "scores": Check("softmax(scores) = pattern", _softmax),
    "pattern": Check(
        "equals the unhooked model's attention",
        lambda e, layer: [(e.at("pattern", layer), e.reference.attentions[layer or 0])],
        exact=True,
    ),
    "z": Check("pattern · v = z", _mixed),
    "head_out": Check("sum over heads + b_O = output projection of z", _heads),
    "attn_out": Check("resid_pre + attn_out + mlp_out = resid_post", _block, exact=True),
    "resid_mid": Check(
        "resid_pre + attn_out = resid_mid",
        lambda e, layer: [(e.at("resid_pre", layer) + e.at("attn_out", layer), e.at("resid_mid", layer))],
        True,
        _parallel,
    ),
    "mlp_in": Check(
        "input projection of mlp_in = mlp_pre",
        lambda e, layer: [(e.projected("mlp_pre", "mlp_in", layer), e.at("mlp_pre", layer))],
    ),
    "mlp_pre": Check("activation(mlp_pre), times mlp_up where gated, = mlp_post", _neurons),
    "mlp_up": Check("activation(mlp_pre) · mlp_up = mlp_post", _neurons, False, _ungated),
    "mlp_post": Check("output projection of mlp_post = what the MLP writes", _written),
    "mlp_out": Check("resid_pre + attn_out + mlp_out = resid_post", _block, exact=True),
    "resid_post": Check(UNHOOKED, _resid_post, exact=True),
    "ln_final": Check(
        UNHOOKED + " after the final norm", lambda e, _: [(e.at("ln_final"), e.reference.hidden_states[-1])], exact=True
    ),
    "logits": Check("equals the unhooked model's logits", _logits, exact=True),
}
