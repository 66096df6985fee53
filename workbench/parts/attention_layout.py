"""What stands on the Attention page: the overview with its scores at the left, the open head at the right."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from workbench.parts.attention_data import AVERAGES, VIEWS, Sizes, average_of, view_of
from workbench.parts.glossary import term
from workbench.parts.graph import graph
from workbench.parts.icons import icon
from workbench.parts.image_view import overlay
from workbench.parts.kinds import Kind
from workbench.parts.panel import page_head, panel
from workbench.parts.stack_switch import stack_switch
from workbench.urls import State

SCORES: dict[str, tuple[str, str]] = {
    "induction": (
        "Induction",
        "Mean weight from a repeated token to the token after its first occurrence, on repeated random tokens.",
    ),
    "previous_token": ("Previous token", "Mean weight on the token directly before, on repeated random tokens."),
    "duplicate_token": (
        "Duplicate token",
        "Mean weight from a repeated token to its first occurrence, on repeated random tokens.",
    ),
    "first_token": ("First token", "Mean weight on the first token, where many heads rest, on repeated random tokens."),
    "entropy": ("Entropy", "Mean spread of a row in nats, on repeated random tokens; 0 when it looks at one token."),
}
UNSCORED = (
    "Heads are scored on repeated random tokens, by models that read one text. This one reads something else: compare "
    "its heads by their maps, or ablate them all."
)
SORTS = {"layer": "By layer", "score": "By score"}


def score_of(state: State) -> str:
    """The head score that an address names; an unknown name is induction."""
    return state.score if state.score in SCORES else "induction"


def page(state: State, sizes: Sizes, summary: Mapping[str, Any]) -> Any:
    """The whole page for a model of these sizes. What it shows arrives by callbacks."""
    kind = Kind.of(summary)
    pictured = kind.grid is not None and sizes.stack == ("vision" if "vision" in summary["info"]["stacks"] else "")
    return html.Div(
        [
            page_head(
                "Attention",
                [
                    "Where every ",
                    term("head"),
                    " looks. A weight says what a head reads, not what it changes: ablate it to see that.",
                ],
                html.Div(id="attn-status", className="attn-status", role="status"),
            ),
            stack_switch(summary, sizes.stack, "attn-stack"),
            html.Div(
                [_overview(state), _scores(state, sizes.scored), _head(state, kind if pictured else None)],
                className="attn-grid",
            ),
            html.Div(id="attn-tip", className="attn-tip", hidden=True, role="presentation"),
            html.Div(id="attn-live", className="attn-live", **{"aria-live": "polite"}),
            *(
                dcc.Store(id=f"attn-{name}")
                for name in (
                    "mosaic",
                    "score-values",
                    "view",
                    "head-data",
                    "ready",
                    "saving",
                    "tick",
                    "awaited",
                    "sink",
                )
            ),
        ],
        className="attn-page",
        id="attn-page",
        style={"--attn-heads": sizes.heads, "--attn-layers": sizes.layers},
    )


def _overview(state: State) -> Any:
    tools = [
        dmc.Switch("Hide first token", id="attn-hide-first", checked=state.hide_first, size="xs"),
        dmc.Switch("Flip layers", id="attn-flip", checked=state.flip, size="xs"),
        dmc.Switch("Larger", id="attn-large", checked=False, size="xs"),
    ]
    canvas = html.Canvas(
        id="attn-canvas",
        tabIndex=0,
        role="application",
        **{
            "aria-label": "Attention of all heads. Arrows move over heads, Enter opens one.",
            "aria-describedby": "attn-live",
        },
    )
    return panel(
        "All heads",
        html.Div(tools, className="attn-switches"),
        _colour_bar("attn-overview-bar", "attention weight"),
        html.Div(
            [canvas, html.Div(id="attn-overview-wait", className="attn-wait")],
            id="attn-canvas-box",
            className="attn-canvas-box",
        ),
        html.P(id="attn-overview-note", className="attn-note"),
        className="attn-overview",
        id="attn-overview",
    )


def _colour_bar(id: str, quantity: str) -> Any:
    """A colour bar that `assets/attention.js` fills with the theme's ramp."""
    ends = [
        html.Span("0", className="attn-bar-low"),
        html.Div(className="attn-bar-ramp"),
        html.Span("1", className="attn-bar-high"),
    ]
    return html.Div([*ends, html.Span(quantity, className="attn-bar-name")], id=id, className="attn-bar")


