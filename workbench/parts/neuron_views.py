"""What the Neurons page shows of a result: the ranking as cells, one neuron's tokens, and what its weights raise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dash_mantine_components as dmc
import numpy as np
from dash import html

from analyses.grid import Grid
from analyses.result import Result
from hooks.tokens import TokenBatch
from workbench.figures.lines import bars
from workbench.figures.neurons import interval_of, name_of, reach_of, spread, strips, words_of
from workbench.figures.numbers import UNIT_WORDS, number, whole
from workbench.figures.theme import ThemeName
from workbench.parts.ablation_cells import cells
from workbench.parts.ablation_saving import save_row
from workbench.parts.glossary import term
from workbench.parts.graph import graph
from workbench.parts.icons import icon
from workbench.parts.neuron_request import strongest
from workbench.parts.tray import edited_word

SHOWN_NEURONS, SHOWN_PROMPTS = 10, 12
BESIDE = {"gate": "gate", "up": "linear branch", "router": "expert weight"}
SAY = "Arrows move over the neurons, Enter opens one, a ablates it."


def ranking(result: Result) -> list[Any]:
    """The cells, the strongest of all layers as a list, the way to keep it."""
    grid = result.grid("score")
    picture, targets = strips(grid)
    beyond = " The strongest few lie beyond the colours’ range." if reach_of(grid)[1] else ""
    label = "The strongest neurons of each layer, strongest first"
    map_of = cells("nrn-cells", picture, label=label, name="Rank {rank} of layer {layer}", action="neuron",
                   targets=targets, say=SAY)  # fmt: skip
    top = [_listed(part, value, grid.unit) for part, value in strongest(result, SHOWN_NEURONS)]
    return [
        html.P([f"{grid.about[:1].upper()}{grid.about[1:]}.", beyond], className="wb-muted", id="nrn-about"),
        map_of,
        html.H3("Strongest of all that are shown"),
        html.Ol(top, className="abl-list", id="nrn-top"),
        save_row("nrn-rank", result.id, "score"),
    ]


def _listed(part: str, value: float, unit: str) -> Any:
    text = f"{number(value, signed=True)} {UNIT_WORDS.get(unit, unit)}"
    content = [html.Span(f"neuron {name_of(part)}"), html.Span(text, className="abl-item-number wb-number")]
    label = {"aria-label": f"Open neuron {name_of(part)}, {text}"}
    return html.Li(html.Button(content, type="button", className="abl-item nrn-item", **{"data-neuron": part}, **label))


def head(part: str) -> Any:
    """The neuron's name and what can be done with it."""
    buttons = [
        dmc.Button(
            "Ablate neuron",
            id="nrn-ablate",
            size="xs",
            leftSection=icon("ablate", size=16),
            **{"data-nrn-ablate": part},
        ),
        dmc.Button("Measure zeroing", id="nrn-measure", size="xs", variant="default"),
    ]
    return html.Div(
        [html.H2(f"Neuron {name_of(part)}", id="nrn-title"), html.Div(buttons, className="wb-tools")],
        className="wb-panel-head",
    )


def neuron(result: Result, batch: TokenBatch, part: str, theme: ThemeName, picture: Any = None) -> list[Any]:
    """One neuron in the clean run. picture: its activations over an image, where the model reads one."""
    grids = dict(result.grids)
    activation = grids["activation"]
    many = len(batch) > 1
    figure = spread(activation, None, theme) if many else bars(activation, tokens=_names(batch, part), theme=theme)
    figure.update_layout(margin={"t": 8})
    notes = [html.P(note, className="wb-muted") for note in result.provenance.warnings if part in note]
    return [
        html.P([html.Span(part, className="wb-mono"), " · activation is what W_out reads"], className="wb-muted"),
        *_direct(grids),
        picture,
        text_view(activation, batch, part, reach(activation), beside=grids),
        graph("nrn-figure", figure, height=220 if many else 260),
        *notes,
        *_weights(grids),
        save_row("nrn", result.id, "activation"),
    ]


