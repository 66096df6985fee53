"""Which edges of a graph a circuit keeps, as a short text, for requests and addresses."""

from __future__ import annotations

import base64
import binascii
import zlib

import numpy as np
from jaxtyping import Bool

from hooks.errors import SpecError

Mask = Bool[np.ndarray, "writer reader"]


def packed(kept: Mask) -> str:
    """The mask as text: its bits row by row, compressed, in base64."""
    return base64.b64encode(zlib.compress(np.packbits(kept).tobytes(), 9)).decode("ascii")


def unpacked(text: str, shape: tuple[int, ...]) -> Mask:
    """The mask of a given shape that `packed` wrote. Raises SpecError for a text that is none of this shape."""
    size = int(np.prod(shape))
    most = (size + 7) // 8
    try:
        # One byte more than fits, so that a longer one is noticed without being unpacked whole.
        found = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), most + 1)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise SpecError("the edges that are kept cannot be read.", "Take them from `packed`.") from error
    if len(found) != most:
        raise SpecError("the edges that are kept are those of another graph.", "Name the circuit's own model.")
    return np.unpackbits(np.frombuffer(found, np.uint8), count=size).astype(bool).reshape(shape)
