"""Files that hold circuits, read for a model."""

from __future__ import annotations

from pathlib import Path

from analyses.circuit import Graph
from analyses.circuit_formats import MOST_BYTES, Imported, import_circuit
from hooks.errors import InputError
from hooks.model import Instrumented


def read_circuit(file: Path, model: Instrumented, *, size: int | None = None) -> Imported:
    """The circuit in a file, as one of an open model. Raises InputError for no file, SpecError that names the entry."""
    try:
        with file.open("rb") as opened:
            data = opened.read(MOST_BYTES + 1)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(f"there is no file {file}.", "Give a .json or .csv file; docs/circuits.md.") from error
    return import_circuit(data, Graph.of(model), size=size)
