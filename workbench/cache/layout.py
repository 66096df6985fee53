"""The HDF5 format in one place: paths, attributes, chunks, text, number types. Described for readers in
docs/activation-files.md."""

from __future__ import annotations

import json
from typing import Any

import h5py
import numpy as np

from hooks.sites import Site

FORMAT = "workbench-activations"
VERSION = 1
SUFFIX = ".h5"
ACTIVATIONS = "activations"
IDS, MASK, SPECIAL, STRINGS = "tokens/ids", "tokens/mask", "tokens/special", "tokens/strings"
SIDES = "sides"
PROVENANCE = "provenance"
TOKEN_AXES = ("batch", "pos")
# A chunk is read whole; beyond this size one prompt (or one head) is split along its first position axis.
CHUNK_BYTES = 64 << 20


def path_of(site: Site) -> str:
    """Where a site's array is inside the file."""
    return f"{ACTIVATIONS}/{site}"


def side_mask(stack: str) -> str:
    """Where the mask of the positions of another stack is, such as the encoder's."""
    return f"{SIDES}/{stack}/mask"


def chunks_of(site: Site, shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """The chunk that one look at a site needs: one prompt, one head where there are heads, all positions."""
    axes = site.axes
    single = ("batch", "head", "kv_head")
    chunk = [1 if axis in single else max(1, size) for axis, size in zip(axes, shape, strict=True)]
    first = next(i for i, axis in enumerate(axes) if axis in ("pos", "q_pos", "k_pos"))
    row = int(np.prod(chunk, dtype=np.int64)) // chunk[first] * itemsize
    chunk[first] = max(1, min(chunk[first], CHUNK_BYTES // max(1, row)))
    return tuple(chunk)


def write_json(file: h5py.File, path: str, value: Any) -> None:
    """Store `value` as JSON in a dataset of bytes.

    A dataset, since attributes hold at most 64 kB; bytes, since HDF5 strings refuse NUL characters; ASCII JSON, since
    UTF-8 refuses half of a surrogate pair. All three come back as they were.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False).encode("ascii")
    file.create_dataset(path, data=np.frombuffer(text, dtype=np.uint8), dtype=np.uint8)
    file[path].attrs["encoding"] = "json"


def read_json(file: h5py.File, path: str) -> Any:
    """The value that `write_json` stored."""
    return json.loads(file[path][()].tobytes())


def label_axes(dataset: h5py.Dataset, axes: tuple[str, ...]) -> None:
    """Name the axes of a dataset with HDF5 dimension labels."""
    for dimension, axis in zip(dataset.dims, axes, strict=True):
        dimension.label = axis


def widened(values: np.ndarray, dtype: str) -> np.ndarray:
    """Stored numbers as float32, exactly: float16 is widened, bfloat16 is the upper half of a float32."""
    if dtype == "bfloat16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32, copy=False)
