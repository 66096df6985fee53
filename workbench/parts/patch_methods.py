"""What the Patch page offers: the methods, and for each the sites and axes that a model has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from analyses.patch_map import POSITIONS, PatchSite
from analyses.phrases import site_in_words
from hooks.sites import Site
from workbench.parts.ablation_request import metrics_of
from workbench.parts.ablation_scope import Scope
from workbench.parts.empty import sentence
from workbench.parts.kinds import Kind
from workbench.parts.metric_field import is_own
from workbench.urls import State


@dataclass(frozen=True)
class Method:
    """One method of the page. grid: its map. sites: where it can act, () where that is no choice. about: one line.

    pair: whether it needs a corrupt prompt. restricted: whether its map goes over any axis of the site.
    """

    name: str
    title: str
    grid: str
    about: str
    sites: tuple[str, ...] = ()
    pair: bool = True
    restricted: bool = False


METHODS = {
    method.name: method
    for method in (
        Method(
            "activation_patching", "Activation patching", "recovered",
            "Copy one part at a time from one prompt of the pair into the run on the other, and measure.",
            get_args(PatchSite), restricted=True,
        ),
        Method(
            "attribution_patching", "Attribution patching (estimate)", "estimate",
            "Estimate from one gradient what patching each part would do; a sample is patched for real beside it.",
            get_args(PatchSite), restricted=True,
        ),
        Method(
            "causal_tracing", "Causal tracing", "indirect_effect",
            "Add noise to some token embeddings, then restore one clean state at a time.",
            ("resid_post", "attn_out", "mlp_out"), pair=False,
        ),
        Method(
            "attention_knockout", "Attention knockout", "effect",
            "Cut the attention from some positions to others, in a window of layers around each.",
            ("pattern", "cross_pattern"), pair=False,
        ),
        Method(
            "path_patching", "Path patching", "effect",
            "Let what a sender would say on the other prompt reach chosen receivers alone.",
        ),
        Method(
            "direct_logit_attribution", "Direct logit attribution", "effect",
            "What each part writes towards the answer by itself; nothing is edited.", pair=False,
        ),
    )
}  # fmt: skip
NEEDS = {"causal_tracing": ("embed", ""), "path_patching": ("", "z")}
"""Sites without which a method cannot run: of the model, and of some layer."""
AXES = {
    "layer": "layers",
    "pos": "layers × positions",
    "head": "layers × heads",
    "kv_head": "layers × key/value heads",
    "head,pos": "layers × heads × positions",
    "kv_head,pos": "layers × key/value heads × positions",
    "q_pos": "layers × query positions",
    "head,q_pos": "layers × heads × query positions",
    "k_pos": "layers × key positions",
    "kv_head,k_pos": "layers × key/value heads × key positions",
    "unit": "neurons of one layer",
    "expert": "layers × experts",
}
UNITS = ("mlp_post", "mlp_pre", "mlp_up")
SLOPELESS = ("rank", "accuracy", "accuracy_two_way")


def method_of(state: State) -> Method:
    """The method of a state; an unknown name is activation patching."""
    return METHODS.get(state.method, METHODS["activation_patching"])


def methods_of(summary: Mapping[str, Any]) -> dict[str, str]:
    """The methods that a model has the sites for, with their titles."""
    there = Scope.of(summary, "").there
    whole = {row["site"] for row in summary["sites"] if row["writable"]}

    def can(method: Method) -> bool:
        model, layer = NEEDS.get(method.name, ("", ""))
        has = (not model or model in whole) and (not layer or bool(there.get(layer)))
        return has and (not method.sites or any(there.get(site) for site in method.sites))

    task = summary["info"]["task"]
    usable = {name: method.title for name, method in METHODS.items() if can(method)}
    return usable if task in ("causal", "masked", "seq2seq") else {
        name: title for name, title in usable.items() if name != "direct_logit_attribution"
    }  # fmt: skip


def sites_of(method: Method, summary: Mapping[str, Any]) -> dict[str, str]:
    """The sites at which a method can act in a model, by name, in words."""
    there = Scope.of(summary, "").there
    return {site: sentence(site_in_words(site)) for site in method.sites if there.get(site)}


def site_of(state: State, summary: Mapping[str, Any]) -> str:
    """The site of a state, or the method's first where it has no such site; "" where a method has none to choose."""
    offered = sites_of(method_of(state), summary)
    return state.at if state.at in offered else next(iter(offered), "")


def axes_of(site: str) -> dict[str, str]:
    """The maps that a site has: the axes beside the layer joined by ',', in words; the usual first."""
    axes = Site(site, 0).axes[1:]
    heads = next((axis for axis in axes if axis in ("head", "kv_head")), "")
    place = next((axis for axis in axes if axis in POSITIONS), "")
    names = [heads, place, f"{heads},{place}" if heads and place else "", "unit" if site in UNITS else ""]
    names += ["expert" if "expert" in axes else ""]
    return {name: AXES[name] for name in [*filter(None, names), "layer"]}


def over_of(state: State, site: str) -> str:
    """The axes of a state's map beside the layer, or the site's usual ones."""
    offered = axes_of(site)
    return state.axes if state.axes in offered else next(iter(offered))


def metrics_for(state: State, kind: Kind) -> dict[str, str]:
    """The metrics of a method on a kind of model, by name, with their titles."""
    offered = metrics_of(kind)
    if method_of(state).name != "attribution_patching":
        return offered
    flat = ("kl", "embedding_cosine") if state.direction == "noising" else ()
    return {name: title for name, title in offered.items() if name not in (*SLOPELESS, *flat)}


def metric_of(state: State, kind: Kind) -> str:
    """The metric of a state, also one of the reader's own, or the first that the method has on this kind of model."""
    if is_own(state.metric):
        return state.metric
    offered = metrics_for(state, kind)
    return state.metric if state.metric in offered else next(iter(offered), state.metric)
