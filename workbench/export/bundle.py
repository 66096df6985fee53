"""A result as one zip: everything that a reader needs who has never seen the workbench, and the script to replay it."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from plotly.offline import get_plotlyjs

from analyses.analysis import sentence
from analyses.result import Result
from hooks.errors import WorkbenchError
from workbench.export import circuit, csv, html, json, notebook, script
from workbench.export.figure import circuit_picture, images, picture
from workbench.export.names import base, safe
from workbench.figures.intervals import separate
from workbench.grids import write_grids

README = """{sentence}

model     {model}
result    {id}
computed  {started}

experiment.json     what was asked; `workbench run experiment.json` computes it again
result.json         the grids with their axes, units and meanings, and where the numbers come from
grids.h5            the grids as HDF5: one group per grid, axes as dimension labels, missing values False in `valid`
csv/*.csv           one row per cell, axis names as columns; an empty value is a missing one
csv/tokens.csv      the tokens as fed
{circuit}figures/*           each grid as a picture ({figures})
report.html         all of it on one page, offline
replay.py           runs the experiment and asserts the stored numbers (needs the workbench)
replay.ipynb        the same as a notebook

In the CSV files a text cell that begins with = + - @ tab, carriage return or ' has one ' in front of it, so that no
spreadsheet runs it; drop that one ' to get the text back. Numbers are as they are.
"""
CIRCUIT = """circuit.json        the circuit alone, as `params.circuit` of an evaluation takes it
circuit.csv         its edges, one per row
circuit.graphml     it as GraphML, circuit.dot as DOT; figures/circuit.* as drawn
"""
# Equal results give equal bytes: no clock in the archive.
STAMP = (1980, 1, 1, 0, 0, 0)


def bundle(result: Result) -> bytes:
    """The zip. Where no Chromium can draw, the SVG figures are left out and the README says so."""
    out = io.BytesIO()
    folder = base(result)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in _files(result):
            entry = zipfile.ZipInfo(f"{folder}/{name}", STAMP)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            # Prompts may hold half a character, which UTF-8 cannot.
            archive.writestr(entry, content if isinstance(content, bytes) else content.encode("utf-8", "replace"))
    return out.getvalue()


def _files(result: Result) -> Iterator[tuple[str, str | bytes]]:
    yield "experiment.json", json.experiment_json(result)
    yield "result.json", json.result_json(result)
    yield "grids.h5", _hdf5(result)
    yield "figures/plotly.min.js", get_plotlyjs()
    yield "csv/tokens.csv", csv.tokens_csv(result)
    for grid in result.grids.values():
        yield f"csv/{safe(grid.name)}.csv", csv.grid_csv(grid)
    for grid in separate(result.grids):
        yield f"figures/{safe(grid.name)}.html", html.figure_page(picture(result, grid))
    if circuit.has_circuit(result):
        yield from _circuit_files(result)
    drawings, words = _drawings(result)
    yield from drawings
    yield "report.html", html.page(result)
    yield "replay.py", script.script(result)
    yield "replay.ipynb", notebook.notebook(result)
    about = CIRCUIT if circuit.has_circuit(result) else ""
    facts = {
        "circuit": about,
        "model": result.experiment.model,
        "id": result.id,
        "started": result.provenance.started,
        "figures": words,
    }
    yield "README.txt", README.format(sentence=sentence(result.experiment), **facts)


def _drawings(result: Result) -> tuple[list[tuple[str, bytes]], str]:
    """The SVG files, and what the README says of the figures."""
    try:
        shown = separate(result.grids)
        drawn = [picture(result, grid) for grid in shown]
        graphs = [circuit_picture(result)] if circuit.has_circuit(result) else []
        files = images([*drawn, *graphs], "svg")
    except WorkbenchError as error:
        return [], f"HTML only: {error.message}"
    names = [f"figures/{safe(grid.name)}.svg" for grid in shown] + ["figures/circuit.svg" for _ in graphs]
    return list(zip(names, files, strict=True)), "SVG, and HTML that any browser shows offline"


def _circuit_files(result: Result) -> Iterator[tuple[str, str]]:
    """The circuit in its own forms."""
    found = circuit.circuit_of(result)
    yield "circuit.json", circuit.circuit_json(found)
    yield "circuit.csv", circuit.edge_list(found)
    yield "circuit.graphml", circuit.graphml_of(result)
    yield "circuit.dot", circuit.dot_of(result)
    yield "figures/circuit.html", html.figure_page(circuit_picture(result))


def _hdf5(result: Result) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "grids.h5"
        write_grids(path, result.grids.values())
        return path.read_bytes()
