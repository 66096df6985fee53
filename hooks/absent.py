"""Why a model lacks a site: a reason in its mathematics or in how its library computes it."""

from __future__ import annotations

from hooks.info import ModelInfo
from hooks.sites import Site
from hooks.wiring import LayerWiring, Wiring

CROSS = "cross_"
MLP_SITES = ("mlp_in", "mlp_pre", "mlp_up", "mlp_post")
EXPERT_SITES = ("router_logits", "router", "expert_post")
INSIDE = ("q_rot", "k_rot", "scores", "cross_scores", "pattern", "cross_pattern")


def reason(site: Site, wiring: Wiring, info: ModelInfo) -> str:
    """In words, why `site` has no place in this model."""
    if site.layer is None:
        return _of_model(site, wiring, info)
    layer, stack = wiring.layer(site), info.stack(site.stack)
    if site.name.startswith(CROSS) and layer.cross is None:
        return "no cross-attention in this stack"
    if site.name in EXPERT_SITES:
        return _of_experts(site, layer)
    if site.name == "mixer_out":
        return "no state-space or convolution mixer in this block" if layer.mixer is None else _sum(layer)
    if site.name in ("attn_out", "mlp_out", "cross_attn_out", "resid_mid"):
        return _of_sum(site, layer)
    if site.name in MLP_SITES:
        return _of_mlp(site, layer, gated=stack.gated)
    return _of_attention(site, wiring, layer)


def _of_model(site: Site, wiring: Wiring, info: ModelInfo) -> str:
    positions = info.stack(site.stack).positions
    if site.name == "pos_embed":
        how = {
            "rotary": "positions enter by rotating q and k",
            "alibi": "positions enter as a slope on the scores",
            "relative": "positions enter as a learned bias of the scores",
            "learned": "positions are added inside the embedding module, so embed holds them",
            "none": "the model is told of no positions",
        }
        return f"no position embeddings of their own: {how[positions]}"
    if site.name == "ln_final":
        return "no norm after the last block: resid_post is what the head reads"
    return "no module gives the embedding: its parts are joined in the model's own code"


def _of_experts(site: Site, layer: LayerWiring) -> str:
    if layer.experts is None:
        return "no mixture of experts in this block"
    if site.name in ("router", "expert_post"):
        return "this family computes its experts in its own code, where no module shows this tensor"
    return "the router's scores are not the output of a module of their own"


def _of_sum(site: Site, layer: LayerWiring) -> str:
    alone = layer.mlp is None and layer.experts is None
    if layer.attention is None and (site.name == "attn_out" or (site.name == "resid_mid" and alone)):
        return "this block has no attention" + (f": its mixer is {_last(layer.mixer)}" if layer.mixer else "")
    if site.name == "mlp_out" and alone:
        return "this block has no MLP"
    if layer.parallel and site.name == "resid_mid":
        return "parallel blocks: attention and MLP both read resid_pre, so there is no stream between them"
    return _sum(layer)


def _sum(layer: LayerWiring) -> str:
    if layer.attention is not None and layer.mixer is not None:
        return "attention and a mixer are scaled and summed before they are written, so neither write is a tensor"
    return "the block's output is no plain sum of its input and its sublayers' outputs"


def _of_mlp(site: Site, layer: LayerWiring, *, gated: bool) -> str:
    if layer.experts is not None:
        return "a mixture of experts: its neurons are expert_post"
    if layer.mlp is None:
        return "this block has no dense MLP"
    if site.name == "mlp_up" and not gated:
        return "the MLP has no gate"
    return "no tensor of the MLP is this site"


def _of_attention(site: Site, wiring: Wiring, layer: LayerWiring) -> str:
    roles = wiring.attention_of(site)
    if roles is None:
        return "this block has no attention" + (f": its mixer is {_last(layer.mixer)}" if layer.mixer else "")
    if site.name in INSIDE and not roles.shared:
        return "this family computes attention in its own code, where no module shows this tensor"
    if site.name.endswith(("z", "head_out")):
        return "the output projection does not read z: something stands between them"
    if site.name == "k" and _latent(site, wiring):
        return (
            "no projection gives a key whole: it joins a part per head, made from the latent, and a rotated part that "
            "all heads share; k_rot is the joined key"
        )
    if site.name in ("q", "k", "v", "cross_q", "cross_k", "cross_v"):
        if not roles.shared:
            return "this family computes attention in its own code, and no projection there gives this tensor"
        return "no projection gives this tensor whole: it is put together from parts (a latent, a rotation, a bias)"
    return "no module shows this tensor"


def _latent(site: Site, wiring: Wiring) -> bool:
    """Whether the values lie beside a part of the keys, in what is made from a latent of both."""
    v = wiring.ports.get(Site("v", site.layer, site.stack))
    return v is not None and v.view.within is not None


def _last(path: str | None) -> str:
    return "" if path is None else path.rpartition(".")[2]
