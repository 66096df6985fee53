"""The forms in which a circuit is written without a result: as it was edited, or as a file held it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType

from analyses.circuit import Circuit
from hooks.errors import SpecError
from workbench.export.circuit import circuit_json, dot, edge_list, graphml
from workbench.figures import theme as themes
from workbench.figures.report_drawings import circuit_file

VARIABLE = re.compile(r"var\(--wb-([\w-]+)\)")


@dataclass(frozen=True)
class CircuitForm:
    """write: the text, given the circuit and what it is of, by name, as `workbench.export.circuit.facts` says it."""

    media: str
    write: Callable[[Circuit, Mapping[str, str]], str]


def written(circuit: Circuit, form: str, about: Mapping[str, str]) -> str:
    """A circuit in one of `CIRCUIT_FILES`. about: what it is of, such as `title` and `model`.

    Raises SpecError for another form.
    """
    if form not in CIRCUIT_FILES:
        raise SpecError(f"unknown form of a circuit '{form[:20]}'.", f"Forms: {', '.join(CIRCUIT_FILES)}.")
    said = {"method": circuit.method, "task": circuit.task, "keys": circuit.keys, "size": str(circuit.size)}
    return CIRCUIT_FILES[form].write(circuit, {**about, **said})


def svg(circuit: Circuit, about: Mapping[str, str]) -> str:
    """The drawing of the report as a file of its own, in the light theme."""
    title = " · ".join(about[name] for name in ("title", "model", "method") if about.get(name))
    return circuit_file(circuit.model_dump(mode="json"), title, style())


def style(theme: themes.ThemeName = "light") -> str:
    """The style sheet of the drawing with the colours of a theme in place of variables, which few programs know."""
    sheet = files("workbench.export").joinpath("templates/drawing.css").read_text("utf-8")
    coloured = VARIABLE.sub(lambda found: _value(found[1], theme), sheet)
    return f"{coloured}.ground {{ fill: {themes.role('panel', theme)}; }}\n"


def _value(name: str, theme: themes.ThemeName) -> str:
    return themes.MONO if name == "mono" else themes.role(name, theme)


CIRCUIT_FILES: Mapping[str, CircuitForm] = MappingProxyType(
    {
        "json": CircuitForm("application/json", lambda circuit, about: circuit_json(circuit)),
        "csv": CircuitForm("text/csv", lambda circuit, about: edge_list(circuit)),
        "graphml": CircuitForm("application/graphml+xml", graphml),
        "dot": CircuitForm("text/vnd.graphviz", dot),
        "svg": CircuitForm("image/svg+xml", svg),
    }
)
