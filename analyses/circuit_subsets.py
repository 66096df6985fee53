"""Completeness and minimality of a circuit: what taking nodes out of it, and out of the model, does.

completeness    |F(C∖K) − F(M∖K)| should be small for every set K of the circuit's nodes
minimality      for each node v there should be a K without it for which |F(C∖(K∪{v})) − F(C∖K)| is large

To take a node out is to cut every edge that starts or ends there. No search over all K is possible: sets are drawn at
random, given as classes, or found greedily, so what is found is a lower bound of the worst incompleteness, and of each
node's minimality.

Source: Wang et al. 2022, arXiv 2211.00593, section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from analyses.circuit import EMBED, LOGITS, Graph
from analyses.circuit_run import CircuitRuns, Mask

Told = Callable[[int], None]


def without(graph: Graph, kept: Mask, nodes: Collection[str]) -> Mask:
    """The kept edges that neither start nor end at any of some nodes, pruned."""
    left = ~np.isin(np.array(graph.nodes), list(nodes))
    return graph.prune(kept & left[:-1, None] & left[graph.targets])


def removable(graph: Graph, kept: Mask) -> tuple[str, ...]:
    """The nodes of a circuit that can be taken out: all but the embedding and the logits."""
    ends = {graph.writers[place] for place in np.flatnonzero(kept.any(axis=1))}
    ends |= {graph.readers[place].target for place in np.flatnonzero(kept.any(axis=0))}
    return tuple(text for text in graph.nodes if text in ends - {EMBED, LOGITS})


def random_sets(nodes: Sequence[str], count: int, rng: np.random.Generator) -> list[tuple[str, ...]]:
    """Sets that hold each node with probability 1/2, and no set twice in a row of draws."""
    drawn = (tuple(node for node, held in zip(nodes, rng.random(len(nodes)) < 0.5, strict=True) if held)
             for _ in range(4 * count))  # fmt: skip
    return list(dict.fromkeys(one for one in drawn if one))[:count]


@dataclass(frozen=True, eq=False)
class Subsets:
    """Sets K of nodes by name, and the metric of the circuit and of the model without each, [set prompt]."""

    names: tuple[str, ...]
    nodes: tuple[tuple[str, ...], ...]
    circuit: Float[np.ndarray, "set prompt"]
    model: Float[np.ndarray, "set prompt"]


def taken_out(runs: CircuitRuns, kept: Mask, sets: Mapping[str, tuple[str, ...]], told: Told | None = None) -> Subsets:
    """The circuit and the model without each set."""
    graph = runs.graph
    masks = [without(graph, whole, nodes) for whole in (kept, graph.allowed) for nodes in sets.values()]
    if not masks:
        nothing = np.zeros((0, len(runs.batch)))
        return Subsets((), (), nothing, nothing)
    values = runs.values(np.stack(masks), told=told)
    return Subsets(tuple(sets), tuple(sets.values()), values[: len(sets)], values[len(sets) :])


def greedy_set(
    runs: CircuitRuns, kept: Mask, rng: np.random.Generator, *, steps: int = 10, candidates: int = 10
) -> tuple[str, ...]:
    """A set grown node by node, each the one of some candidates that makes the circuit least complete.

    It ends after `steps` nodes, or where no candidate makes it less complete.
    """
    chosen: tuple[str, ...] = ()
    worst = -1.0
    for _ in range(steps):
        free = [node for node in removable(runs.graph, kept) if node not in chosen]
        if not free:
            break
        drawn = rng.permutation(len(free))[:candidates]
        sets = {free[place]: (*chosen, free[place]) for place in drawn}
        found = taken_out(runs, kept, sets)
        apart = np.abs((found.circuit - found.model).mean(axis=1))
        if apart.max() <= worst:
            break
        worst, chosen = float(apart.max()), found.nodes[int(apart.argmax())]
    return chosen


def minimality(
    runs: CircuitRuns, kept: Mask, classes: Sequence[Collection[str]] = (), told: Told | None = None
) -> tuple[tuple[str, ...], Float[np.ndarray, "node prompt"]]:
    """For each node, F(C∖(K∪{v})) − F(C∖K) of each prompt, for that K whose mean is farthest from 0.

    The sets that are tried are the empty one and the rest of each class that the node is in.
    """
    nodes, graph = removable(runs.graph, kept), runs.graph
    tried = [(v, frozenset(k) - {v}) for v in nodes for k in ((), *(one for one in classes if v in one))]
    tried = list(dict.fromkeys(tried))
    if not tried:
        return (), np.zeros((0, len(runs.batch)))
    wanted = list(dict.fromkeys(one for v, k in tried for one in (k, k | {v})))
    values = runs.values(np.stack([without(graph, kept, one) for one in wanted]), told=told)
    place = {one: number for number, one in enumerate(wanted)}
    found: dict[str, np.ndarray] = {}
    for v, k in tried:
        change = values[place[k | {v}]] - values[place[k]]
        if v not in found or abs(change.mean()) > abs(found[v].mean()):
            found[v] = change
    return nodes, np.stack([found[v] for v in nodes])
