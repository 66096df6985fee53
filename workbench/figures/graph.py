"""A circuit as a layered graph: the embedding at the bottom, one row per layer upwards, the logits on top.

Heads of a layer stand side by side; its MLP stands to their right and half a row higher, since it may hear them. An
edge has the colour of its score's sign, a width by its size, and a dash by the channel through which it is heard.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from hooks.sites import Part
from workbench.figures import theme as themes
from workbench.figures.numbers import number, whole
from workbench.figures.tokens import text

MOST_EDGES = 2000
WIDTHS = (0.6, 1.2, 2.2, 3.6, 5.5)
"""Pixels. One trace per width, sign and dash keeps a graph of thousands of edges at a few dozen SVG paths."""
DASHES = {"q": "dot", "k": "dash", "v": "solid", "in": "solid"}
SIGNS = {1: "positive", -1: "negative", 0: "line-strong"}
STEPS = np.linspace(0.0, 1.0, 9)
MET = {"q": 3, "k": 4, "v": 5, "in": 4}
"""At which step hover and the letter of an edge are, so that the channels of one pair of nodes stay apart."""
NAMED, LETTERED = 150, 60
"""Most nodes and edges that are labelled in the drawing; hover names all of them."""
LONGEST_LABEL = 12
"""Characters of a node's label that are drawn; hover has all of them."""
ROW_HEIGHT, MARGINS = 46, 130
GAP = np.nan
NEAR, BOW = 0.02, 0.1
"""Below which sideways distance an edge bows out, and how far at most."""


@dataclass(frozen=True)
class Drawn:
    """A node in its place. short: its label; row: its layer's row of the drawing, counted from the bottom."""

    node: str
    short: str
    x: float
    y: float


def graph(
    circuit: Mapping[str, Any],
    *,
    title: str = "",
    theme: themes.ThemeName = "light",
    roles: Mapping[str, str] | None = None,
) -> go.Figure:
    """A circuit in its JSON form as a figure, labels beside their nodes. roles: said of a node on hover, by node.

    Of more than 2,000 edges those of highest absolute score are drawn, and the title says so.
    """
    edges, whole_size = strongest(circuit["edges"], MOST_EDGES), len(circuit["edges"])
    places = layout(circuit["nodes"])
    figure = go.Figure()
    scale = max((abs(edge["score"]) for edge in edges if edge.get("score") is not None), default=0.0)
    for key, group in _grouped(edges, scale).items():
        figure.add_trace(_lines(group, places, *key, theme=theme))
    figure.add_trace(_middles(edges, places, theme))
    figure.add_trace(_nodes(places, circuit, beside(circuit, roles or {}), theme))
    for trace in _legend(edges, theme):
        figure.add_trace(trace)
    more = "" if len(edges) == whole_size else f" (the {whole(len(edges))} strongest of {whole(whole_size)} edges)"
    figure.update_layout(
        template=themes.template(theme),
        title_text=text(title + more),
        height=MARGINS + ROW_HEIGHT * (2 + len(layers(circuit["nodes"]))),
        hovermode="closest",
        dragmode="pan",
        legend={"orientation": "h", "x": 0, "y": 0, "yanchor": "top", "itemclick": False, "itemdoubleclick": False},
    )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(**_row_axis(circuit["nodes"]))
    return figure


def beside(circuit: Mapping[str, Any], roles: Mapping[str, str]) -> dict[str, str]:
    """What is said of each node of a circuit in its JSON form: its label, its role, its group, whether it is pinned."""
    labels, groups, pinned = circuit.get("labels", {}), circuit.get("groups", {}), circuit.get("pinned", ())
    said = {
        node: (
            labels.get(node, ""),
            roles.get(node, ""),
            f"group: {groups[node]}" if node in groups else "",
            "pinned" if node in pinned else "",
        )
        for node in circuit["nodes"]
    }
    return {node: " · ".join(filter(None, words)) for node, words in said.items() if any(words)}


def shortened(words: str, most: int) -> str:
    """At most `most` characters of a text, the last of them … where it is longer."""
    return words if len(words) <= most else words[: most - 1] + "…"


