"""Circuits from files: our own JSON, edge lists as CSV, and what other tools publish. Nothing in them is evaluated.

A file is an edge list in one of several wrappings, and every wrapping may use any of the notations of
`analyses.circuit_names`:

    our JSON       {"nodes": […], "edges": [{"source", "target", "channel", "score"}], "size", "method"}, or a result
                   that holds it; with "labels", "groups" and "pinned" where somebody wrote them
    EAP-IG, MIB    {"cfg": {…}, "nodes": {…}, "edges": {"a0.h1->a2.h3<q>": {"score": 0.1, "in_graph": true}}}
    ACDC           [[[receiver, index, sender, index], score], …], as its `subgraph` saved as JSON
    edge list      ["m0->a2.h3<v>", …], or {"m0->a2.h3<v>": 0.1}, or [{"source", "target", "channel", "score"}, …]
    CSV            columns source, target, channel, score; or edge, score

An edge that a file marks as absent (`in_graph`, `present`: false) is left out. Where it marks all edges so, it holds
scores alone, and `size` says how many of the highest are taken. Every error names the entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from pydantic import ValidationError

from analyses.circuit import EMBED, Circuit, Graph
from analyses.circuit_entries import FORMATS, MOST_ENTRIES, Entry, entries_of, entries_of_csv, json_of
from analyses.circuit_names import End, end
from analyses.circuit_notes import Annotations
from analyses.experiment import describe
from hooks.errors import SpecError

MOST_BYTES = 128 << 20


@dataclass(frozen=True)
class Imported:
    """A circuit from a file, and what a reader should know of how it came to be."""

    circuit: Circuit
    notes: tuple[str, ...] = ()


def import_circuit(data: bytes, graph: Graph, *, size: int | None = None) -> Imported:
    """The circuit in a file, of the model whose graph is given.

    size: take this many edges of highest absolute score, instead of those that the file marks as in the circuit; edges
    that are on no path from the embedding to the logits go after the cut. Raises SpecError that names the entry.
    """
    text = _text(data)
    if not text.lstrip().startswith(("{", "[")):
        return _built(entries_of_csv(text), graph, "edge list", size)
    spec = _unwrapped(json_of(text))
    if _is_own(spec):
        return _own(spec, graph, size)
    if isinstance(spec, dict) and "cfg" in spec:
        _check_eap(spec, graph)
        return _built(entries_of(spec.get("edges")), graph, "EAP-IG graph", size)
    listed = spec.get("edges", spec) if isinstance(spec, dict) else spec
    return _built(entries_of(listed), graph, "edge list", size)


def annotations_in(data: bytes) -> Annotations:
    """What our JSON of a circuit, or of a result that holds it, says beside its nodes.

    Raises SpecError for another file, and for one that says nothing.
    """
    spec = _unwrapped(json_of(_text(data)))
    if not _is_own(spec):
        raise SpecError("the file is no circuit in our JSON, which alone holds labels.", FORMATS)
    circuit = parse_circuit(spec)
    if not circuit.annotated:
        raise SpecError("the circuit in the file has no labels, groups or pins.", "Save one from the Circuits page.")
    return circuit.on(circuit.nodes)


def _text(data: bytes) -> str:
    if len(data) > MOST_BYTES:
        raise SpecError(f"the file is {len(data) >> 20} MB; circuits of up to {MOST_BYTES >> 20} MB are read.", FORMATS)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError("the file is no UTF-8 text.", f"Pickled and .pt files are not read. {FORMATS}") from error


def _unwrapped(spec: Any) -> Any:
    """The circuit of a result, anything else as it is."""
    return spec["circuit"] if isinstance(spec, dict) and isinstance(spec.get("circuit"), dict) else spec


def _is_own(spec: Any) -> bool:
    return isinstance(spec, dict) and "method" in spec and isinstance(spec.get("edges"), list)


def parse_circuit(spec: Any) -> Circuit:
    """A circuit in our JSON form. Raises SpecError that names the entry."""
    try:
        return Circuit.model_validate(spec)
    except ValidationError as error:
        said = describe(error).rstrip(".").removeprefix("the value: ")
        where = "circuit." if error.errors()[0]["loc"] else "the circuit: "
        raise SpecError(f"{where}{said}.", FORMATS) from error


def _own(spec: Mapping[str, Any], graph: Graph, size: int | None) -> Imported:
    circuit = parse_circuit(spec)
    own = Graph(graph.info, keys=circuit.keys, whole=graph.whole, silent=graph.silent)
    kept = own.kept(circuit)
    for place, text in enumerate(circuit.nodes):
        if text not in own.node_index:
            raise SpecError(f"circuit.nodes.{place}: {text} is no node of this model.", FORMATS)
    if size is None:
        return Imported(circuit)
    smaller, notes = _cut(own, kept, own.scores(circuit), circuit.method, size)
    return Imported(smaller.saying(circuit.on(smaller.nodes)), notes)


def _check_eap(spec: Mapping[str, Any], graph: Graph) -> None:
    """Raises SpecError for a graph of another model, or of neurons."""
    sizes = spec["cfg"] if isinstance(spec["cfg"], dict) else {}
    ours = {"n_layers": graph.info.n_layers, "n_heads": graph.info.n_heads, "parallel_attn_mlp": graph.info.parallel}
    for name, value in ours.items():
        if name in sizes and sizes[name] != value:
            raise SpecError(f"cfg.{name} is {sizes[name]!r:.40}, this model's is {value}.", "Name the circuit's model.")
    nodes = spec.get("nodes")
    for name, about in nodes.items() if isinstance(nodes, dict) else ():
        held = about.get("neurons") if isinstance(about, dict) else None
        if isinstance(held, list) and not all(held):
            raise SpecError(
                f"node {name[:80]} has some of its neurons alone in the circuit.", "Import a graph of whole nodes."
            )


def _built(entries: Iterable[Entry], graph: Graph, kind: str, size: int | None) -> Imported:
    """The circuit that entries make. Raises SpecError that names the first entry that does not fit."""
    shape = graph.allowed.shape
    kept, scores, seen = np.zeros(shape, bool), np.zeros(shape), dict[tuple[int, int], Entry]()
    inner, absent, merged, unscored = 0, 0, 0, 0
    ends = cache(partial(end, graph=graph))
    for number, entry in enumerate(entries):
        if number >= MOST_ENTRIES:
            raise SpecError(f"the file holds more than {MOST_ENTRIES:,} edges.", FORMATS)
        place = _place(entry, graph, ends)
        if place is None:
            inner += 1
            continue
        if place in seen:
            # The token and the position embeddings, which other tools keep apart, are one node of ours.
            same = (entry.source, entry.target) == (seen[place].source, seen[place].target)
            if same or graph.writers[place[0]] != EMBED:
                raise SpecError(f"{entry.where} is the same edge as {seen[place].where}.", "List every edge once.")
            merged += 1
        seen[place] = entry
        score = entry.number()
        unscored += score is None
        scores[place] += score or 0.0
        kept[place] |= entry.kept()
        absent += not entry.kept()
    if not seen:
        raise SpecError("the file holds no edges.", FORMATS)
    notes = [
        f"left out as steps inside a node: {inner}" if inner else "",
        f"joined, since token and position embeddings are one node: {merged}" if merged else "",
        f"left out as the file marks them absent: {absent}" if absent and size is None else "",
    ]
    return _chosen(graph, kept, scores, f"imported {kind}", size, unscored == len(seen), tuple(filter(None, notes)))


def _chosen(
    graph: Graph, kept: np.ndarray, scores: np.ndarray, method: str, size: int | None, unscored: bool,
    notes: tuple[str, ...],
) -> Imported:  # fmt: skip
    if size is not None:
        circuit, more = _cut(graph, graph.allowed, scores, method, size)
        return Imported(circuit, notes + more)
    if not kept.any():
        raise SpecError(
            "the file marks no edge as part of the circuit: it holds scores alone.",
            "Say how many edges of highest absolute score are the circuit: --size 200.",
        )
    return Imported(graph.circuit(kept, method, None if unscored else scores), notes)


def _cut(
    graph: Graph, among: np.ndarray, scores: np.ndarray, method: str, size: int
) -> tuple[Circuit, tuple[str, ...]]:
    """The `size` edges of highest absolute score, pruned."""
    if size < 1:
        raise SpecError(f"a circuit of {size} edges is none.", "Give a size of at least 1.")
    top = graph.top(np.where(among, scores, 0.0), size) & among & (scores != 0)
    kept = graph.prune(top)
    gone = int(top.sum() - kept.sum())
    if not kept.any():
        raise SpecError(f"no path from the embedding to the logits is among {size} edges.", "Take more edges.")
    note = f"of the {int(top.sum())} edges taken, on no path from the embedding to the logits and left out: {gone}"
    return graph.circuit(kept, method, scores), (note,) if gone else ()


def _place(entry: Entry, graph: Graph, named: Callable[[str], End]) -> tuple[int, int] | None:
    """Writer and reader of an entry; None for a step inside a node. Raises SpecError that names the entry."""
    try:
        ends = named(entry.source), named(entry.target)
    except SpecError as error:
        raise SpecError(f"{entry.where}: {error.message}", error.hint) from error
    sides = {which.side for which in ends}
    if "inner" in sides or (ends[0].node == ends[1].node and "either" not in sides):
        return None
    # The names of hook points say who sends, in whichever order a file lists the two.
    turned = ends[0].side == "receives" or ends[1].side == "sends"
    source, target = reversed(ends) if turned else ends
    if len({source.side, target.side} - {"either"}) == 1 and "either" not in sides:
        raise SpecError(f"{entry.where}: both ends {source.side.removesuffix('s')}.", FORMATS)
    channel = _channel(entry, target)
    reader = graph.reader_index.get((target.node, channel))
    writer = graph.node_index[source.node]
    if reader is None or writer >= graph.heard[reader]:
        raise SpecError(
            f"{entry.where}: {source.node} → {target.node} ({channel}) is no edge of this model.",
            f"It has {graph.n_edges:,} edges, all downstream; heads of one layer do not hear each other.",
        )
    return writer, reader


def _channel(entry: Entry, target: End) -> str:
    given, said = entry.channel, target.channel
    if given and said and given != said:
        raise SpecError(
            f"{entry.where}: the channel is '{given[:20]}', but {entry.target.strip()[:80]} is its {said}.", FORMATS
        )
    if not (given or said) and target.node.endswith(("attn_out", "]")):
        raise SpecError(f"{entry.where}: an edge into a head needs its channel.", "q, k or v, as in a2.h3<q>.")
    return given or said or "in"
