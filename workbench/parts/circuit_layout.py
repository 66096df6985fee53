"""The page of circuits before there is one: how it is searched, the editor, what judges and compares it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from analyses.circuit_formats import MOST_BYTES as MOST_OF_ANY
from workbench.parts import circuit_head, run_panel
from workbench.parts.circuit_graph import graph
from workbench.parts.circuit_request import INTEGRATING, LEVELS, OUTSIDE, finder_of, finders_of, metric_of, metrics_for
from workbench.parts.empty import empty
from workbench.parts.glossary import term
from workbench.parts.icons import icon
from workbench.parts.kinds import Kind
from workbench.parts.metric_field import EXAMPLE, OWN, is_own
from workbench.parts.panel import page_head, panel
from workbench.parts.task_picker import picker_button
from workbench.urls import State

HOST = "cir-graph"
PREFIX, JUDGE, ROLES = "cir", "cev", "crl"
STORES = ("cir-come", "cir-unedited", "cir-controls-shown", "cir-sink", "cir-sink-follow", "cir-sink-add")
MOST_BYTES = min(MOST_OF_ANY, 32 << 20)
"""What a browser is let send; `workbench circuit import` reads larger files."""
SAVES = (
    ("svg", "SVG", "The graph as drawn"),
    ("layers", "SVG in rows", "The circuit drawn in rows of layers, with its labels"),
    ("json", "JSON", "The circuit as JSON"),
    ("csv", "CSV", "Its edges as CSV"),
    ("graphml", "GraphML", "The circuit as GraphML, for networkx, Gephi, yEd"),
    ("dot", "DOT", "The circuit as DOT, for Graphviz"),
)
ABOUT = {
    "eap_ig": "Estimates what each edge adds from gradients along a path between the prompts of a pair.",
    "eap": "Estimates what each edge adds from one gradient.",
    "eap_ig_activations": "As EAP-IG, along the outputs of each part; many passes.",
    "exact": "Cuts every edge for real, one at a time. Slow on all but small models.",
    "acdc": "Cuts edges for good, from the logits back, while the metric hardly changes. Slow on all but small models.",
}


def page(state: State, heading: Any, given: Any, summary: Mapping[str, Any]) -> list[Any]:
    """The whole page. heading: the search in words; given: the file that it starts from, if any."""
    prefixes = (PREFIX, JUDGE, ROLES)
    return [
        *(dcc.Store(id=name) for name in STORES),
        *(store for prefix in prefixes for store in run_panel.stores(prefix)),
        page_head("Circuits", html.Span(heading, id="cir-sentence"), picker_button(state)),
        panel(
            "Search",
            html.Div(controls(state, summary), id="cir-controls"),
            html.Div(id="cir-place", className="cir-place"),
            _given(given),
            tools=run_panel.tools(PREFIX),
            id="cir-search-panel",
        ),
        _editor(),
        panel(
            "Evaluate and export",
            html.Div(id="cev-place", className="cir-place"),
            tools=run_panel.tools(JUDGE),
            about="Faithfulness over size with intervals, random circuits of equal size, and every form of export.",
            id="cir-judge-panel",
        ),
        panel("Compare", html.Div(id="cir-choice", className="cir-choice"), html.Div(id="cir-compared"),
              id="cir-compare-panel"),
        panel("Nodes and edges", html.Div(id="cir-lists", className="cir-columns"), html.H3("Add an edge"),
              html.Div(id="cir-adder"), id="cir-list-panel"),
    ]  # fmt: skip


def controls_key(state: State, summary: Mapping[str, Any]) -> str:
    """What decides which controls there are and what they offer."""
    return f"{state.model} {finder_of(state)} {state.level} {state.outside} {is_own(state.metric)}"


def controls(state: State, summary: Mapping[str, Any]) -> list[Any]:
    """Method, level, points, what is cut carries, metric; only what goes together."""
    finder, kind = finder_of(state), Kind.of(summary)
    metric = metric_of(state, kind)
    own = is_own(metric)
    known = {**metrics_for(state, kind), OWN: "Custom expression…"}
    points = dmc.NumberInput(
        id=_set("points"), label="Points", value=state.points, min=1, max=100, allowDecimal=False, w=84, debounce=400
    )
    field = dmc.TextInput(id=_set("own"), label="Expression", value=metric, placeholder=EXAMPLE, debounce=600, w=360)
    fields = [
        _select("finder", "Method", finders_of(state), finder, w=200),
        *([points] if finder in INTEGRATING else []),
        _switch("level", "Score", LEVELS, state.level),
        _select("outside", "What is cut carries", OUTSIDE, state.outside, w=168),
        _select("metric", "Measure", known, OWN if own else metric, w=220),
        *([field] if own else []),
    ]
    about = html.P([term("circuit", "Circuit"), ": ", ABOUT[finder]], className="wb-muted")
    return [html.Div(fields, className="pat-fields"), about]


def _set(name: str) -> dict[str, str]:
    return {"type": "cir-set", "name": name}


def _select(name: str, label: str, data: Mapping[str, str], value: str, *, w: int) -> Any:
    items = [{"value": key, "label": words} for key, words in data.items()]
    chosen = value if value in data else next(iter(data), "")
    return dmc.Select(id=_set(name), label=label, data=items, value=chosen, allowDeselect=False, w=w)


def _switch(name: str, label: str, data: Mapping[str, str], value: str) -> Any:
    items = [{"value": key, "label": words} for key, words in data.items()]
    control = dmc.SegmentedControl(id=_set(name), value=value if value in data else next(iter(data)), data=items)
    return html.Div([html.Span(label, className="pat-label"), control], role="group", **{"aria-label": label})


def _given(given: Any) -> Any:
    """Where a circuit from a file is given instead."""
    drop = ["Drop a file here, or ", html.Span("choose one", className="wb-link"),
            " (JSON or CSV; EAP-IG, MIB and ACDC too)"]  # fmt: skip
    return html.Details(
        [
            html.Summary("Or start from a circuit in a file"),
            dcc.Upload(drop, id="cir-upload", className="prompt-upload", accept=".json,.csv", max_size=MOST_BYTES),
            html.Div(id="cir-note", className="wb-error-slot", **{"aria-live": "polite"}),
            html.Div(given, id="cir-given"),
        ],
        className="pat-more",
        open=given is not None,
    )


def _editor() -> Any:
    """The number, the size, the graph and what is open beside it."""
    start = "Press Find circuit above: the edges that matter most are then drawn here, and can be changed."
    number = html.Div(
        [
            html.Span("Faithfulness", className="cir-label"),
            html.P("–", id="cir-value", className="cir-value wb-number"),
            html.P(id="cir-interval", className="wb-muted wb-number"),
            html.P(id="cir-means", className="wb-muted wb-number"),
            html.P(id="cir-status", className="cir-status", role="status"),
        ],
        className="cir-number",
    )
    size = html.Div(
        [
            html.Div(
                [html.Span("Size", className="cir-label"), html.Span(id="cir-size", className="wb-muted wb-number")]
            ),
            html.Div(id="cir-curve", className="cir-curve"),
        ],
        className="cir-size",
    )
    aside = html.Aside(
        [html.Div(id="cir-details", className="cir-details"), circuit_head.layout()],
        className="cir-aside",
        **{"aria-label": "Details"},
    )
    body = [
        html.Div([number, size], className="cir-head"),
        html.Div(_tools(), className="cir-tools"),
        html.Div([graph(HOST), aside], className="cir-main"),
    ]
    state: Any = {"data-state": "none"}
    return panel(
        "Circuit",
        html.Div(empty("No circuit yet", start, symbol="circuits", id="cir-empty"), className="cir-none"),
        html.Div(body, className="cir-some"),
        id="cir-panel",
        **state,
    )


def _tools() -> list[Any]:
    buttons = [
        _act("undo", "Undo", "undo", "Undo the last change of the circuit (u)"),
        _act("redo", "Redo", "redo", "Redo it (Shift-u)"),
        _act("cut", "Cut selected", "delete", "Cut the selected node or edge (Delete)"),
        _act("clear", "As found", "close", "Drop all changes"),
    ]
    roles = dmc.Button("Label roles", id="crl-run", variant="default", disabled=True)
    saves = [_act(f"save-{name}", words, "export", title) for name, words, title in SAVES]
    return [
        *buttons,
        roles,
        html.Span(id="crl-place", className="wb-muted", role="status"),
        html.Span(id="crl-forecast", hidden=True),
        html.Span(saves, className="cir-saves", role="group", **{"aria-label": "Save the circuit as it stands"}),
    ]


def _act(name: str, words: str, symbol: str, title: str) -> Any:
    return html.Button(
        [icon(symbol, size=16), words], type="button", className="wb-button", title=title, **{"data-cir-act": name}
    )
