"""Pictures of what an image model gets, as PNG, and where its patches lie."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from workbench.figures.theme import OKABE_ITO

HUES = np.array([[int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in OKABE_ITO], dtype=np.uint8)


def picture_of(values: np.ndarray) -> bytes:
    """A PNG of an input [channel row column] or [channel time], its range stretched over all brightnesses.

    Three channels are red, green and blue, one is grey; of any other number the largest of each place gives the hue.
    """
    planes = (values if values.ndim == 3 else values[None]).astype(np.float32)
    if len(planes) in (1, 3):
        low, high = float(planes.min()), float(planes.max())
        shown = np.rint((planes - low) / ((high - low) or 1.0) * 255).astype(np.uint8)
        colours = np.moveaxis(np.repeat(shown, 3 // len(planes), axis=0), 0, -1)
    else:
        colours = HUES[planes.argmax(axis=0) % len(HUES)]
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(colours)).save(file, "PNG")
    return file.getvalue()


def channel_hues(channels: int) -> list[str]:
    """The colour of each channel in `picture_of`, where channels are drawn as hues; empty for grey and for RGB."""
    return [] if channels in (1, 3) else [OKABE_ITO[n % len(OKABE_ITO)] for n in range(channels)]
