"""Where an edited circuit starts: a search with its scores, or a circuit from a file; and how large it may be made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from analyses.circuit import EMBED, LOGITS, Circuit, Graph, Keys
from analyses.circuit_formats import parse_circuit
from analyses.circuit_mask import Mask
from analyses.grid import Grid
from analyses.result import Result
from hooks.errors import SpecError
from hooks.info import ModelInfo
from hooks.sites import Part
from workbench.circuit_draft import Draft, edited

Unit = Literal["edge", "node"]


@dataclass(frozen=True, eq=False)
class Base:
    """A graph, the circuit that was found in it, and the scores by which it grows and shrinks.

    key: what it is, so that it can be kept. scores: of edges, 0 where none is known. rank: of edges or of nodes, in the
    order of the graph's writers; −∞ for those that no size brings in. usual: the size that was found.
    """

    key: str
    graph: Graph
    found: Circuit
    scores: Float[np.ndarray, "writer reader"]
    rank: Float[np.ndarray, writer * reader]
    unit: Unit
    usual: int

    @property
    def most(self) -> int:
        """The largest size."""
        return int(np.isfinite(self.rank).sum())

    @property
    def resizable(self) -> bool:
        """Whether anything tells which edges come first."""
        return self.most > 1 and float(np.ptp(self.rank[np.isfinite(self.rank)])) > 0

    def kept(self, size: int | None) -> Mask:
        """The edges of a size, pruned; those that were found for None."""
        if size is None or not self.resizable:
            return self.graph.kept(self.found)
        count = min(size, self.most)
        if self.unit == "edge":
            return self.graph.prune(self.graph.top(self.rank, count, by="signed"))
        order = np.argsort(-self.rank, kind="stable")[:count]
        nodes = {self.graph.writers[at] for at in order}
        return self.graph.prune(self.graph.between({EMBED, LOGITS} | nodes))

    def edited(self, draft: Draft) -> Mask:
        """The edges of a draft. Raises SpecError for edges that the graph does not have."""
        return edited(self.graph, self.kept(draft.size), draft)

    def circuit(self, kept: Mask, draft: Draft) -> Circuit:
        """The edited circuit, with what is known of its edges' scores and written beside its nodes."""
        method = f"{self.found.method}, edited" if draft.reshaped else self.found.method
        known = np.where(self.scored, self.scores, np.nan)
        made = self.graph.circuit(kept, method, np.nan_to_num(known), task=self.found.task)
        made = made.saying(draft.over(self.found).on(made.nodes))
        unscored = kept & ~self.scored
        if not unscored.any():
            return made
        edges = tuple(
            edge.model_copy(update={"score": None}) if unscored[self.place(edge.key)] else edge for edge in made.edges
        )
        return made.model_copy(update={"edges": edges})

    @property
    def scored(self) -> Mask:
        """The edges that have a score."""
        if self.unit == "node":
            return np.zeros(self.graph.allowed.shape, dtype=bool)
        return np.isfinite(self.rank)

    def place(self, key: tuple[str, str, Any]) -> tuple[int, int]:
        """Where an edge of this graph is in its arrays."""
        source, target, channel = key
        return self.graph.node_index[source], self.graph.reader_index[target, channel]


def base_of_search(result: Result, info: Mapping[str, Any]) -> Base:
    """Of a circuit_search. info: the model's sizes. Raises SpecError for a result that is none."""
    params, grid = result.experiment.params, result.grid("score")
    if result.circuit is None:
        raise SpecError("this result holds no circuit.", "Find one with Find circuit.")
    found = parse_circuit(result.circuit)
    graph = graph_of(info, _writers(grid), found.keys)
    if params["level"] == "node":
        rank = _order(grid.values, params["rank"])
        return Base(result.id, graph, found, np.zeros(graph.allowed.shape), rank, "node", _nodes(found))
    scores = _laid_out(grid, graph)
    known = graph.kept(found) if params["method"] == "acdc" else graph.allowed
    rank = np.where(known, _order(scores, params["rank"]), -np.inf)
    return Base(result.id, graph, found, np.where(known, scores, 0.0), rank, "edge", found.size)


def base_of_circuit(key: str, circuit: Circuit, info: Mapping[str, Any], sites: Iterable[str] = ()) -> Base:
    """Of a circuit from elsewhere: it shrinks by its own edges' scores. sites: addresses that the model has.

    Raises SpecError for a circuit that does not fit.
    """
    graph = graph_of(info, sites, circuit.keys)
    scores, kept = graph.scores(circuit), graph.kept(circuit)
    known = np.zeros(kept.shape, dtype=bool)
    for edge in circuit.edges:
        known[graph.node_index[edge.source], graph.reader_index[edge.target, edge.channel]] = edge.score is not None
    rank = np.where(known, np.abs(scores), -np.inf)
    return Base(key, graph, circuit, scores, rank, "edge", circuit.size)


def graph_of(info: Mapping[str, Any], names: Iterable[str], keys: Keys) -> Graph:
    """The graph of a model by its sizes. names: its writers or sites, which say what the layers have."""
    parts = [Part.parse(name).site for name in names]
    sizes = ModelInfo.model_validate(info)
    if not parts:
        return Graph(sizes, keys=keys)
    heads = {site.layer for site in parts if site.name == "z"}
    whole = {site.layer for site in parts if site.name == "attn_out"} - heads
    loud = {site.layer for site in parts if site.name == "mlp_out"}
    silent = [layer for layer in range(sizes.n_layers) if layer not in loud]
    return Graph(sizes, keys=keys, whole=[layer for layer in whole if layer is not None], silent=silent)


def _writers(grid: Grid) -> list[str]:
    """The writers that a search's scores are of."""
    named = grid.coords.get("writer") or grid.coords.get("node") or grid.coords["source"]
    return list(dict.fromkeys(map(str, named)))


def _laid_out(grid: Grid, graph: Graph) -> np.ndarray:
    """Scores of edges [writer reader], 0 where there is no edge."""
    if grid.dims == ("writer", "reader"):
        return np.where(graph.allowed, grid.values, 0.0)
    scores = np.zeros(graph.allowed.shape)
    scores[np.nonzero(graph.allowed.T)[::-1]] = grid.values
    return scores


def _order(scores: np.ndarray, rank: str) -> np.ndarray:
    return np.abs(scores) if rank == "absolute" else np.asarray(scores, dtype=float)


def _nodes(found: Circuit) -> int:
    """How many nodes a circuit has beside the two ends that all have."""
    return len(set(found.nodes) - {EMBED, LOGITS})
