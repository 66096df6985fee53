"""The residual graph of a model, and circuits: sets of its edges.

A node is what is added to the residual stream: `embed` (token and position embeddings together), a head such as
`L3.z[head=5]`, `L3.mlp_out`, or `L3.attn_out` where heads are normed together before they are added; and `logits`,
which reads the final stream. An edge says who hears whom: its source is a node, its target the node that reads, through
the channel q, k, v (of attention) or in (of an MLP and the logits). Heads of one layer do not hear each other; an MLP
hears the heads of its own layer unless the block is parallel. Keys and values are counted once per query head, as in
Conmy et al. 2023 (arXiv 2304.14997), or with keys="kv_head" once per key/value head: the target is then the first
query head of the group.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple, Self

import numpy as np
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator

from analyses.circuit_notes import Annotations
from hooks.errors import SiteMissing, SpecError
from hooks.info import StackInfo
from hooks.model import Instrumented
from hooks.sites import MAIN, Part, Site
from hooks.spec import Spec

Channel = Literal["q", "k", "v", "in"]
Keys = Literal["query_head", "kv_head"]
Order = Literal["signed", "absolute"]
EMBED, LOGITS = "embed", "logits"
NODE_SITES = (EMBED, "z", "attn_out", "mlp_out", LOGITS)


class Reader(NamedTuple):
    """One input of a node."""

    target: str
    channel: Channel


def node(text: str) -> str:
    """The node that `text` names, as it prints. Raises SpecError, SiteMissing."""
    part = Part.parse(text)
    name, slices = part.site.name, set(part.slices)
    if name not in NODE_SITES or part.site.stack != MAIN or slices != ({"head"} if name == "z" else set()):
        raise SpecError(
            f"'{text}' is not a node of a circuit.",
            "Nodes are embed, L3.z[head=5], L3.attn_out, L3.mlp_out and logits.",
        )
    return str(part)


class Edge(Spec):
    """source → target through a channel. score: what the method that found it says; None where it says nothing."""

    source: str
    target: str
    channel: Channel
    score: float | None = Field(default=None, allow_inf_nan=False)

    @model_validator(mode="after")
    def _direction(self) -> Self:
        source, target = _checked(self.source), _checked(self.target)
        if not source.site < target.site:
            raise ValueError(f"the edge {self.source} → {self.target} does not run downstream")
        inner = target.site.name in ("z", "attn_out")
        if (self.channel == "in") == inner or target.site.name == EMBED:
            raise ValueError(f"{self.target} has no input {self.channel}: attention reads q, k and v, the others in")
        return self

    @property
    def key(self) -> tuple[str, str, Channel]:
        """What the edge is, whatever its score."""
        return self.source, self.target, self.channel


@lru_cache(maxsize=1 << 16)
def _checked(text: str) -> Part:
    """The node as a part; kept, since a circuit names each of its nodes many times. Raises ValueError."""
    try:
        return Part.parse(node(text))
    except (SpecError, SiteMissing) as error:
        raise ValueError(f"{error.message} {error.hint}".strip()) from error


class Circuit(Annotations):
    """Nodes and edges of a model's residual graph; as JSON the form of every result and export.

    size: the number of edges. method: how it was found. keys: how key and value edges are counted. task: what it is a
    circuit of, in words. Annotations are of its nodes.
    """

    nodes: tuple[str, ...]
    edges: tuple[Edge, ...]
    size: int
    method: str
    keys: Keys = Field(default="query_head", exclude_if=lambda keys: keys == "query_head")
    task: str = Field(default="", exclude_if=lambda task: not task)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.size != len(self.edges):
            raise ValueError(f"size is {self.size}, but there are {len(self.edges)} edges")
        nodes = set(self.nodes)
        if len(nodes) != len(self.nodes):
            raise ValueError("a node is listed twice")
        for text in self.nodes:
            _checked(text)
        if len({edge.key for edge in self.edges}) != len(self.edges):
            raise ValueError("an edge is listed twice")
        for edge in self.edges:
            for end in (edge.source, edge.target):
                if end not in nodes:
                    raise ValueError(f"the edge {edge.source} → {edge.target} ends at {end}, which is not among nodes")
        for text in self.annotated:
            if text not in nodes:
                raise ValueError(f"{text[:80]} is labelled, grouped or pinned, and is not among nodes")
        return self


class Graph:
    """All nodes and edges of a model of given sizes, in a fixed order: upstream first; of one layer q, k, v, MLP.

    whole: layers whose attention writes as one node, None where the norm's placement decides (heads add up in pre-norm
    models). silent: layers without an MLP.
    """

    def __init__(
        self,
        info: StackInfo,
        *,
        keys: Keys = "query_head",
        whole: Iterable[int] | None = None,
        silent: Iterable[int] = (),
    ) -> None:
        self.info, self.keys = info, keys
        all_layers = range(info.n_layers)
        self.whole = frozenset(all_layers if info.norm != "pre" else ()) if whole is None else frozenset(whole)
        self.silent = frozenset(silent)

    @classmethod
    def of(cls, model: Instrumented, *, keys: Keys = "query_head") -> Graph:
        """The graph of an open model. Raises SiteMissing where its parts do not add up to its residual stream."""
        layers = range(model.info.n_layers)
        for layer in layers:
            if Site("attn_out", layer) not in model.sites or Site("mixer_out", layer) in model.sites:
                raise SiteMissing(
                    f"layer {layer} of {model.name} has no attention that writes to the stream.",
                    "Circuits are searched in models whose layers are attention and MLPs.",
                )
        whole = [layer for layer in layers if not model.reads.heads_add(layer)]
        silent = [layer for layer in layers if Site("mlp_out", layer) not in model.sites]
        return cls(model.info, keys=keys, whole=whole, silent=silent)

    @cached_property
    def writers(self) -> tuple[str, ...]:
        """Every node but the logits."""
        return (EMBED, *(text for layer in range(self.info.n_layers) for text in self._layer(layer)))

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        return (*self.writers, LOGITS)

    @cached_property
    def readers(self) -> tuple[Reader, ...]:
        """Every input of every node: of each layer the heads' q, their k, their v, the MLP's; last the logits'."""
        found: list[Reader] = []
        for layer in range(self.info.n_layers):
            for channel in ("q", "k", "v"):
                found += [Reader(text, channel) for text in self.attending(layer, channel)]
            found += [Reader(text, "in") for text in self._layer(layer) if text.endswith("mlp_out")]
        return (*found, Reader(LOGITS, "in"))

    def attending(self, layer: int, channel: Channel) -> tuple[str, ...]:
        """The nodes of a layer's attention that have an input of their own on a channel."""
        heads = [text for text in self._layer(layer) if not text.endswith("mlp_out")]
        merged = self.keys == "kv_head" and channel in ("k", "v") and layer not in self.whole
        return tuple(heads[:: self.info.group] if merged else heads)

    def _layer(self, layer: int) -> tuple[str, ...]:
        heads = [f"L{layer}.z[head={head}]" for head in range(self.info.n_heads)]
        attention = [f"L{layer}.attn_out"] if layer in self.whole else heads
        return (*attention, *([] if layer in self.silent else [f"L{layer}.mlp_out"]))

    @cached_property
    def node_index(self) -> dict[str, int]:
        """The place of each node in `nodes`."""
        return {text: place for place, text in enumerate(self.nodes)}

    @cached_property
    def reader_index(self) -> dict[tuple[str, str], int]:
        """The place of each reader in `readers`, by its target and channel."""
        return {(target, channel): place for place, (target, channel) in enumerate(self.readers)}

    @cached_property
    def targets(self) -> Int[np.ndarray, " reader"]:
        """The place in `nodes` of each reader's node."""
        return np.array([self.node_index[reader.target] for reader in self.readers])

    @cached_property
    def heard(self) -> Int[np.ndarray, " reader"]:
        """How many writers each reader hears: these are the first so many of `writers`."""
        first = {text: self.node_index[self._layer(layer)[0]]
                 for layer in range(self.info.n_layers) for text in self._layer(layer)}  # fmt: skip
        own = {text: self.node_index[text] for text in self.writers if text.endswith("mlp_out")}
        mlps = first if self.info.parallel else own
        ends = {"q": first, "k": first, "v": first, "in": {**mlps, LOGITS: len(self.writers)}}
        return np.array([ends[reader.channel][reader.target] for reader in self.readers])

    @cached_property
    def allowed(self) -> Bool[np.ndarray, "writer reader"]:
        """Which writers and readers an edge joins."""
        return np.arange(len(self.writers))[:, None] < self.heard

    @property
    def n_edges(self) -> int:
        return int(self.heard.sum())

    @property
    def n_inner(self) -> int:
        """The edges from a head's q, k and v to the head, which some counts include (arXiv 2304.14997); ours do not."""
        return sum(reader.channel != "in" for reader in self.readers)

    @property
    def edges(self) -> Iterator[tuple[str, str, Channel]]:
        """All edges, reader by reader."""
        for reader, count in zip(self.readers, self.heard, strict=True):
            for source in self.writers[:count]:
                yield source, reader.target, reader.channel

    def kept(self, circuit: Circuit) -> Bool[np.ndarray, "writer reader"]:
        """A circuit's edges as an array. Raises SpecError for one that does not fit this graph."""
        if circuit.keys != self.keys:
            raise SpecError(
                f"this circuit counts keys by {circuit.keys}, the graph by {self.keys}.", "Use the same for both."
            )
        kept = np.zeros(self.allowed.shape, dtype=bool)
        for edge in circuit.edges:
            writer = self.node_index.get(edge.source, len(self.writers))
            reader = self.reader_index.get((edge.target, edge.channel))
            if reader is None or writer >= self.heard[reader]:
                raise SpecError(
                    f"{edge.source} → {edge.target} ({edge.channel}) is no edge of this model.",
                    f"It has {self.info.n_layers} layers of {self.info.n_heads} heads, "
                    f"{'parallel' if self.info.parallel else 'sequential'} blocks, {self.n_edges:,} edges.",
                )
            kept[writer, reader] = True
        return kept

    def scores(self, circuit: Circuit) -> Float[np.ndarray, "writer reader"]:
        """The scores of a circuit's edges as an array, 0 elsewhere and where an edge has none."""
        self.kept(circuit)
        scores = np.zeros(self.allowed.shape)
        for edge in circuit.edges:
            place = self.node_index[edge.source], self.reader_index[edge.target, edge.channel]
            scores[place] = edge.score or 0.0
        return scores

    def circuit(
        self,
        kept: Bool[np.ndarray, "writer reader"],
        method: str,
        scores: Float[np.ndarray, "writer reader"] | None = None,
        *,
        task: str = "",
    ) -> Circuit:
        """The circuit of the kept edges, reader by reader, and of the nodes at their ends."""
        by_reader = np.argwhere((kept & self.allowed).T)
        edges = tuple(
            Edge(
                source=self.writers[writer],
                target=self.readers[reader].target,
                channel=self.readers[reader].channel,
                score=None if scores is None else float(scores[writer, reader]),
            )
            for reader, writer in by_reader
        )
        ends = {end for edge in edges for end in (edge.source, edge.target)}
        nodes = tuple(text for text in self.nodes if text in ends)
        return Circuit(nodes=nodes, edges=edges, size=len(edges), method=method, keys=self.keys, task=task)

    def complement(self, kept: Bool[np.ndarray, "writer reader"]) -> Bool[np.ndarray, "writer reader"]:
        """Every edge that is not kept."""
        return self.allowed & ~kept

    def between(self, nodes: Iterable[str]) -> Bool[np.ndarray, "writer reader"]:
        """Every edge whose both ends are among `nodes`: the circuit that a set of nodes is."""
        chosen = np.isin(np.array(self.nodes), list(nodes))
        return self.allowed & chosen[:-1, None] & chosen[self.targets]

    def top(
        self, scores: Float[np.ndarray, "writer reader"], size: int, *, by: Order = "absolute"
    ) -> Bool[np.ndarray, "writer reader"]:
        """The `size` edges of highest score, before any is pruned; of equal ones the first in the graph's order."""
        rank = np.abs(scores) if by == "absolute" else scores
        places = np.argwhere(self.allowed.T)[:, ::-1]
        order = np.argsort(-rank[tuple(places.T)], kind="stable")[: max(0, size)]
        kept = np.zeros(self.allowed.shape, dtype=bool)
        kept[tuple(places[order].T)] = True
        return kept

    def prune(self, kept: Bool[np.ndarray, "writer reader"]) -> Bool[np.ndarray, "writer reader"]:
        """The kept edges that lie on a path of kept edges from the embedding to the logits."""
        kept, n_nodes = kept & self.allowed, len(self.nodes)
        hears = np.zeros((n_nodes, len(self.writers)), dtype=bool)
        np.logical_or.at(hears, self.targets, kept.T)
        fed, used = np.zeros(n_nodes, dtype=bool), np.zeros(n_nodes, dtype=bool)
        fed[0] = used[-1] = True
        for place in range(1, n_nodes):
            fed[place] = bool((hears[place] & fed[:-1]).any())
        for place in range(n_nodes - 1, 0, -1):
            if used[place]:
                used[:-1] |= hears[place]
        return kept & fed[:-1, None] & used[self.targets]
