"""A circuit as GraphML, as DOT and as an edge list: graphs that other programs open; of a result, or as it is edited.

Nodes and edges are named, never numbered by place. GraphML and DOT say with the graph what it is of: model, metric,
method, result and tokens; texts of a user stand there as text, escaped by each format's own rules.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

from analyses.analysis import sentence
from analyses.circuit import Circuit
from analyses.circuit_formats import parse_circuit
from analyses.circuit_notes import Annotations
from analyses.result import Result
from hooks.errors import SpecError
from hooks.sites import Part
from workbench.figures import theme as themes

NAMESPACE = "http://graphml.graphdrawing.org/xmlns"
# XML 1.0 has no form at all for these, not even escaped; prompts may hold them.
UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
NODE_KEYS = {"node": "string", "kind": "string", "layer": "int", "head": "int"}
NOTE_KEYS = {"label": "string", "group": "string", "pinned": "boolean"}
EDGE_KEYS = {"channel": "string", "score": "double", "sign": "string"}
KINDS = {"embed": "embedding", "z": "head", "attn_out": "attention", "mlp_out": "mlp", "logits": "logits"}
WIDEST = 5.0


def circuit_of(result: Result) -> Circuit:
    """The circuit of a result. Raises SpecError where it holds none."""
    spec = result.circuit or result.experiment.params.get("circuit")
    if not isinstance(spec, Mapping):
        raise SpecError(
            f"this {result.experiment.analysis} holds no circuit.", "Export a circuit_search or circuit_evaluation."
        )
    return parse_circuit(spec)


def has_circuit(result: Result) -> bool:
    """Whether a result is of a circuit: one that it found, or one that it was asked to judge."""
    return isinstance(result.circuit or result.experiment.params.get("circuit"), Mapping)


def annotated(result: Result, notes: Annotations) -> Result:
    """A result whose circuit has these annotations, as far as they are of its nodes, over its own.

    Raises SpecError where it holds no circuit.
    """
    circuit = circuit_of(result)
    own = notes.on(circuit.nodes)
    both = Annotations(
        labels={**circuit.labels, **own.labels},
        groups={**circuit.groups, **own.groups},
        pinned=tuple(dict.fromkeys((*circuit.pinned, *own.pinned))),
    )
    return replace(result, circuit=circuit.saying(both).model_dump(mode="json"))


def facts(result: Result, circuit: Circuit) -> dict[str, str]:
    """What a circuit is of, by name, in reading order."""
    made = result.provenance
    return {
        "title": sentence(result.experiment),
        "model": str(result.experiment.model),
        "model_hash": made.model_hash,
        "tokenizer_hash": made.tokenizer_hash,
        "dtype": made.dtype,
        "analysis": result.experiment.analysis,
        "method": circuit.method,
        "task": circuit.task,
        "keys": circuit.keys,
        "size": str(circuit.size),
        "params": json.dumps({name: x for name, x in result.experiment.params.items() if name != "circuit"}),
        "seed": str(made.seed),
        "tokens": json.dumps(made.model_dump(mode="json")["tokens"]),
        "strings": json.dumps(made.model_dump(mode="json")["strings"], ensure_ascii=False),
        "versions": json.dumps(made.versions),
        "result": result.id,
        "started": made.started,
    }


def graphml_of(result: Result) -> str:
    """A result's circuit as `graphml`. Raises SpecError where it holds none."""
    circuit = circuit_of(result)
    return graphml(circuit, facts(result, circuit))


def dot_of(result: Result, theme: themes.ThemeName = "light") -> str:
    """A result's circuit as `dot`. Raises SpecError where it holds none."""
    circuit = circuit_of(result)
    return dot(circuit, facts(result, circuit), theme)


