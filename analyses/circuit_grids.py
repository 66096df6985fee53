"""What is measured of circuits, as grids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from analyses import statistics
from analyses.averages import METHOD, averaged, recoveries
from analyses.circuit_ranking import DRAWS
from analyses.circuit_subsets import Subsets
from analyses.faithfulness import Area, area, cmd, cpr
from analyses.grid import Coord, Grid, Unit
from analyses.metrics import Metric
from analyses.statistics import Estimate

SIZE = "size"
LEAST = 0.01
"""The share of F(M) by which a node should matter to be kept (Wang et al. 2022)."""


def estimated(name: str, found: Estimate, unit: Unit, about: str, prompts: int) -> tuple[Grid, ...]:
    """One number with its interval; masked, with the reason in `about`, where it is undefined."""
    about = "; ".join(filter(None, (about, found.reason)))
    grids = [_number(name, found.value, unit, about)]
    for end, bound in (("low", found.low), ("high", found.high)):
        if bound is not None:
            grids.append(_number(f"{name}_{end}", bound, unit, f"{end} end of the {METHOD.format(prompts)}"))
    return tuple(grids)


def _number(name: str, value: np.ndarray, unit: Unit, about: str) -> Grid:
    known = np.isfinite(value)
    return Grid(
        name, np.where(known, value, 0.0), (), {}, unit, None, about, None if known.all() else np.asarray(known)
    )


def whole(
    metric: Metric, circuit: np.ndarray, full: np.ndarray, empty: np.ndarray, outside: str, *, per_prompt: bool
) -> tuple[Grid, ...]:
    """How faithful one circuit is: normalised, as |F(M) − F(C)|, and as F(C) / F(M). All are given [prompt]."""
    title, unit, n = metric.title, metric.unit, len(full)
    gap = Estimate(np.abs(np.mean(full - circuit)))
    means = (
        ("metric_circuit", circuit, "the circuit"),
        ("metric_model", full, "the model"),
        ("metric_ablated", empty, "the ablated model, every edge cut"),
    )
    return (
        *recoveries("faithfulness_circuit", circuit, full, empty, (), {}, per_prompt=per_prompt,
                    about=f"(circuit − ablated) / (model − ablated) of the {title}, {outside}"),
        *estimated("distance", gap, unit, f"|F(M) − F(C)| of the mean {title}; 0 is best", n),
        *averaged("difference", circuit - full, (), {}, unit, baseline=0.0, per_prompt=per_prompt,
                  about=f"F(C) − F(M) of the {title}, prompt by prompt"),
        *estimated("share", statistics.ratio_of_means(circuit, full, least=statistics.SAME), "fraction",
                   f"F(C) / F(M) of the mean {title}", n),
        *(grid for name, values, of in means
          for grid in averaged(name, values, (), {}, unit, about=f"{title} of {of}", per_prompt=per_prompt)),
    )  # fmt: skip


def curve(
    name: str,
    of: Area,
    run: np.ndarray,
    full: np.ndarray,
    empty: np.ndarray,
    sizes: Sequence[float],
    edges: Sequence[int],
    about: str,
    *,
    per_prompt: bool,
) -> tuple[Grid, ...]:
    """Faithfulness over size and its area.

    run: [prompt size], NaN where a size was not run. edges: how many are left after pruning.
    """
    coords: dict[str, tuple[Coord, ...]] = {SIZE: tuple(sizes), "edges": tuple(edges)}
    label, what = ("cpr", "area under f") if of is cpr else ("cmd", "area under |1 − f|")
    areas = estimated(
        label, area(of, run, full, empty, sizes), "fraction",
        f"{what} over the kept share of edges from {sizes[0]:g} to {sizes[-1]:g}, trapezoid rule", len(full),
    )  # fmt: skip
    return (*recoveries(name, run, full, empty, (SIZE,), coords, about=about, per_prompt=per_prompt), *areas)


def stable(name: str, overlap: np.ndarray, sizes: Sequence[float], order: str) -> Grid:
    """Overlap of the top edges over bootstrap draws, by size."""
    known = np.isfinite(overlap)
    about = (
        f"mean Jaccard overlap of the top edges by {order} score, before pruning, of {DRAWS} bootstrap draws of prompts"
    )
    about += "" if known.all() else "; undefined for one prompt"
    valid = None if known.all() else known
    return Grid(name, np.where(known, overlap, 0.0), (SIZE,), {SIZE: tuple(sizes)}, "fraction", None, about, valid)


def controls(
    runs: np.ndarray, full: np.ndarray, empty: np.ndarray, sizes: Sequence[float], circuit: np.ndarray
) -> tuple[Grid, ...]:
    """What random circuits of equal size reach.

    runs: [draw prompt size]; circuit: [draw prompt], of as many edges as the circuit has.
    """
    if not len(runs):
        return ()
    gap = float(np.mean(full - empty))
    known = abs(gap) >= statistics.SAME
    grids: list[Grid] = []
    of = f"{len(runs)} random rankings of all edges, cut and pruned alike"
    shapes: tuple[tuple[str, np.ndarray, Mapping[str, tuple[Coord, ...]]], ...] = (
        ("random", runs, {SIZE: tuple(sizes)}),
        ("random_circuit", circuit, {}),
    )
    for name, values, coords in shapes:
        reached = (values - empty.reshape(1, -1, *[1] * (values.ndim - 2))).mean(axis=1) / (gap if known else 1.0)
        ends = np.percentile(reached, statistics.PERCENTILES, axis=0)
        for label, value in zip(("", "_low", "_high"), (reached.mean(axis=0), *ends), strict=True):
            what = {"": "mean", "_low": "2.5th percentile", "_high": "97.5th percentile"}[label]
            about = f"{what} of the faithfulness of {of}" + (
                "" if known else "; undefined: clean and ablated are alike"
            )
            valid = None if known else np.zeros(np.shape(value), dtype=bool)
            grids.append(
                Grid(f"{name}{label}", np.asarray(value), tuple(coords), coords, "fraction", 0.0, about, valid)
            )
    return tuple(grids)


def complete(metric: Metric, found: Subsets, *, per_prompt: bool) -> tuple[Grid, ...]:
    """`completeness` of each set K, |F(C∖K) − F(M∖K)|, and what it is made of."""
    if not found.names:
        return ()
    coords: dict[str, tuple[Coord, ...]] = {"subset": found.names, "nodes": tuple(map(", ".join, found.nodes))}
    apart, dims, unit = found.circuit - found.model, ("subset",), metric.unit
    absolute = np.abs(apart.mean(axis=1))
    return (
        Grid("completeness", absolute, dims, coords, unit, 0.0, f"|F(C∖K) − F(M∖K)| of the mean {metric.title}"),
        *averaged("completeness_difference", apart.T, dims, coords, unit, baseline=0.0, per_prompt=per_prompt,
                  about=f"F(C∖K) − F(M∖K) of the {metric.title}, prompt by prompt"),
        *averaged("metric_circuit_without", found.circuit.T, dims, coords, unit, interval=False,
                  about=f"F(C∖K): {metric.title} of the circuit without the set"),
        *averaged("metric_model_without", found.model.T, dims, coords, unit, interval=False,
                  about=f"F(M∖K): {metric.title} of the model without the set"),
    )  # fmt: skip


def minimal(
    metric: Metric, nodes: tuple[str, ...], change: np.ndarray, full: np.ndarray, *, per_prompt: bool
) -> tuple[Grid, ...]:
    """`minimality` of each node, the largest |F(C∖(K∪{v})) − F(C∖K)| found. change: [node prompt]."""
    if not nodes:
        return ()
    coords: dict[str, tuple[Coord, ...]] = {"node": nodes}
    size, model = np.abs(change.mean(axis=1)), abs(float(full.mean()))
    known = model >= statistics.SAME
    few = int((size < LEAST * model).sum())
    about = f"|F(C∖(K∪{{v}})) − F(C∖K)| of the mean {metric.title}, for the K tried that gives most"
    about += f"; below {LEAST:.0%} of F(M): {few} of {len(nodes)} nodes" if known else ""
    share = size / model if known else np.zeros_like(size)
    valid = None if known else np.zeros(size.shape, dtype=bool)
    why = "" if known else "; undefined: F(M) is 0"
    return (
        Grid("minimality", size, ("node",), coords, metric.unit, 0.0, about),
        Grid("minimality_share", share, ("node",), coords, "fraction", 0.0, f"minimality over |F(M)|{why}", valid),
        *averaged("minimality_change", change.T, ("node",), coords, metric.unit, baseline=0.0, per_prompt=per_prompt,
                  about="the signed change behind minimality, prompt by prompt"),
    )  # fmt: skip


CURVES: tuple[tuple[str, Area, str], ...] = (
    ("faithfulness", cmd, "absolute"),
    ("faithfulness_signed", cpr, "signed"),
)
"""Name of a curve, the area that is taken of it, and how its edges are ranked."""
