"""Files that hold circuits: read for a model, or for what is written beside their nodes."""

from __future__ import annotations

from pathlib import Path

from analyses.circuit import Graph
from analyses.circuit_formats import MOST_BYTES, Imported, annotations_in, import_circuit
from analyses.circuit_notes import Annotations
from hooks.errors import InputError
from hooks.model import Instrumented


def read_circuit(file: Path, model: Instrumented, *, size: int | None = None) -> Imported:
    """The circuit in a file, as one of an open model. Raises InputError for no file, SpecError that names the entry."""
    return import_circuit(_read(file), Graph.of(model), size=size)


def read_annotations(file: Path) -> Annotations:
    """The labels, groups and pins of the circuit in a file of ours. Raises InputError for no file, SpecError."""
    return annotations_in(_read(file))


def _read(file: Path) -> bytes:
    """A file, as far as one byte more than is read of any."""
    try:
        with file.open("rb") as opened:
            return opened.read(MOST_BYTES + 1)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(f"there is no file {file}.", "Give a .json or .csv file; docs/circuits.md.") from error
