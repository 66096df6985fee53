"""Write one capture: into a temporary file, flushed to the disk, then renamed, so that nobody ever sees half of it."""

from __future__ import annotations

import errno
import io
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from hooks.errors import StoreError
from hooks.sites import Site
from hooks.tokens import TokenBatch
from workbench.cache import layout

PART = ".part"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# A temporary file this old belongs to a process that was killed.
STALE_SECONDS = 3600.0


def write_capture(
    path: Path, key: str, batch: TokenBatch, captured: Iterable[tuple[Site, Tensor]], provenance: Mapping[str, Any]
) -> None:
    """Write `captured` as the store file `path`, site by site, so that no second copy of everything is in memory.

    Raises StoreError when the disk is full or cannot be written; nothing is left behind then.
    """
    with new_file(path) as file:
        file.attrs["format"] = layout.FORMAT
        file.attrs["version"] = layout.VERSION
        file.attrs["key"] = key
        layout.write_json(file, layout.PROVENANCE, dict(provenance))
        _write_tokens(file, batch)
        for site, values in captured:
            _write_site(file, site, values)


@contextmanager
def new_file(path: Path, *, durable: bool = True) -> Iterator[h5py.File]:
    """An HDF5 file to fill; afterwards it is marked complete, synced if `durable`, and takes the place of `path`.

    Raises StoreError when the disk is full; nothing is left behind then.
    """
    with replacing(path, durable=durable) as part, part.open("w+b", buffering=0) as raw:
        sink = _Sink(raw)
        with h5py.File(sink, "w", libver=("earliest", "v110")) as file:
            yield file
            file.flush()
            sink.check()
            file.attrs["complete"] = True
        sink.check()


class _Sink(io.RawIOBase):
    """A file for HDF5 to write to whose writes never fail: the first error is kept, and later writes are dropped.

    HDF5 2.0 crashes the process when a write fails while it closes a file, as on a full disk.
    """

    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw
        self._error: OSError | None = None

    def check(self) -> None:
        """Raises the error that a write met."""
        if self._error is not None:
            raise self._error

    def write(self, block: Any) -> int:
        """All of `block`, or the pretence of it once a write has failed."""
        rest = memoryview(block).cast("B")
        whole = len(rest)
        try:
            while self._error is None and len(rest):
                rest = rest[self._raw.write(rest) :]
        except OSError as error:
            self._error = error
        return whole

    def truncate(self, size: int | None = None) -> int:
        """Set the length of the file, if the disk lets us."""
        try:
            return self._raw.truncate(size)
        except OSError as error:
            self._error = self._error or error
            return size or 0

    def readable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def readinto(self, block: Any) -> int | None:
        """See `io.RawIOBase`."""
        return self._raw.readinto(block)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """See `io.RawIOBase`."""
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        """See `io.RawIOBase`."""
        return self._raw.tell()


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary path beside `path` to write to; afterwards it takes the place of `path`, synced first if `durable`.

    Raises StoreError for a full or read-only disk. Whatever is raised inside, no temporary file is left.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}{PART}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        if durable:
            _sync(part)
        os.replace(part, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> StoreError:
    """The StoreError for an operating system's refusal to write `path`."""
    if error.errno in FULL:
        return StoreError(
            f"no space left on the disk that holds {path.parent}.",
            "Free some space, lower WORKBENCH_STORE_LIMIT, or choose another folder with WORKBENCH_WORKSPACE.",
        )
    reason = error.strerror or error
    return StoreError(f"{path} could not be written: {reason}.", "Check the folder and its permissions.")


def remove_stale_parts(folder: Path) -> None:
    """Remove temporary files that a killed process left in `folder`."""
    for part in folder.glob(f"*{PART}"):
        try:
            if time.time() - part.stat().st_mtime > STALE_SECONDS:
                part.unlink()
        except FileNotFoundError:  # its writer was only slow, and has finished
            continue


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_tokens(file: h5py.File, batch: TokenBatch) -> None:
    arrays = (
        (layout.IDS, batch.ids.numpy().astype(np.int64)),
        (layout.MASK, batch.mask.numpy().astype(np.bool_)),
        (layout.SPECIAL, batch.special.numpy().astype(np.bool_)),
    )
    for path, values in arrays:
        layout.label_axes(file.create_dataset(path, data=values, dtype=values.dtype), layout.TOKEN_AXES)
    layout.write_json(file, layout.STRINGS, [list(row) for row in batch.strings])
    for name, side in batch.sides.items():
        mask = file.create_dataset(layout.side_mask(name), data=side.mask.numpy().astype(np.bool_), dtype=np.bool_)
        layout.label_axes(mask, layout.TOKEN_AXES)


def _write_site(file: h5py.File, site: Site, values: Tensor) -> None:
    values = values.detach().to("cpu").contiguous()
    dtype = str(values.dtype).removeprefix("torch.")
    # HDF5 has no bfloat16: the same 16 bits travel as an unsigned integer, and the attribute says what they are.
    array = values.view(torch.uint16).numpy() if values.dtype == torch.bfloat16 else values.numpy()
    dataset = file.create_dataset(
        layout.path_of(site),
        data=array,
        dtype=array.dtype,
        chunks=layout.chunks_of(site, array.shape, array.dtype.itemsize),
        fletcher32=True,
    )
    dataset.attrs["site"] = str(site)
    dataset.attrs["dtype"] = dtype
    layout.label_axes(dataset, site.axes)
