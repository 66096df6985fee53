"""What the report of a circuit shows of its result, part by part, as plain values for the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analyses.circuit import Circuit
from analyses.grid import Grid
from analyses.result import Result
from hooks.sites import Part
from workbench.export.circuit import circuit_of
from workbench.figures import theme as themes
from workbench.figures.faithfulness import RANDOM, is_curve
from workbench.figures.graph import MOST_EDGES as MOST_DRAWN
from workbench.figures.intervals import bounds_of, is_companion, separate
from workbench.figures.numbers import UNIT_WORDS, number, whole
from workbench.figures.report_drawings import attention_drawing, circuit_drawing, curve_drawing

MOST_EDGES = 500
"""How many edges the table of a circuit lists, the strongest first; a bundle holds all of them."""
MOST_ROWS = 40
CURVES = {
    "faithfulness": ("Edges ranked by absolute score", "cmd"),
    "faithfulness_signed": ("Edges ranked by signed score", "cpr"),
}
FACTS = {
    "faithfulness_circuit": "faithfulness",
    "faithfulness": "faithfulness, all draws",
    "metric_model": "metric of the model",
    "metric_circuit": "metric of the circuit",
    "metric_ablated": "metric, all ablated",
    "cmd": "CMD (0 is best)",
    "cpr": "CPR (higher is better)",
    "random_circuit": "random circuits",
    "faithfulness_spread": "spread over draws",
    "jaccard_mean": "overlap of searches",
}
TITLES = {
    "completeness": "Completeness",
    "minimality": "Minimality",
    "faithfulness_by_draw": "Faithfulness by draw",
    "faithfulness_by_template": "Faithfulness by wording",
    "jaccard_circuit": "The same search on other draws",
    "stability": "Stability of the ranking",
    "score": "Scores",
}
FIRST = ("completeness", "minimality", "faithfulness_by_draw", "faithfulness_by_template", "jaccard_circuit", "score")
"""The tables that stand open; the others are folded."""
TOKENS = {"head_promotes": "promotes", "head_suppresses": "suppresses"}


def parts(result: Result, theme: themes.ThemeName) -> dict[str, Any]:
    """Everything of the page that is of the circuit alone."""
    circuit = circuit_of(result)
    spec = circuit.model_dump(mode="json")
    ends = {end: Counter(getattr(edge, end) for edge in circuit.edges) for end in ("source", "target")}
    edges = sorted(circuit.edges, key=lambda edge: -abs(edge.score or 0.0))
    return {
        "made": circuit,
        "graph": circuit_drawing(spec, _roles(result)),
        "drawn": min(len(circuit.edges), MOST_DRAWN),
        "nodes": [(node, ends["target"][node], ends["source"][node]) for node in circuit.nodes],
        "edges": edges[:MOST_EDGES],
        "left": len(edges[MOST_EDGES:]),
        "facts": _facts(result, circuit),
        "curves": _curves(result),
        "random": RANDOM in result.grids,
        "tables": _tables(result),
        "heads": _heads(result, theme),
    }


def _roles(result: Result) -> dict[str, str]:
    """The labels of the heads that have one, by node."""
    grid = result.grids.get("head_role")
    labelled = () if grid is None else zip(grid.coords["node"], grid.coords["label"], strict=True)
    return {str(node): str(label) for node, label in labelled if label != "none"}


def _facts(result: Result, circuit: Circuit) -> list[dict[str, str]]:
    """The numbers that a reader wants first, with their intervals."""
    edges = [{"name": "edges", "value": whole(len(circuit.edges)), "beside": f"{len(circuit.nodes)} nodes"}]
    prompts = len(result.provenance.strings.get("clean", ()))
    if prompts:
        edges.append(
            {"name": "prompts", "value": whole(prompts), "beside": str(result.experiment.params.get("metric"))}
        )
    found = []
    for name, words in FACTS.items():
        grid = result.grids.get(name)
        if grid is None or grid.dims:
            continue
        known = grid.valid is None or bool(grid.valid)
        bounds = bounds_of(grid, result.grids)
        interval = bounds.text() if bounds is not None else ""
        kind = "95 % of them: " if name == "random_circuit" else "95 %: "
        beside = f"{kind}{interval}" if interval else ""
        value = number(float(grid.values) if known else None)
        value += "" if grid.unit == "fraction" or not known else f" {UNIT_WORDS[grid.unit]}"
        found.append({"name": words, "value": value, "beside": beside})
    return found + edges


def _curves(result: Result) -> list[dict[str, str]]:
    curves = []
    for name, (title, area) in CURVES.items():
        grid, under = result.grids.get(name), result.grids.get(area)
        if grid is None or not is_curve(grid):
            continue
        said = ""
        if under is not None and (under.valid is None or bool(under.valid)):
            bounds = bounds_of(under, result.grids)
            interval = f" ({bounds.text()})" if bounds is not None and bounds.text() else ""
            said = f"{area.upper()} {number(float(under.values))}{interval}"
        curves.append({"title": title, "area": said, "drawing": curve_drawing(grid, result.grids), "about": grid.about})
    return curves


def _tables(result: Result) -> list[dict[str, Any]]:
    """Every other grid of one axis, and the strongest cells of one of two, as tables with bars."""
    shown = [grid for grid in separate(result.grids) if grid.dims and not _elsewhere(grid, result.grids)]
    return [_table(grid, result.grids) for grid in shown]


def _elsewhere(grid: Grid, grids: Mapping[str, Grid]) -> bool:
    """Whether another part of the page shows a grid: curves, what belongs to a head, ends of intervals."""
    told = grid.name in CURVES or grid.name == RANDOM or grid.name.startswith(f"{RANDOM}_")
    heads = grid.name.startswith("head_") or grid.name == "role_threshold"
    return told or heads or is_companion(grid, grids) or grid.dims[0] == "prompt"


def _table(grid: Grid, grids: Mapping[str, Grid]) -> dict[str, Any]:
    bounds, further = bounds_of(grid, grids), grid.further()
    known = np.ones(grid.values.shape, bool) if grid.valid is None else np.asarray(grid.valid)
    size = np.where(known, np.abs(grid.values), 0.0)
    largest = float(size.max(initial=0.0)) or 1.0
    signed, order = bool((grid.values < 0).any()), np.arange(grid.values.size)
    if len(grid.dims) > 1 or grid.dims[0] in ("edge", "node"):
        order = np.argsort(-size, axis=None, kind="stable")
    rows = []
    for flat in order[:MOST_ROWS].tolist():
        index = tuple(int(one) for one in np.unravel_index(flat, grid.values.shape))
        value = float(grid.values[index])
        rows.append(
            {
                "label": " · ".join(str(grid.coords[dim][place]) for dim, place in zip(grid.dims, index, strict=True)),
                "value": number(value if known[index] else None, signed=signed),
                "interval": bounds.text(index) if bounds is not None else "",
                "sign": "minus" if value < 0 else "plus" if signed else "plain",
                "width": f"{100 * size[index] / largest:.1f}",
                "beside": [str(labels[flat]) for labels in further.values()],
            }
        )
    return {
        "first": grid.name in FIRST,
        "title": TITLES.get(grid.name, grid.name.replace("_", " ").capitalize()),
        "about": grid.about, "axis": ", ".join(grid.dims).replace("_", " "), "unit": grid.unit, "rows": rows,
        "bounded": bounds is not None, "beside": list(further), "left": max(0, grid.values.size - MOST_ROWS),
    }  # fmt: skip


def _heads(result: Result, theme: themes.ThemeName) -> list[dict[str, Any]]:
    """One panel per head that the result tells of."""
    strength = result.grids.get("head_strength")
    if strength is None:
        return []
    labels, panels = _roles(result), []
    for place, node in enumerate(map(str, strength.coords["node"])):
        part = Part.parse(node)
        panels.append(
            {
                "name": f"{part.site.layer}.{part.head}",
                "role": labels.get(node, "no role reaches its threshold" if "head_role" in result.grids else ""),
                "strength": number(float(strength.values[place])),
                "effect": _effect(result, place),
                "roles": _scores(result, place),
                "attention": _attention(result, place, theme),
                "tokens": [_pushed(grid, title, place) for name, title in TOKENS.items()
                           if (grid := result.grids.get(name)) is not None],
            }
        )  # fmt: skip
    return panels


def _effect(result: Result, place: int) -> str:
    grid = result.grids.get("head_direct_effect")
    if grid is None or (grid.valid is not None and not grid.valid[place]):
        return ""
    bounds = bounds_of(grid, result.grids)
    interval = bounds.text((place,)) if bounds is not None else ""
    value = f"{number(float(grid.values[place]), signed=True)} {grid.unit}"
    return f"{value} (95 %: {interval})" if interval else value


def _scores(result: Result, place: int) -> list[dict[str, Any]]:
    """A head's measured roles beside their thresholds."""
    grid, thresholds = result.grids.get("head_role_score"), result.grids.get("role_threshold")
    if grid is None or thresholds is None:
        return []
    known = np.ones(grid.values.shape, bool) if grid.valid is None else np.asarray(grid.valid)
    return [
        {
            "name": role,
            "score": number(float(grid.values[place, n]) if known[place, n] else None),
            "threshold": number(float(thresholds.values[n])),
            "reached": bool(known[place, n] and grid.values[place, n] >= thresholds.values[n]),
        }
        for n, role in enumerate(grid.coords["role"])
    ]


def _attention(result: Result, place: int, theme: themes.ThemeName) -> str:
    grid = result.grids.get("head_attention")
    if grid is None:
        return ""
    prompts: Sequence[Sequence[str]] = result.provenance.strings.get("clean", ((),))
    return attention_drawing(np.asarray(grid.values[place], dtype=float), prompts[0], theme)


def _pushed(grid: Grid, title: str, place: int) -> dict[str, Any]:
    """The tokens that a head pushes one way, the strongest first."""
    width = grid.values.shape[1]
    tokens = grid.coords["token"][place * width : (place + 1) * width]
    return {
        "title": title,
        "tokens": [
            {"text": str(token), "value": number(float(value), signed=True, digits=2)}
            for token, value in zip(tokens, grid.values[place], strict=True)
        ],
    }
