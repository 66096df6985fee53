"""A bundle read back: the result in the zip that `export --as bundle` writes."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from analyses.result import Result
from hooks.errors import StoreError
from workbench.results import GRIDS, RESULT, read_folder

MOST_BYTES = 4 << 30
"""What the two files that are read may take unpacked."""


def read_bundle(path: Path) -> Result:
    """The result in a bundle, with its numbers in memory. Nothing else of the zip is unpacked. Raises StoreError."""
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            for name in (RESULT, GRIDS):
                entry = _entry(archive, name, path)
                with archive.open(entry) as packed, (folder / name).open("wb") as plain:
                    shutil.copyfileobj(packed, plain)
            found = read_folder(folder)
            grids = {name: replace(grid, values=np.asarray(grid.values[...])) for name, grid in found.grids.items()}
            return replace(found, grids=grids)
    except zipfile.BadZipFile as error:
        raise StoreError(f"{path.name} is no zip, or a damaged one.", "Export the bundle again.") from error


def _entry(archive: zipfile.ZipFile, name: str, path: Path) -> zipfile.ZipInfo:
    """The one file of that name in the bundle's folder."""
    found = [entry for entry in archive.infolist() if PurePosixPath(entry.filename).name == name]
    if len(found) != 1:
        raise StoreError(f"{path.name} holds no result: it has {len(found)} files {name}.", "Give a bundle.")
    if found[0].file_size > MOST_BYTES:
        raise StoreError(
            f"{name} in {path.name} would take {found[0].file_size / 2**30:.1f} GiB.",
            f"Bundles of up to {MOST_BYTES >> 30} GiB are read.",
        )
    return found[0]
