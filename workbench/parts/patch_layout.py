"""The Patch page before anything is measured: the pair, the method and its controls, the place of the map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from workbench.parts import run_panel
from workbench.parts.ablation_scope import Scope
from workbench.parts.empty import sentence
from workbench.parts.glossary import term
from workbench.parts.kinds import Kind
from workbench.parts.metric_field import EXAMPLE, OWN, is_own
from workbench.parts.panel import page_head, panel
from workbench.parts.patch_methods import (
    Method,
    axes_of,
    method_of,
    methods_of,
    metric_of,
    metrics_for,
    over_of,
    site_of,
    sites_of,
)
from workbench.parts.switch_field import switch_field
from workbench.parts.task_picker import picker_button
from workbench.urls import State

STORES = ("pat-pair-shown", "pat-controls-shown", "pat-sink")
DIRECTIONS = {"denoising": "Denoising", "noising": "Noising"}
DIRECTION_WORDS = {
    "denoising": "Runs the corrupt prompt and copies clean parts in: which parts suffice?",
    "noising": "Runs the clean prompt and copies corrupt parts in: which parts are needed?",
}
BY = {"component": "Components", "head": "Heads", "neuron": "Neurons"}
MOST_OFFERED = 2000


def page(state: State, heading: Any, pair: Any, summary: Mapping[str, Any]) -> list[Any]:
    """The whole page. heading: the experiment in words; pair: the prompts."""
    return [
        *(dcc.Store(id=name) for name in STORES),
        *run_panel.stores("pat"),
        page_head("Patch", html.Span(heading, id="pat-sentence"), picker_button(state)),
        panel("Prompts", html.Div(pair, id="pat-pair"), id="pat-pair-panel"),
        panel("Method", html.Div(controls(state, summary), id="pat-controls"), id="pat-method-panel"),
        panel(
            "Map",
            html.Div(id="pat-place", className="abl-sweep pat-map-place"),
            tools=run_panel.tools("pat"),
            id="pat-map-panel",
        ),
    ]


def controls_key(state: State, summary: Mapping[str, Any]) -> str:
    """What decides which controls there are and what they offer; while it stays, they keep what was typed."""
    site = site_of(state, summary)
    parts = (
        state.model,
        state.method,
        site,
        over_of(state, site) if site else "",
        state.direction,
        bool(state.task),
        is_own(state.metric),
    )
    return " ".join(map(str, parts))


def controls(state: State, summary: Mapping[str, Any]) -> list[Any]:
    """The method, what it asks, and the metric; only what the method and the model allow."""
    method, kind = method_of(state), Kind.of(summary)
    direct = method.name == "direct_logit_attribution"
    fields = [
        _select("method", "Method", methods_of(summary), method.name, w=250),
        *_own(method, state, summary),
        *([] if direct else _metric(state, kind)),
    ]
    about = method.about
    if method.restricted:
        about = f"{about} {DIRECTION_WORDS.get(state.direction, '')}"
    name = term(method.name.replace("_", " "), sentence(method.name.replace("_", " ")))
    return [html.Div(fields, className="pat-fields"), html.P([name, ": ", about], className="wb-muted")]


def _metric(state: State, kind: Kind) -> list[Any]:
    """The list of metrics, and the field of an expression where one is measured."""
    chosen = metric_of(state, kind)
    own = is_own(chosen)
    known = {**metrics_for(state, kind), OWN: "Custom expression…"}
    field = _text("own", "Expression", chosen, EXAMPLE, w=360)
    return [_select("metric", "Measure", known, OWN if own else chosen, w=220), *([field] if own else [])]


def _own(method: Method, state: State, summary: Mapping[str, Any]) -> list[Any]:
    """The controls of one method."""
    sites, info = sites_of(method, summary), summary["info"]
    site = site_of(state, summary)
    chosen = [_select("at", "Site", sites, site, w=284)] if len(sites) > 1 else []
    if method.restricted:
        over = over_of(state, site)
        star = {"0": "AtP", "1": "AtP*"}
        return [
            *([_switch("star", "Estimate", star, str(int(state.star)))] if method.grid == "estimate" else []),
            _switch("direction", "Direction", DIRECTIONS, state.direction),
            *chosen,
            _select("axes", "Map over", axes_of(site), over, w=248),
            *([_count("within", "Layer", state.within or 0, 0, int(info["n_layers"]) - 1)] if over == "unit" else []),
        ]
    if method.name == "causal_tracing":
        words = "where the prompts differ"
        return [
            *chosen,
            _text("noised", "Noise at positions", state.noised, words),
            _count("draws", "Draws of noise", state.draws, 1, 1000),
            _count("window", "Layers together", state.window, 1, int(info["n_layers"])),
        ]
    if method.name == "attention_knockout":
        return [
            *chosen,
            _text("queries", "From positions", state.queries, "last"),
            _text("keys", "To positions", state.keys, "each, one at a time"),
            _count("window", "Layers together", state.window, 1, int(info["n_layers"])),
        ]
    if method.name == "path_patching":
        return _ends(state, summary)
    repair = dmc.Switch(
        id={"type": "pat-set", "name": "repair"}, label="Self-repair: ablate every head too", checked=state.repair
    )
    return [_switch("by", "By", _by(info), state.by), html.Div(repair, className="pat-switch")]


def _by(info: Mapping[str, Any]) -> dict[str, str]:
    lacks = {"head": not info["n_heads"], "neuron": not info["d_mlp"]}
    return {name: words for name, words in BY.items() if not lacks.get(name)}


def _ends(state: State, summary: Mapping[str, Any]) -> list[Any]:
    """Senders and receivers of paths, each chosen from a list that can also be typed."""
    scope, info = Scope.of(summary, ""), summary["info"]
    senders = ["heads", "mlps", *_heads(scope, ("z",), int(info["n_heads"])), *_layers(scope, ("mlp_out",))]
    receivers = ["logits", *_heads(scope, ("q",), int(info["n_heads"]))]
    receivers += _heads(scope, ("k", "v"), int(info["n_kv_heads"] or 0))
    receivers += _layers(scope, ("attn_in", "mlp_in", "resid_pre", "resid_mid", "resid_post"))
    return [
        _switch("direction", "Direction", DIRECTIONS, state.direction),
        _tags("senders", "Senders", senders, state.senders, "“heads”, “mlps”, or parts such as L3.z[head=5]"),
        _tags("receivers", "Receivers", receivers, state.receivers, "“logits”, or inputs such as L9.q[head=2]"),
        html.Div(
            dmc.Switch(id={"type": "pat-set", "name": "freeze"}, label="Freeze MLPs too", checked=state.freeze),
            className="pat-switch",
        ),
    ]


def _heads(scope: Scope, sites: tuple[str, ...], count: int) -> list[str]:
    return [
        f"L{layer}.{site}[head={head}]"
        for site in sites
        for layer in sorted(scope.there.get(site, ()))
        for head in range(count)
    ]


def _layers(scope: Scope, sites: tuple[str, ...]) -> list[str]:
    return [f"L{layer}.{site}" for site in sites for layer in sorted(scope.there.get(site, ()))]


def _select(name: str, label: str, data: Mapping[str, str], value: str, *, w: int) -> Any:
    items = [{"value": key, "label": words} for key, words in data.items()]
    return dmc.Select(
        id={"type": "pat-set", "name": name}, label=label, data=items, value=value, allowDeselect=False, w=w
    )


def _switch(name: str, label: str, data: Mapping[str, str], value: str) -> Any:
    return switch_field("pat-set", name, label, data, value)


def _text(name: str, label: str, value: str, placeholder: str, w: int = 200) -> Any:
    return dmc.TextInput(
        id={"type": "pat-set", "name": name}, label=label, value=value, placeholder=placeholder, debounce=600, w=w
    )


def _count(name: str, label: str, value: int | None, low: int, high: int) -> Any:
    return dmc.NumberInput(
        id={"type": "pat-set", "name": name}, label=label, value="" if value is None else value, min=low, max=high,
        allowDecimal=False, placeholder="usual", w=140, debounce=400,
    )  # fmt: skip


def _tags(name: str, label: str, data: list[str], value: str, words: str) -> Any:
    return dmc.TagsInput(
        id={"type": "pat-set", "name": name},
        label=label,
        data=data[:MOST_OFFERED],
        value=[text for text in value.split(";") if text],
        limit=24,
        splitChars=[";"],
        placeholder="" if value else words,
        clearable=True,
        w=360,
    )