def graphml(circuit: Circuit, about: Mapping[str, str]) -> str:
    """A circuit as GraphML, as networkx, Gephi, yEd and igraph read it. about: what it is of, as data of the graph.

    A node's id is its name in the letters that XML allows for ids, such as L3.z.5; its data hold the name itself.
    """
    root = ElementTree.Element("graphml", {"xmlns": NAMESPACE})
    node_keys = NODE_KEYS | NOTE_KEYS if circuit.annotated else NODE_KEYS
    keys = {"graph": dict.fromkeys(about, "string"), "node": node_keys, "edge": EDGE_KEYS}
    for scope, names in keys.items():
        for name, kind in names.items():
            written = {"id": f"{scope}.{name}", "for": scope, "attr.name": name, "attr.type": kind}
            ElementTree.SubElement(root, "key", written)
    graph = ElementTree.SubElement(root, "graph", {"id": "circuit", "edgedefault": "directed"})
    _data(graph, "graph", about)
    for node in circuit.nodes:
        part = Part.parse(node)
        named: dict[str, Any] = {
            "node": node,
            "kind": KINDS[part.site.name],
            "layer": part.site.layer,
            "head": part.head,
            "label": circuit.labels.get(node),
            "group": circuit.groups.get(node),
            "pinned": "true" if node in circuit.pinned else None,
        }
        _data(ElementTree.SubElement(graph, "node", {"id": _xml_id(node)}), "node", named)
    for number, edge in enumerate(circuit.edges):
        ends = {"id": f"e{number}", "source": _xml_id(edge.source), "target": _xml_id(edge.target)}
        said = {"channel": edge.channel, "score": edge.score, "sign": _sign(edge.score)}
        _data(ElementTree.SubElement(graph, "edge", ends), "edge", said)
    ElementTree.indent(root, " ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n"


def _data(element: ElementTree.Element, scope: str, values: Mapping[str, Any]) -> None:
    """Values as data of an element; what is None is left out."""
    for name, value in values.items():
        if value is not None:
            written = repr(value) if isinstance(value, float) else str(value)
            ElementTree.SubElement(element, "data", {"key": f"{scope}.{name}"}).text = UNWRITABLE.sub("\ufffd", written)


def _xml_id(node: str) -> str:
    return node.replace("[head=", ".").replace("]", "")


def _sign(score: float | None) -> str | None:
    if score is None:
        return None
    return "positive" if score > 0 else "negative" if score < 0 else "zero"


def dot(circuit: Circuit, about: Mapping[str, str], theme: themes.ThemeName = "light") -> str:
    """A circuit in Graphviz' language: rows by layer, edges coloured by sign and as wide as their score is large.

    A node's label stands under its name; `group` holds its group, and one that is pinned has a bold frame.
    """
    shown = ("title", "model", "method", "result")
    largest = max((abs(edge.score) for edge in circuit.edges if edge.score is not None), default=0.0)
    ink, ground, line = (themes.role(name, theme) for name in ("text", "panel", "accent"))
    lines = [
        "digraph circuit {",
        f"  graph [rankdir=BT, bgcolor={_quoted(ground)}, fontcolor={_quoted(ink)}, labelloc=t, "
        f"label={_quoted(' · '.join(about[name] for name in shown if name in about))}];",
        f"  node [shape=box, fontname=monospace, color={_quoted(line)}, fontcolor={_quoted(ink)}];",
        f"  edge [fontsize=9, fontcolor={_quoted(ink)}];",
    ]
    rows: dict[tuple[int, str], list[str]] = defaultdict(list)
    for node in circuit.nodes:
        site = Part.parse(node).site
        lines.append(f"  {_quoted(node)}{_attributes(circuit, node)};")
        if site.layer is not None:
            rows[site.layer, site.name].append(node)
    lines += [f"  {{ rank=same; {' '.join(f'{_quoted(node)};' for node in row)} }}" for row in rows.values()]
    for edge in circuit.edges:
        colour = {"positive": "positive", "negative": "negative"}.get(_sign(edge.score) or "", "line-strong")
        width = 1.0 if not largest or edge.score is None else max(0.4, WIDEST * abs(edge.score) / largest)
        score = "" if edge.score is None else f", score={_quoted(repr(edge.score))}"
        lines.append(
            f"  {_quoted(edge.source)} -> {_quoted(edge.target)} [label={_quoted(edge.channel)}, "
            f"color={_quoted(themes.role(colour, theme))}, penwidth={width:.3g}{score}];"
        )
    return "\n".join((*lines, "}")) + "\n"


def _attributes(circuit: Circuit, node: str) -> str:
    """What is written beside a node as DOT attributes; "" where nothing is."""
    said = [
        f"label={_quoted(node, circuit.labels[node])}" if node in circuit.labels else "",
        f"group={_quoted(circuit.groups[node])}" if node in circuit.groups else "",
        'pinned="true", penwidth=3' if node in circuit.pinned else "",
    ]
    written = ", ".join(filter(None, said))
    return f" [{written}]" if written else ""


def _quoted(*lines: str) -> str:
    """A string of DOT. In labels a backslash begins an escape, so it is doubled; line breaks become spaces."""
    plain = ("".join(char if char.isprintable() else " " for char in line) for line in lines)
    return '"' + "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in plain) + '"'


def edge_list(circuit: Circuit) -> str:
    """The edges as CSV: source, target, channel, score (empty where there is none)."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(("source", "target", "channel", "score"))
    writer.writerows((*edge.key, "" if edge.score is None else repr(edge.score)) for edge in circuit.edges)
    return out.getvalue()


def circuit_json(circuit: Circuit) -> str:
    """The circuit alone, as `params.circuit` of an experiment takes it."""
    return json.dumps(circuit.model_dump(mode="json"), allow_nan=False, indent=1) + "\n"