def _scores(state: State, scored: bool) -> Any:
    about = {name: text for name, (_, text) in SCORES.items()}
    controls = [
        dmc.Select(
            id="attn-score",
            value=score_of(state),
            data=[{"value": name, "label": title} for name, (title, _) in SCORES.items()],
            allowDeselect=False,
            size="xs",
            **{"aria-label": "Head score"},
        ),
        html.P(id="attn-score-about", className="attn-note", **{"data-about": json.dumps(about, ensure_ascii=False)}),
        _sorting(state),
        _threshold(state),
        html.Div(id="attn-score-wait", className="attn-wait"),
        html.Ol(id="attn-ranking", className="attn-ranking", **{"aria-label": "Heads with the highest score"}),
    ]
    return panel(
        "Head score",
        html.P(UNSCORED, className="attn-note") if not scored else None,
        html.Div(controls, className="attn-scores", hidden=not scored),
        className="attn-scores",
        id="attn-scores",
    )


def _sorting(state: State) -> Any:
    choice = dmc.SegmentedControl(
        id="attn-sort",
        value=state.sort if state.sort in SORTS else "layer",
        data=[{"value": name, "label": title} for name, title in SORTS.items()],
        size="xs",
        fullWidth=True,
    )
    return html.Div([html.Span("Sort", className="attn-label"), choice])


def _threshold(state: State) -> Any:
    words = [html.Span("At least", className="attn-label"), html.Span(id="attn-least-text", className="attn-number")]
    slider = dmc.Slider(
        id="attn-least",
        value=state.least,
        min=0,
        max=1,
        step=0.01,
        size="sm",
        label=None,
        updatemode="drag",
        thumbLabel="Dim heads whose score is below",
    )
    return html.Div([html.Div(words, className="attn-row"), slider])


def _head(state: State, pictured: Kind | None) -> Any:
    return html.Section(
        [
            html.Div([html.H2(id="attn-title"), _buttons()], className="attn-head-head"),
            html.P(id="attn-sharing", className="attn-note"),
            html.Div([tabs(state), _averages(state)], className="attn-head-controls"),
            html.P(id="attn-meaning", className="attn-note"),
            html.Div([_map(), overlay(state, pictured) if pictured is not None else None], className="attn-map-row"),
            html.Div(id="attn-beside"),
            html.P(id="attn-map-note", className="attn-note"),
            html.P(id="attn-readout", className="attn-readout", **{"aria-live": "polite"}),
            html.Div(
                id="attn-text",
                className="attn-text",
                role="listbox",
                **{"aria-label": "The prompt as tokens", "data-wb-letters": ""},
            ),
            html.Div(
                id="attn-keys",
                className="attn-text attn-keys",
                hidden=True,
                role="group",
                **{"aria-label": "The source as tokens"},
            ),
            html.P(
                "Hover or focus a token to see what it attends to; with Shift, what attends to it. Click keeps it.",
                className="attn-note",
            ),
            html.Details(
                [html.Summary("The map in words: its ten strongest cells"), html.Div(id="attn-top")],
                className="attn-details",
            ),
        ],
        className="wb-panel attn-head",
        id="attn-head",
    )


def _map() -> Any:
    """The place of the map, and of what is said while it is not there."""
    return html.Div(
        [
            html.Div(graph("attn-map", style={"height": "100%"}), id="attn-map-box", className="attn-map-box"),
            html.Div("Waiting for the patterns", id="attn-head-wait", className="attn-wait attn-head-wait"),
        ],
        className="attn-map-frame",
    )


CUT = "Click a cell of the map, then cut its edge (x): the query no longer sees the key"


def _buttons() -> Any:
    return html.Div(
        [
            dmc.Button("Ablate head", id="attn-ablate", size="xs", leftSection=icon("ablate", size=16)),
            html.Button("Cut edge", id="attn-cut", className="wb-button", type="button", disabled=True, title=CUT),
            dmc.Button("Copy link", id="attn-copy", size="xs", variant="default", leftSection=icon("link", size=16)),
            dmc.Button("Save pattern", id="attn-save", size="xs", variant="default", leftSection=icon("save", size=16)),
            html.Div(id="attn-saved"),
        ],
        className="wb-tools",
    )


def tabs(state: State) -> Any:
    """The views of a head; the difference is there when the tray holds an edit."""
    return dmc.Tabs(
        dmc.TabsList(
            [
                dmc.TabsTab(
                    VIEWS[name].title,
                    value=name,
                    disabled=name == "difference" and not state.edits,
                    id=f"attn-tab-{name}",
                )
                for name in VIEWS
            ]
        ),
        id="attn-tab",
        value=view_of(state).name,
        className="attn-tabs",
    )


def _averages(state: State) -> Any:
    return dmc.Select(
        id="attn-average",
        value=average_of(state),
        data=[{"value": name, "label": title} for name, title in AVERAGES.items()],
        allowDeselect=False,
        size="xs",
        w=144,
        disabled=not view_of(state).averages,
        **{"aria-label": "What the map shows: this head or a mean over heads"},
    )
