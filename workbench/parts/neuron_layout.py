"""The Neurons page before anything is read: its controls, and the places of the ranking and of the open neuron."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from workbench.parts.glossary import term
from workbench.parts.neuron_request import LAST, RANKS, rank_of, stack_of
from workbench.parts.panel import page_head, panel
from workbench.parts.stack_switch import stack_switch
from workbench.parts.task_picker import picker_button
from workbench.urls import State

STORES = ("rank-shown", "shown", "edited-shown", "zeroed-shown", "sink")
MOST_TOKENS = 400


def page(state: State, summary: Mapping[str, Any], tokens: Sequence[str], *, answers: bool) -> list[Any]:
    """The whole page. tokens: of the one prompt, empty where there are several; answers: whether there are such."""
    about = ["Which ", term("neuron", "neurons"), " stand out, where they are active, and what each writes by itself."]
    return [
        *(dcc.Store(id=f"nrn-{name}") for name in STORES),
        page_head("Neurons", about, picker_button(state)),
        stack_switch(summary, state.stack, "nrn-stack"),
        html.Div(
            [
                panel(
                    "Strongest neurons",
                    html.Div(controls(state, summary, tokens, answers=answers), className="pat-fields"),
                    html.Div(id="nrn-rank-place", className="nrn-rank-place"),
                    id="nrn-rank-panel",
                ),
                html.Div(
                    [
                        html.Div(id="nrn-place", className="nrn-place"),
                        html.Div(id="nrn-edited-place"),
                        html.Div(id="nrn-zeroed-place"),
                    ],
                    className="wb-stack",
                ),
            ],
            className="nrn-grid",
        ),
    ]


def controls(state: State, summary: Mapping[str, Any], tokens: Sequence[str], *, answers: bool) -> list[Any]:
    """What ranks neurons, where, of which layer; and a field that opens one by its number."""
    stack = stack_of(state)
    layers = (summary["info"]["stacks"].get(stack) or summary["info"])["n_layers"]
    ranks = {name: words for name, words in RANKS.items() if name != "direct" or answers}
    places = {LAST: "last token"} | {str(place): f"{place} {token}" for place, token in enumerate(tokens[:MOST_TOKENS])}
    position = LAST if state.position is None or str(state.position) not in places else str(state.position)
    every = {"all": "all layers"} | {str(layer): f"layer {layer}" for layer in range(layers)}
    chosen = "all" if state.within is None or state.within >= layers else str(state.within)
    first = dmc.Switch(
        id={"type": "nrn-set", "name": "hide_first"},
        label="Not at the first token",
        checked=state.hide_first,
        size="xs",
    )
    find = dmc.TextInput(
        id={"type": "nrn-set", "name": "neuron"}, label="Open neuron", placeholder="5.123", debounce=True, w=120,
        **{"aria-label": "Open a neuron by layer and number, such as 5.123"},
    )  # fmt: skip
    return [
        _select("rank_by", "Rank by", ranks, rank_of(state) if rank_of(state) in ranks else "peak", w=224),
        _select("position", "Token", places, position, w=168),
        _select("within", "Layers", every, chosen, w=128),
        find,
        html.Div(first, className="pat-switch"),
    ]


def _select(name: str, label: str, data: Mapping[str, str], value: str, *, w: int) -> Any:
    items = [{"value": key, "label": words} for key, words in data.items()]
    return dmc.Select(
        id={"type": "nrn-set", "name": name}, label=label, data=items, value=value, allowDeselect=False, w=w,
        searchable=len(items) > 12,
    )  # fmt: skip
