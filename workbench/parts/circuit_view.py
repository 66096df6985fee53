"""The edited circuit as the browser draws it: the graph, how large it is and may be, the curve that was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool

from analyses.faithfulness import shares_of
from analyses.grid import Grid
from analyses.result import Result
from hooks.errors import WorkbenchError
from workbench.circuit_draft import parts_of
from workbench.figures.graph import MOST_EDGES
from workbench.figures.numbers import whole
from workbench.parts.circuit_graph import EdgeKey, Mark, drawn
from workbench.parts.circuit_request import Bases, Edited, edited_of, evaluation_of, live_of
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.workspace import Workspace

CURVE, RANDOM = "faithfulness", "random"


def view(
    workspace: Workspace,
    bases: Bases,
    state: State,
    roles: Mapping[str, str],
    marks: Mapping[EdgeKey, Mark],
) -> dict[str, Any]:
    """Everything that the editor shows of a state but the numbers of its circuit. Raises WorkbenchError.

    roles: of heads, by node. marks: of edges that a comparison found, in place of those of the edits.
    """
    now = edited_of(workspace, bases, state)
    if now is None:
        return {"state": "none"}
    request = live_of(workspace, bases, state, now.base, now.kept)
    notes, labels = now.notes, now.notes.labels
    told = {node: " · ".join(filter(None, (labels.get(node), roles.get(node)))) for node in {*labels, *roles}}
    graph = drawn(
        spec_of(now, MOST_EDGES), roles=told, groups=notes.groups, pinned=notes.pinned,
        marks=marks or edit_marks(now), key=f"{state.model} {now.base.key}",
    )  # fmt: skip
    edges, most = int(now.kept.sum()), now.base.most
    return {
        "state": "ok",
        "live": request.id,
        "graph": graph,
        "size": min(most, now.base.usual if now.draft.size is None else now.draft.size),
        "most": most,
        "unit": now.base.unit,
        "resizable": now.base.resizable,
        "edges": edges,
        "words": words_of(now),
        "edited": not now.draft.plain,
        "curve": curve_of(_judged(workspace, bases, state), request.inputs, state, now),
    }


def _judged(workspace: Workspace, bases: Bases, state: State) -> Result | None:
    """The evaluation of the circuit as it stands, else the one that the address names."""
    try:
        result = workspace.result(evaluation_of(workspace, bases, state).id)
    except WorkbenchError:  # too large, which its panel says
        result = None
    return result or (workspace.result(state.judged) if state.judged else None)


def spec_of(now: Edited, most: int) -> dict[str, Any]:
    """The circuit's JSON form with at most so many edges, those of highest absolute score."""
    base, graph = now.base, now.base.graph
    places = np.argwhere(now.kept.T)[:, ::-1]
    strength = np.abs(base.scores[tuple(places.T)])
    chosen = places if len(places) <= most else places[np.sort(np.argsort(-strength, kind="stable")[:most])]
    scored = base.scored
    edges = [
        {
            "source": graph.writers[writer],
            "target": graph.readers[reader].target,
            "channel": graph.readers[reader].channel,
            "score": float(base.scores[writer, reader]) if scored[writer, reader] else None,
        }
        for writer, reader in chosen
    ]
    ends = {edge[end] for edge in edges for end in ("source", "target")} | set(now.notes.pinned)
    nodes = [node for node in graph.nodes if node in ends]
    return {"nodes": nodes, "edges": edges, "method": base.found.method, "keys": graph.keys, "size": len(places)}


def edit_marks(now: Edited) -> dict[EdgeKey, Mark]:
    """The edges that were added, and those that were cut out of what the size keeps."""
    marks: dict[EdgeKey, Mark] = {parts_of(text): "added" for text in now.draft.added}
    before = now.base.kept(now.draft.size)
    for text in now.draft.cut:
        key = parts_of(text)
        if before[now.base.place(key)]:
            marks[key] = "cut"
    return marks


def words_of(now: Edited) -> str:
    """How large the circuit is, and what of it is not drawn or leads nowhere."""
    edges, total = int(now.kept.sum()), now.base.graph.n_edges
    loose, nodes = edges - int(now.pruned.sum()), int(nodes_of(now).sum())
    parts = [f"{whole(edges)} of {whole(total)} edges, {whole(nodes)} nodes"]
    if loose:
        parts.append(f"{whole(loose)} on no path from the embedding to the logits, which count for nothing")
    if edges > MOST_EDGES:
        parts.append(f"the {whole(MOST_EDGES)} strongest are drawn")
    return "; ".join(parts)


def nodes_of(now: Edited) -> Bool[np.ndarray, " node"]:
    """Which nodes of the graph have an edge of the circuit."""
    there = np.zeros(len(now.base.graph.nodes), dtype=bool)
    there[:-1] |= now.kept.any(axis=1)
    there[now.base.graph.targets[now.kept.any(axis=0)]] = True
    return there


def curve_of(result: Result | None, inputs: Mapping[str, Any], state: State, now: Edited) -> dict[str, Any] | None:
    """The faithfulness curve of an evaluation of the same prompts, metric and ablation; None without one."""
    if result is None or result.experiment.analysis != "circuit_evaluation" or CURVE not in result.grids:
        return None
    asked, params = result.experiment, result.experiment.params
    same = params["ablation"] == state.outside and str(asked.model) == state.model and asked.inputs == inputs
    if not same:
        return None
    grid = result.grids[CURVE]
    counts = shares_of([float(size) for size in grid.coords["size"]], now.base.graph.n_edges)
    lines = {"value": grid, "low": _beside(result, CURVE, "low"), "high": _beside(result, CURVE, "high")}
    lines |= {"random": result.grids.get(RANDOM), "random_low": _beside(result, RANDOM, "low"),
              "random_high": _beside(result, RANDOM, "high")}  # fmt: skip
    return {"size": list(counts)} | {name: _values(line) for name, line in lines.items()}


def _beside(result: Result, name: str, end: str) -> Grid | None:
    return result.grids.get(f"{name}_{end}")


def _values(grid: Grid | None) -> list[float | None] | None:
    if grid is None:
        return None
    known = np.ones(grid.values.shape, bool) if grid.valid is None else np.asarray(grid.valid)
    return [float(value) if there else None for value, there in zip(grid.values, known, strict=True)]
