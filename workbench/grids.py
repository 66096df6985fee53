"""Grids in HDF5: what a result folder and a running sweep keep their numbers in. No torch is needed to read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from analyses.grid import Grid
from workbench.cache import layout
from workbench.cache.read import reading
from workbench.cache.write import new_file

FORMAT = "workbench-grids"
VERSION = 1
NAMES = "names"
# Grids with more axes than a map are read one map at a time.
MAP_AXES = 2
MINUS = "\N{MINUS SIGN}"


def write_grids(path: Path, grids: Iterable[Grid], *, durable: bool = True) -> None:
    """Write grids to one HDF5 file, whole or not at all; not `durable`: without waiting for the disk.

    Raises StoreError when the disk is full.
    """
    with new_file(path, durable=durable) as file:
        file.attrs["format"] = FORMAT
        file.attrs["version"] = VERSION
        names = []
        for grid in grids:
            _write_grid(file.create_group(f"grids/{grid.name}"), grid)
            names.append(grid.name)
        layout.write_json(file, NAMES, names)


def _write_grid(group: h5py.Group, grid: Grid) -> None:
    about = {
        "dims": list(grid.dims),
        "coords": {dim: list(labels) for dim, labels in grid.coords.items()},
        "unit": grid.unit,
        "baseline": grid.baseline,
        "about": grid.about,
    }
    layout.write_json(group, "about", about)
    arrays = {"values": np.asarray(grid.values, dtype=np.float32)}
    if grid.valid is not None:
        arrays["valid"] = np.asarray(grid.valid, dtype=np.bool_)
    for name, values in arrays.items():
        options: dict[str, Any] = {}
        if values.size and values.ndim:
            lead = max(0, values.ndim - MAP_AXES)
            options = {"chunks": (1,) * lead + values.shape[lead:], "fletcher32": True}
        layout.label_axes(group.create_dataset(name, data=values, dtype=values.dtype, **options), grid.dims)


class StoredGrids(Mapping[str, Grid]):
    """The grids of a file by name; each is read when it is first asked for, then kept."""

    def __init__(self, path: Path) -> None:
        """Raises Gone or Damaged (file set aside) when the file is not a whole set of grids."""
        self._path = path
        self._read: dict[str, Grid] = {}
        with reading(path) as file:
            whole = "complete" in file.attrs and file.attrs["version"] == VERSION
            if not whole or file.attrs["format"] != FORMAT:
                raise ValueError("it is not a finished file of grids")
            self._names: tuple[str, ...] = tuple(layout.read_json(file, NAMES))

    def __getitem__(self, name: str) -> Grid:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._read:
            with reading(self._path) as file:
                self._read[name] = _read_grid(name, file[f"grids/{name}"])
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _read_grid(name: str, group: h5py.Group) -> Grid:
    about = layout.read_json(group, "about")
    return Grid(
        name,
        group["values"][()],
        tuple(about["dims"]),
        {dim: tuple(labels) for dim, labels in about["coords"].items()},
        about["unit"],
        about["baseline"],
        about["about"],
        group["valid"][()] if "valid" in group else None,
    )


def headline(grid: Grid) -> str:
    """A grid in a few words: its value, its cell farthest from the baseline, or the size of a stack of maps."""
    name = grid.name.replace("_", " ")
    if len(grid.dims) > MAP_AXES:
        sizes = zip(grid.dims, np.shape(grid.values), strict=True)
        return f"{name}: " + " × ".join(f"{size} {dim}" for dim, size in sizes)
    top = grid.top(1)
    if not top:
        return name
    cell = top[0]
    value = f"{cell.pop('value'):{'+' if grid.baseline is not None else ''}.3g}".replace("-", MINUS)
    where = ", ".join(f"{dim} {label}" for dim, label in cell.items())
    unit = "" if grid.unit == grid.name else f" {grid.unit}"
    return f"{name} {value}{unit}" + (f" at {where}" if where else "")