def reach(*grids: Grid) -> float:
    """The magnitude of the deepest colour of runs that are compared."""
    return max(float(np.abs(grid.values).max(initial=0.0)) for grid in grids)


def _names(batch: TokenBatch, part: str) -> Sequence[str]:
    side = batch.side(part.partition(".")[0]) if not part.startswith("L") else batch
    return side.strings[0] if side.strings else ()


def _direct(grids: dict[str, Grid]) -> list[Any]:
    if "direct" not in grids:
        return []
    value = html.Span(words_of(grids["direct"]), className="wb-mono", id="nrn-direct")
    words = [
        html.H3(term("direct effect", "Direct effect")),
        html.P([value, html.Span(" logits", className="abl-unit")]),
    ]
    about = interval_of(grids, "direct") or "on logit(answer) − logit(foil), past everything after it"
    return [
        html.Div(html.Div([*words, html.P(about, className="wb-muted")], className="abl-tile"), className="abl-tiles")
    ]


def text_view(
    grid: Grid,
    batch: TokenBatch,
    part: str,
    deepest: float,
    *,
    beside: dict[str, Grid] | None = None,
    id: str = "nrn-text",
) -> Any:
    """The prompts as tokens coloured by activation, those with the strongest first; numbers on hover and focus."""
    values = grid.values if grid.values.ndim == 2 else grid.values[None]
    side = batch.side(part.partition(".")[0]) if not part.startswith("L") else batch
    order = np.argsort(-np.abs(values).max(axis=1), kind="stable")[:SHOWN_PROMPTS].tolist()
    rows = [_row(values, side, prompt, deepest, beside or {}, number_of=len(values)) for prompt in order]
    left = len(values) - len(order)
    more = [html.P(f"and {whole(left)} prompts where it is weaker", className="wb-muted")] if left else []
    ends = [html.Span(number(-deepest)), html.Div(className="abl-bar nrn-ramp"),
            html.Span(number(deepest, signed=True)), html.Span("activation", className="wb-muted")]  # fmt: skip
    legend = html.Div(ends, className="abl-legend wb-number")
    rest = "Point at a token for its numbers."
    readout = html.P(rest, className="abl-readout nrn-readout", **{"data-rest": rest})
    return html.Div([*rows, *more, legend, readout], id=id, className="nrn-text")


def _row(
    values: np.ndarray, side: TokenBatch, prompt: int, deepest: float, beside: dict[str, Grid], *, number_of: int
) -> Any:
    strings = side.strings[prompt] if prompt < len(side.strings) else ()
    tokens = strings or tuple(str(place) for place in range(values.shape[1]))
    shown = [
        _token(token, place, float(values[prompt, place]), deepest, _more(beside, prompt, place))
        for place, token in enumerate(tokens[: values.shape[1]])
    ]
    name = [html.Span(f"prompt {prompt + 1}", className="nrn-prompt wb-muted")] if number_of > 1 else []
    return html.Div([*name, html.Div(shown, className="nrn-tokens", dir="ltr")], className="nrn-row")


def _more(beside: dict[str, Grid], prompt: int, place: int) -> str:
    """The gate, the linear branch and the expert's weight at one token."""
    said = []
    for name, words in BESIDE.items():
        if name in beside:
            grid = beside[name]
            value = grid.values[prompt, place] if grid.values.ndim == 2 else grid.values[place]
            said.append(f"{words} {number(float(value), signed=name != 'router')}")
    return " · ".join(said)


