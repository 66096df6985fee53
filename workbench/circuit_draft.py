"""Draft: a circuit as somebody has edited it: what was changed about the circuit that was found, never the whole of it.

An edge is written source>target>channel, such as L0.mlp_out>L3.z[head=5]>q. Of the edges that a size keeps, those at a
node that was cut go, then those that were cut; those that were added stay whatever else is said of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from analyses.circuit import Edge, Graph, node
from analyses.circuit_mask import Mask
from analyses.circuit_notes import LONGEST_TEXT, Annotations
from analyses.experiment import describe
from hooks.errors import SpecError
from hooks.spec import Spec

MOST_EDITS = 20_000
Label = Annotated[str, Field(max_length=LONGEST_TEXT)]
Names = Annotated[tuple[str, ...], Field(max_length=MOST_EDITS)]


class Draft(Spec):
    """size: how many edges (or nodes) of highest score, None as many as were found. cut, added: edges; gone: nodes.

    labels, groups, pinned: as the annotations of a circuit, over those of the one that was found; there a text of ""
    takes its label or group from a node, and what is unpinned its mark.
    """

    size: int | None = Field(default=None, ge=0)
    cut: Names = ()
    added: Names = ()
    gone: Names = ()
    labels: dict[str, Label] = Field(default_factory=dict)
    groups: dict[str, Label] = Field(default_factory=dict)
    pinned: Names = ()
    unpinned: Names = ()

    @property
    def plain(self) -> bool:
        """Whether nothing is changed."""
        return self == Draft()

    @property
    def reshaped(self) -> bool:
        """Whether the edges are changed, rather than what is written beside the nodes alone."""
        return self.size is not None or bool(self.cut or self.added or self.gone)

    def over(self, found: Annotations) -> Annotations:
        """The annotations of a circuit after the draft's own."""
        pinned = dict.fromkeys((*found.pinned, *self.pinned))
        return Annotations(
            labels={node: text for node, text in {**found.labels, **self.labels}.items() if text},
            groups={node: text for node, text in {**found.groups, **self.groups}.items() if text},
            pinned=tuple(node for node in pinned if node not in self.unpinned),
        )

    def text(self) -> str:
        """The draft as an address holds it; "" where nothing is changed."""
        return "" if self.plain else self.model_dump_json(exclude_defaults=True)


def parse_draft(text: str) -> Draft:
    """The draft that `text()` wrote. Raises SpecError."""
    if not text:
        return Draft()
    try:
        return Draft.model_validate_json(text)
    except ValidationError as error:
        raise SpecError(
            f"the edits of the circuit cannot be read: {describe(error)}", "Find the circuit again."
        ) from error


class Resize(Spec):
    op: Literal["size"]
    size: int = Field(ge=0)


class OfEdge(Spec):
    op: Literal["cut", "add"]
    edge: str


class OfEdges(Spec):
    op: Literal["add_all"]
    edges: Names


class OfNode(Spec):
    op: Literal["cut_node", "pin", "unpin"]
    node: str


class Named(Spec):
    op: Literal["label", "group"]
    node: str
    text: str = Field(max_length=LONGEST_TEXT)


class Clear(Spec):
    op: Literal["clear"]


Change = Annotated[Resize | OfEdge | OfEdges | OfNode | Named | Clear, Field(discriminator="op")]
_CHANGE: TypeAdapter[Resize | OfEdge | OfEdges | OfNode | Named | Clear] = TypeAdapter(Change)


def changed(draft: Draft, change: Mapping[str, Any], found: Annotations | None = None) -> Draft:
    """The draft after one change, such as {"op": "cut", "edge": "embed>logits>in"}. Raises SpecError.

    found: what the circuit that is edited says beside its nodes already; nothing where it is None.
    """
    try:
        wanted = _CHANGE.validate_python(dict(change))
        fields = _after(draft, wanted, found or Annotations())
        return Draft.model_validate({**draft.model_dump(), **fields})
    except ValidationError as error:
        raise SpecError(f"this change of the circuit is not known: {describe(error)}", "Reload the page.") from error


def _after(draft: Draft, change: Any, found: Annotations) -> dict[str, Any]:
    """The fields that a change gives a draft."""
    match change:
        case Resize():
            return {"size": change.size}
        case OfEdge(op="cut"):
            return {"cut": _with(draft.cut, edge_text(*parts_of(change.edge))),
                    "added": _without(draft.added, change.edge)}  # fmt: skip
        case OfEdge():
            return _added(draft, (change.edge,))
        case OfEdges():
            return _added(draft, change.edges)
        case OfNode(op="cut_node"):
            name = node(change.node)
            touching = {edge for edge in draft.added if name in parts_of(edge)[:2]}
            return {"gone": _with(draft.gone, name), "added": tuple(e for e in draft.added if e not in touching)}
        case OfNode(op="pin"):
            name, unpinned = node(change.node), _without(draft.unpinned, change.node)
            return {"unpinned": unpinned, "pinned": draft.pinned if name in found.pinned else _with(draft.pinned, name)}
        case OfNode():
            unpinned = _with(draft.unpinned, change.node) if change.node in found.pinned else draft.unpinned
            return {"unpinned": unpinned, "pinned": _without(draft.pinned, change.node)}
        case Named():
            field = "labels" if change.op == "label" else "groups"
            held = {**getattr(draft, field), node(change.node): " ".join(change.text.split())}
            before = getattr(found, field)
            return {field: {name: text for name, text in held.items() if text != before.get(name, "")}}
    return Draft().model_dump()


def _added(draft: Draft, edges: tuple[str, ...]) -> dict[str, Any]:
    added, cut = draft.added, draft.cut
    for edge in edges:
        added, cut = _with(added, edge_text(*parts_of(edge))), _without(cut, edge)
    return {"added": added, "cut": cut}


def _with(held: tuple[str, ...], name: str) -> tuple[str, ...]:
    return held if name in held else (*held, name)


def _without(held: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(other for other in held if other != name)


def edge_text(source: str, target: str, channel: str) -> str:
    """An edge as drafts and addresses write it."""
    return f"{source}>{target}>{channel}"


def parts_of(text: str) -> tuple[str, str, str]:
    """Source, target and channel of such a text. Raises SpecError."""
    parts = text.split(">")
    try:
        edge = Edge.model_validate(dict(zip(("source", "target", "channel"), parts, strict=True)))
    except (ValueError, SpecError) as error:
        raise SpecError(
            f"'{text[:80]}' is no edge.", "Write source>target>channel, such as embed>logits>in."
        ) from error
    return edge.key


def edited(graph: Graph, kept: Mask, draft: Draft) -> Mask:
    """The edges of a draft, given those that its size keeps. Raises SpecError for edges that are none of the graph."""
    after = kept.copy()
    nodes = np.array(graph.nodes)
    gone = np.isin(nodes, draft.gone)
    after[gone[:-1]] = False
    after[:, gone[graph.targets]] = False
    for edges, there in ((draft.cut, False), (draft.added, True)):
        for text in edges:
            after[place(graph, text)] = there
    return after


def place(graph: Graph, text: str) -> tuple[int, int]:
    """Where an edge is in a graph's arrays. Raises SpecError for one that it does not have."""
    source, target, channel = parts_of(text)
    writer, reader = graph.node_index.get(source), graph.reader_index.get((target, channel))
    if writer is None or reader is None or writer >= graph.heard[reader]:
        raise SpecError(f"{source} → {target} ({channel}) is no edge of this model.", "Choose two of its nodes.")
    return writer, reader
