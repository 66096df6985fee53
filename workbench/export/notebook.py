"""A result as a Jupyter notebook: the replay script in cells, with the figures."""

from __future__ import annotations

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from analyses.result import Result
from workbench.export import script

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
HEADING = """# One result of the workbench, again

Run all cells: they rebuild the experiment, run it on the same model and assert that the numbers are the stored ones."""
FIGURES = """from workbench.figures import auto
from workbench.figures.intervals import separate

for grid in separate(result.grids):
    auto.figure(grid, title=grid.name, beside=result.grids).show()"""
CIRCUIT = """from workbench.figures.graph import graph

graph(result.circuit, title="circuit").show()"""


def notebook(result: Result) -> str:
    """The notebook as JSON (format 4)."""
    code = [
        f"{script.imports(result)}\n\n\n{script.DECODE}",
        script.experiment_code(result),
        script.stored_code(result),
        script.RUN,
        script.compare(result),
        FIGURES,
        *([] if result.circuit is None else [CIRCUIT]),
    ]
    cells = [new_markdown_cell(HEADING), *(new_code_cell(source) for source in code)]
    for number, cell in enumerate(cells):
        cell["id"] = f"{result.id[:8]}-{number}"
    return str(nbformat.writes(new_notebook(cells=cells, metadata={"kernelspec": KERNEL})))