def _token(token: str, place: int, value: float, deepest: float, more: str) -> Any:
    share = 0.0 if not deepest else min(1.0, abs(value) / deepest)
    facts = f"position {place} · activation {number(value, signed=True)}{' · ' + more if more else ''}"
    return html.Span(
        html.Bdi(token, dir="ltr"),
        className=f"nrn-token {'nrn-below' if value < 0 else 'nrn-above'}",
        style={"--share": f"{share:.3f}"},
        tabIndex=0,
        **{"data-nrn-facts": facts, "data-nrn-shown": token, "aria-label": f"{token}: {facts}"},
    )


def patch(place: int, value: float, deepest: float) -> Any:
    """One patch of an image, coloured by activation."""
    return _token("", place, value, deepest, "patch of the image")


def _weights(grids: dict[str, Grid]) -> list[Any]:
    if "promoted" not in grids:
        return []
    deepest = reach(grids["promoted"], grids["suppressed"])
    lists = [
        html.Div([html.H3(title), html.Ol(_token_rows(grids[name], deepest), className="nrn-list", id=f"nrn-{name}")])
        for name, title in (("promoted", "Tokens it raises"), ("suppressed", "Tokens it lowers"))
    ]
    about = html.P(
        [term("logit weight", "Logit weights"), ": its row of W_out through the final norm’s gain and W_U, in logits "
         "per unit of activation. Weights only, no run; a negative activation turns them round."],
        className="wb-muted",
    )  # fmt: skip
    return [html.Div(lists, className="nrn-weights"), about]


def _token_rows(grid: Grid, deepest: float) -> list[Any]:
    rows = []
    for token, value in zip(grid.coords["token"], grid.values.tolist(), strict=True):
        width = f"{50 * abs(value) / (deepest or 1.0):.1f}%"
        mark = html.Span(html.Span(style={"width": width}, className="abl-item-mark"),
                         className=f"abl-item-bar {'abl-below' if value < 0 else 'abl-above'}",
                         **{"aria-hidden": "true"})  # fmt: skip
        name = html.Bdi(str(token), dir="ltr", className="prompt-token")
        rows.append(html.Li([name, mark, html.Span(number(value, signed=True), className="abl-item-number wb-number")]))
    return rows


def edited(result: Result, batch: TokenBatch, part: str, theme: ThemeName) -> list[Any]:
    """The neuron's activations clean and edited, side by side in one range."""
    clean, after = result.grid("activation"), result.grid("activation_edited")
    deepest = reach(clean, after)
    sides = [
        html.Div([html.H3("Clean"), text_view(clean, batch, part, deepest, id="nrn-text-clean")]),
        html.Div([html.H3(["Edited ", edited_word()]), text_view(after, batch, part, deepest, id="nrn-text-edited")],
                 className="nrn-edited-side"),
    ]  # fmt: skip
    change = np.abs(after.values - clean.values)
    words = f"Largest change of an activation: {number(float(change.max(initial=0.0)))}."
    content: list[Any] = [html.Div(sides, className="nrn-sides"), html.P(words, id="nrn-change", className="wb-muted")]
    if len(batch) > 1:
        content.append(graph("nrn-edited-figure", spread(clean, after, theme), height=220))
    return [*content, save_row("nrn-edited", result.id, "activation_edited")]


def zeroed(result: Result, part: str) -> list[Any]:
    """What the answer loses without the neuron, later layers included."""
    grid = result.grid("effect")
    value = html.Span(words_of(grid), className="wb-mono", id="nrn-zeroed")
    clean = number(float(result.grid("metric_clean").values))
    about = interval_of(dict(result.grids), "effect") or "one prompt: no interval"
    tile = [
        html.H3(f"Change of the measure without neuron {name_of(part)}"),
        html.P([value, html.Span(f" {UNIT_WORDS[grid.unit]}", className="abl-unit")]),
        html.P(f"clean {clean} · {about} · at all tokens, later layers’ reaction included", className="wb-muted"),
    ]
    return [
        html.Div(html.Div(tile, className="abl-tile"), className="abl-tiles"),
        save_row("nrn-zeroed", result.id, "effect"),
    ]
