"""Results as files: every form is a pure function from a Result to a name, a media type and bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from analyses.grid import Grid
from analyses.result import Result
from hooks.errors import SpecError
from workbench.export import bundle, circuit, csv, figure, html, json, notebook, script
from workbench.export.names import base, safe

Theme = Literal["light", "dark"]
Maker = Callable[[Result, Grid | None, Theme], str | bytes]


@dataclass(frozen=True)
class Export:
    """A file to be: its name, its media type, its content."""

    name: str
    media: str
    data: bytes


@dataclass(frozen=True)
class Form:
    """A form of export. of_grid: it shows one grid, or the circuit as drawn, rather than the whole result."""

    title: str
    suffix: str
    media: str
    make: Maker
    of_grid: bool = False


def _whole(make: Callable[[Result], str | bytes]) -> Maker:
    """A form that shows all grids, in no theme."""
    return lambda result, grid, theme: make(result)


def _image(form: figure.ImageForm) -> Maker:
    return lambda result, grid, theme: figure.image(result, grid, form, theme)


FORMS: Mapping[str, Form] = MappingProxyType(
    {
        "bundle": Form("Bundle: numbers, figures, report, replay", "zip", "application/zip", _whole(bundle.bundle)),
        "json": Form("JSON", "json", "application/json", _whole(json.result_json)),
        "csv": Form("CSV, one row per cell", "csv", "text/csv", _whole(csv.result_csv)),
        "html": Form("Report, one offline page", "html", "text/html", lambda r, g, theme: html.page(r, theme)),
        "svg": Form("Figure as SVG", "svg", "image/svg+xml", _image("svg"), of_grid=True),
        "pdf": Form("Figure as PDF", "pdf", "application/pdf", _image("pdf"), of_grid=True),
        "png": Form("Figure as PNG", "png", "image/png", _image("png"), of_grid=True),
        "script": Form("Python script that checks the numbers", "py", "text/x-python", _whole(script.script)),
        "notebook": Form("Jupyter notebook", "ipynb", "application/x-ipynb+json", _whole(notebook.notebook)),
    }
)
CIRCUIT_FORMS: Mapping[str, Form] = MappingProxyType(
    {
        "graphml": Form("Circuit as GraphML", "graphml", "application/graphml+xml", _whole(circuit.graphml_of)),
        "dot": Form(
            "Circuit as DOT (Graphviz)", "dot", "text/vnd.graphviz", lambda r, g, theme: circuit.dot_of(r, theme)
        ),
    }
)
DRAWN = "circuit"
"""What a figure form may show beside the grids of a result: its circuit, drawn."""
MODEL_FORMS = ("checkpoint", "vectors")
"""Forms for which the model is opened: `workbench.export.checkpoint`, `workbench.export.vectors`."""


def forms_of(result: Result) -> Mapping[str, Form]:
    """The forms that a result has without its model."""
    return {**FORMS, **CIRCUIT_FORMS} if circuit.has_circuit(result) else FORMS


def export(result: Result, form: str, *, grid: str | None = None, theme: Theme = "light") -> Export:
    """The result as a file. grid: which grid a figure shows, or "circuit"; without it the circuit found, or the first.

    Raises SpecError for an unknown form or grid, WorkbenchError for an image where no Chromium can draw.
    """
    forms = forms_of(result)
    if form in CIRCUIT_FORMS and form not in forms:
        raise SpecError(f"{form} is a form of circuits, and this result holds none.", f"Its forms: {', '.join(FORMS)}.")
    if form in MODEL_FORMS:
        raise SpecError(f"{form} needs the model itself.", f"`workbench export RESULT --as {form}` opens it.")
    if form not in forms:
        raise SpecError(f"unknown export form '{form}'.", f"Forms: {', '.join(forms)}.")
    wanted = forms[form]
    shown = _shown(result, grid)
    made = wanted.make(result, shown, theme)
    data = made if isinstance(made, bytes) else made.encode("utf-8", "replace")
    name = f"{base(result)}-{safe(shown.name if shown else DRAWN)}" if wanted.of_grid else base(result)
    return Export(f"{name}.{wanted.suffix}", wanted.media, data)


def _shown(result: Result, grid: str | None) -> Grid | None:
    """The grid that a figure shows; None for the circuit."""
    if grid == DRAWN and DRAWN not in result.grids and circuit.has_circuit(result):
        return None
    if grid is None and result.circuit is not None and "circuit" not in result.experiment.params:
        return None
    return result.grid(grid or next(iter(result.grids)))
