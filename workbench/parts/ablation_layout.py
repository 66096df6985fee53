"""The Ablate page before anything is measured: controls, picker, and the places that results come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from hooks.tokens import TokenBatch
from workbench.parts import ablation_sweep
from workbench.parts.ablation_picker import neuron_adder, picker, position_chips
from workbench.parts.ablation_request import KINDS, SITES, Selection, metrics_of, site_of, sweeps_of
from workbench.parts.ablation_scope import names_of, scope_of
from workbench.parts.given import is_many
from workbench.parts.glossary import term
from workbench.parts.kinds import Kind
from workbench.parts.metric_field import metric_field
from workbench.parts.panel import page_head, panel
from workbench.parts.stack_switch import stack_switch
from workbench.parts.task_picker import picker_button
from workbench.urls import State

STORES = ("abl-change", "abl-shown", "abl-swept", "abl-sink", "abl-settled", "abl-foreseen")
INSIDE = "Hide what is inside the control’s range"
MEANS_NOTE = "Mean: over the prompts, at each position apart."
MEAN_NOTE = "Mean: over the positions of this prompt, since one prompt has no other mean."


def page(
    state: State, heading: Any, chosen: Selection, summary: Mapping[str, Any], batch: TokenBatch, wrong: str = ""
) -> list[Any]:
    """The whole page. heading: the experiment in words. summary: of the model. batch: what it is given.

    wrong: what is wrong with the metric's expression.
    """
    kind, info = Kind.of(summary), summary["info"]
    return [
        *(dcc.Store(id=name) for name in STORES),
        page_head("Ablate", html.Span(heading, id="abl-sentence"), picker_button(state)),
        controls(state, kind, wrong),
        html.Div(
            [parts_panel(state, chosen, summary, batch), html.Div(id="abl-result", className="abl-result")],
            className="abl-work",
        ),
        sweep_panel(state, info, names_of(summary)),
    ]


def controls(state: State, model: Kind, wrong: str = "") -> Any:
    """How parts are replaced and what is measured."""
    kind = html.Div(
        [
            html.Span(["Replace by ", *_kind_terms()], className="abl-label"),
            dmc.SegmentedControl(
                id="abl-kind", value=state.kind, data=[{"value": key, "label": word} for key, word in KINDS.items()]
            ),
        ]
    )
    metric = metric_field(state.metric, metrics_of(model), "abl-metric", wrong)
    note = html.P(mean_note(state), id="abl-kind-note", className="wb-muted")
    return html.Div([kind, metric, note], className="abl-controls")


def mean_note(state: State) -> str:
    """Which mean replaces a part, where that is so."""
    if state.kind != "mean":
        return ""
    return MEANS_NOTE if is_many(state) else MEAN_NOTE


def _kind_terms() -> list[Any]:
    return [term("zero ablation", "zero"), " or ", term("mean ablation", "mean")]


def parts_panel(state: State, chosen: Selection, summary: Mapping[str, Any], batch: TokenBatch) -> Any:
    """The picker with its positions and neurons, of the stack that the state names."""
    scope = scope_of(summary, state)
    return panel(
        "Parts",
        stack_switch(summary, scope.name, "abl-stack"),
        head_site(state),
        html.Div(picker(scope.sizes, chosen, scope), id="abl-picker-place"),
        html.H3("Positions"),
        html.Div(position_chips(side_of(batch, scope.name), state.where), id="abl-chips-place"),
        html.Div(
            [html.H3(["Neurons of an ", term("MLP")]), neuron_adder(scope.sizes)], hidden=not scope.sizes["d_mlp"]
        ),
        html.P(id="abl-neuron-note", className="wb-error-slot"),
        id="abl-parts",
    )


def head_site(state: State) -> Any:
    """Where heads are replaced, in the picker and in a sweep over heads."""
    control = dmc.SegmentedControl(
        id="abl-site",
        value=site_of(state),
        data=[{"value": site, "label": word} for site, word in SITES.items()],
        size="xs",
    )
    words = ["Replace a head’s … (keys and values belong to ", term("grouped heads", "key/value heads"), ")"]
    return html.Div([html.Span(words, className="abl-label"), control], className="abl-site")


def side_of(batch: TokenBatch, name: str) -> TokenBatch:
    """The tokens whose positions a scope counts."""
    return batch.sides.get(name, batch)


def sweep_panel(state: State, info: Mapping[str, Any], scopes: Sequence[str] = ("",)) -> Any:
    """Which parts to sweep, the button, and the place of the map."""
    tools = [
        dmc.Select(
            id="abl-over",
            value=state.over,
            data=[{"value": key, "label": words} for key, words in sweeps_of(info).items()],
            allowDeselect=False,
            w=196,
            **{"aria-label": "Parts to sweep"},
        ),
        html.Div(_layer(state, int(info["n_layers"])), id="abl-within-place", hidden=state.over != "neuron"),
        html.Span(id="abl-forecast", className="abl-forecast", role="status"),
        dmc.Button(ablation_sweep.run_words(state.over, site_of(state)), id={"type": "abl-sweep-start", "of": "panel"}),
    ]
    about = "Every part of one sort ablated alone: which of them does the answer need?"
    about += " Sweeps go over the main stack." if len(scopes) > 1 else ""
    place = html.Div(id="abl-sweep", className="abl-sweep")
    grey = dmc.Switch(id="abl-inside", label=INSIDE, checked=state.hide_inside, size="sm")
    return panel("Sweep", grey, place, tools=tools, about=about, id="abl-sweep-panel")


def _layer(state: State, count: int) -> Any:
    label = {"aria-label": "Layer whose neurons are swept"}
    return dmc.NumberInput(
        id="abl-within", value=state.within or 0, min=0, max=count - 1, allowDecimal=False, w=88, **label
    )