def strongest(edges: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """At most `most` edges, those of highest absolute score, in the order in which they were given."""
    if len(edges) <= most:
        return list(edges)
    order = np.argsort([-abs(edge.get("score") or 0.0) for edge in edges], kind="stable")[:most]
    return [edges[place] for place in sorted(order)]


def layout(nodes: Sequence[str]) -> dict[str, Drawn]:
    """Where each node stands: x from 0 to 1, y in rows; layers without a node take no row."""
    rows = {layer: row for row, layer in enumerate(layers(nodes), start=1)}
    beside: dict[int, list[Part]] = defaultdict(list)
    placed = {}
    for node in nodes:
        part = Part.parse(node)
        if part.site.layer is None:
            top = node == "logits"
            placed[node] = Drawn(node, node if top else "embedding", 0.44, len(rows) + 1.0 if top else 0.0)
        elif part.site.name == "mlp_out":
            placed[node] = Drawn(node, f"MLP {part.site.layer}", 1.0, rows[part.site.layer] + 0.5)
        else:
            beside[part.site.layer].append(part)
    widest = max((len(parts) for parts in beside.values()), default=1)
    for layer, parts in beside.items():
        ordered = sorted(parts, key=lambda part: part.head or 0)
        # Rows are spread about the middle, so that a lone head does not stand at an edge.
        step = 0.86 / max(widest, len(ordered))
        left = 0.44 - step * (len(ordered) - 1) / 2
        for number_in_row, part in enumerate(ordered):
            short = f"attn {layer}" if part.head is None else f"{layer}.{part.head}"
            placed[str(part)] = Drawn(str(part), short, left + step * number_in_row, float(rows[layer]))
    return {node: placed[node] for node in nodes}


def layers(nodes: Iterable[str]) -> list[int]:
    """The layers that have a node, from the bottom: the rows between the embedding and the logits."""
    return sorted({layer for node in nodes if (layer := Part.parse(node).site.layer) is not None})


def _row_axis(nodes: Sequence[str]) -> dict[str, Any]:
    found = layers(nodes)
    return {
        "title_text": "layer", "tickmode": "array", "tickvals": list(range(len(found) + 2)),
        "ticktext": ["", *map(str, found), ""], "zeroline": False, "ticks": "",
        "range": [-0.6, len(found) + 1.6],
    }  # fmt: skip


def _sign(edge: Mapping[str, Any]) -> int:
    return int(np.sign(edge.get("score") or 0.0))


Key = tuple[int, str, float]
"""Sign, dash and width of edges that one trace draws."""


def _grouped(edges: Iterable[Mapping[str, Any]], scale: float) -> dict[Key, list[Mapping[str, Any]]]:
    """Edges that look alike, the thin ones first, so that the strong ones lie on top."""
    groups: dict[Key, list[Mapping[str, Any]]] = defaultdict(list)
    for edge in edges:
        share = abs(edge.get("score") or 0.0) / scale if scale else 0.0
        width = WIDTHS[min(len(WIDTHS) - 1, int(share**0.5 * len(WIDTHS)))] if scale else WIDTHS[1]
        groups[_sign(edge), DASHES[edge["channel"]], width].append(edge)
    return dict(sorted(groups.items(), key=lambda item: item[0][2]))


def _curve(edge: Mapping[str, Any], places: Mapping[str, Drawn]) -> tuple[np.ndarray, np.ndarray]:
    """x and y along an edge. It leaves upwards and arrives upwards; channels of a head arrive side by side."""
    start, stop = places[edge["source"]], places[edge["target"]]
    aside = {"q": -0.008, "k": 0.0, "v": 0.008, "in": 0.0}[edge["channel"]]
    x = start.x + (stop.x + aside - start.x) * (3 * STEPS**2 - 2 * STEPS**3)
    if abs(stop.x - start.x) < NEAR and stop.y - start.y > 1:
        # A straight line would run through the nodes between the two.
        x = x - BOW * min(1.0, (stop.y - start.y) / 6) * np.sin(np.pi * STEPS)
    return x, start.y + (stop.y - start.y) * STEPS


def _lines(
    edges: Sequence[Mapping[str, Any]], places: Mapping[str, Drawn], sign: int, dash: str, width: float,
    *, theme: themes.ThemeName,
) -> go.Scatter:  # fmt: skip
    curves = [_curve(edge, places) for edge in edges]
    x, y = (np.concatenate([[*curve[axis], GAP] for curve in curves]).astype(np.float32) for axis in (0, 1))
    line = {"color": themes.role(SIGNS[sign], theme), "width": width, "dash": dash}
    return go.Scatter(
        x=x, y=y, mode="lines", line=line, opacity=0.75, hoverinfo="skip", showlegend=False, connectgaps=False
    )


def _middles(edges: Sequence[Mapping[str, Any]], places: Mapping[str, Drawn], theme: themes.ThemeName) -> go.Scatter:
    """Points about the middle of the edges: what hover and a click meet. customdata: source, target, channel."""
    middles = [tuple(float(axis[MET[edge["channel"]]]) for axis in _curve(edge, places)) for edge in edges]
    lettered = len(edges) <= LETTERED
    return go.Scatter(
        x=[at[0] for at in middles],
        y=[at[1] for at in middles],
        mode="text" if lettered else "markers",
        text=[edge["channel"] for edge in edges] if lettered else None,
        textfont={"size": 10, "color": themes.role("muted", theme)},
        marker={"size": 7, "opacity": 0},
        name="edges",
        customdata=[[edge["source"], edge["target"], edge["channel"]] for edge in edges],
        hovertext=[_edge_words(edge, places) for edge in edges],
        hovertemplate="%{hovertext}<extra></extra>",
        showlegend=False,
    )


def _edge_words(edge: Mapping[str, Any], places: Mapping[str, Drawn]) -> str:
    source, target = (places[edge[end]].short for end in ("source", "target"))
    score = "no score" if edge.get("score") is None else number(edge["score"], signed=True)
    return text(f"{source} → {target} ({edge['channel']})") + f"<br><b>{score}</b>"


def _nodes(
    places: Mapping[str, Drawn], circuit: Mapping[str, Any], said: Mapping[str, str], theme: themes.ThemeName
) -> go.Scatter:
    """The nodes. customdata: the node's name."""
    heard, hears = Counter[str](), Counter[str]()
    for edge in circuit["edges"]:
        heard[edge["source"]] += 1
        hears[edge["target"]] += 1
    drawn, labels = list(places.values()), circuit.get("labels", {})
    words = [
        f"<b>{text(at.node)}</b><br>{hears[at.node]} edges in, {heard[at.node]} out"
        + (f"<br>{text(said[at.node])}" if at.node in said else "")
        for at in drawn
    ]
    return go.Scatter(
        x=[at.x for at in drawn],
        y=[at.y for at in drawn],
        mode="markers+text" if len(drawn) <= NAMED else "markers",
        text=[text(" ".join((at.short, shortened(labels.get(at.node, ""), LONGEST_LABEL))).strip()) for at in drawn],
        textposition="middle right",
        textfont={"size": 11, "family": themes.MONO, "color": themes.role("text", theme)},
        marker={
            "symbol": "square", "size": 11, "color": themes.role("accent-soft", theme),
            "line": {"color": themes.role("accent", theme), "width": 1.5},
        },
        name="nodes",
        customdata=[at.node for at in drawn],
        hovertext=words,
        hovertemplate="%{hovertext}<extra></extra>",
        showlegend=False,
    )  # fmt: skip


def _legend(edges: Sequence[Mapping[str, Any]], theme: themes.ThemeName) -> list[go.Scatter]:
    """Lines without points that say what colours and dashes mean, for those that occur."""
    signs = sorted({_sign(edge) for edge in edges}, reverse=True)
    said = {1: "positive score", -1: "negative score", 0: "no score"}
    lines = [(said[sign], SIGNS[sign], "solid") for sign in signs]
    present = {edge["channel"] for edge in edges}
    dashed = {"heard as query": ("q",), "heard as key": ("k",), "heard as value, MLP or logits": ("v", "in")}
    lines += [(words, "muted", DASHES[which[0]]) for words, which in dashed.items() if present & set(which)]
    return [
        go.Scatter(x=[None], y=[None], mode="lines", name=words, hoverinfo="skip",
                   line={"color": themes.role(role, theme), "dash": dash, "width": 2})
        for words, role, dash in lines
    ]  # fmt: skip
