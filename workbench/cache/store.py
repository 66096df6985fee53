"""The store as the workspace and the engines use it: find a capture by its key, put one, stay under the limit."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from hooks.errors import StoreError
from hooks.sites import Site
from hooks.tokens import TokenBatch
from workbench.cache import keep, layout
from workbench.cache.read import Damaged, Gone, StoredActivations, open_capture
from workbench.cache.write import remove_stale_parts, write_capture

KEY = re.compile(r"^[0-9a-f]{8,64}$")
# The disk keeps a little more than the arrays: HDF5's own tables, and room for everybody else.
RESERVE_BYTES = 64 << 20


class Store:
    """Captures in one folder. Several processes may use it at once: files are only ever added whole and removed."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self.warnings: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)
        remove_stale_parts(folder)

    def path(self, key: str) -> Path:
        """The file of a capture. Raises StoreError for a text that is no key."""
        if not KEY.match(key):
            raise StoreError(f"'{key}' is not the key of a capture.", "Keys are hexadecimal digits.")
        return self.folder / f"{key}{layout.SUFFIX}"

    def find(self, key: str) -> StoredActivations | None:
        """The capture, or None. A damaged file is set aside, named in `warnings`, and counts as absent."""
        path = self.path(key)
        try:
            found = open_capture(path, key)
        except Gone:
            return None
        except Damaged as error:
            self.warnings.append(f"{error.message} {error.hint}")
            return None
        _touch(path)
        return found

    def check_room(self, need_bytes: int) -> None:
        """Raises StoreError, with both numbers, when the disk cannot take that much. Ask before computing."""
        free = shutil.disk_usage(self.folder).free
        if need_bytes + RESERVE_BYTES > free:
            raise StoreError(
                f"no space left: this capture needs {need_bytes / 1e6:,.0f} MB in {self.folder}, "
                f"{free / 1e6:,.0f} MB are free.",
                "Capture fewer sites or prompts, free some space, or set WORKBENCH_WORKSPACE to another disk.",
            )

    def put(
        self,
        key: str,
        batch: TokenBatch,
        captured: Iterable[tuple[Site, Tensor]],
        provenance: Mapping[str, Any],
        *,
        need_bytes: int = 0,
    ) -> StoredActivations:
        """Write a capture and read it back, making room under the limit. Raises StoreError; nothing partial stays."""
        keep.evict(self.folder, self.limit_bytes, coming_bytes=need_bytes)
        write_capture(self.path(key), key, batch, captured, provenance)
        keep.evict(self.folder, self.limit_bytes)
        written = self.find(key)
        if written is None:
            raise StoreError(f"the capture {key} could not be read back.", "The disk may be failing; check it.")
        return written


def _touch(path: Path) -> None:
    """Note that the capture was used now."""
    try:
        os.utime(path)
    except OSError:  # read-only for us, or just evicted: the order of eviction is all that suffers
        return
