"""Images that users gave: decoded once to be sure of them, then kept under the name of their content.

`WORKSPACE/images/<sha256>.<png|jpg|npy>`. A page's address carries that name alone, never a path, so that no address
reaches another file. Nothing is unpickled; what is too large is refused before it is decoded.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from hooks.errors import InputError
from hooks.prompts import ImagePrompt, Prompt, PromptSet
from workbench.cache.write import replacing

NAME = re.compile(r"[0-9a-f]{64}\.(?:png|jpg|npy)")
MOST_BYTES = 8 << 20
MOST_PIXELS = 16 << 20
MOST_VALUES = 4 << 20
FORMATS = {"PNG": "png", "JPEG": "jpg"}
NUMPY = b"\x93NUMPY"
SAMPLE_SIDE = 96
HINT = "Give a PNG or JPEG picture, or a .npy array with channels first."


class Images:
    """The images of one workspace."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, content: bytes) -> str:
        """Keep a PNG, JPEG or NPY file; gives its name. Raises InputError for one that is damaged or too large."""
        name = f"{hashlib.sha256(content).hexdigest()}.{_checked(content)}"
        path = self._folder / name
        if not path.is_file():
            with replacing(path) as part:
                part.write_bytes(content)
        return name

    def path(self, name: str) -> Path:
        """Where an image is. Raises InputError for a name of another form, or of an image that is not there."""
        path = self._folder / name
        if not NAME.fullmatch(name) or not path.is_file():
            raise InputError("this image is not in the workspace.", "Give it again, or take the sample image.")
        return path

    def located(self, inputs: PromptSet) -> PromptSet:
        """The prompts with the names of kept images as their paths. Raises InputError for one that is not there."""
        return inputs.model_copy(update={"prompts": tuple(map(self._prompt, inputs.prompts))})

    def _prompt(self, prompt: Prompt) -> Prompt:
        if isinstance(prompt, ImagePrompt) and prompt.image is not None and NAME.fullmatch(prompt.image):
            return prompt.model_copy(update={"image": str(self.path(prompt.image))})
        return prompt

    def sample(self, shape: Sequence[int]) -> str:
        """The name of a made-up input of this shape, channels first: a drawn picture, a random code, or noise."""
        return self.put(drawn()) if len(shape) == 3 and shape[0] == 3 else self.random(shape)

    def random(self, shape: Sequence[int], seed: int = 0) -> str:
        """The name of a random input of this shape, channels first."""
        return self.put(noise(shape, seed))


def _checked(content: bytes) -> str:
    """The ending of a file whose content is sound. Raises InputError."""
    if len(content) > MOST_BYTES:
        raise InputError(
            f"the file has {len(content) / (1 << 20):.1f} MiB; at most {MOST_BYTES >> 20} MiB are taken.", HINT
        )
    return _checked_array(content) if content.startswith(NUMPY) else _checked_picture(content)


def _checked_array(content: bytes) -> str:
    try:
        values = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError, MemoryError) as error:
        raise InputError("the array cannot be read: it is damaged, or holds objects.", HINT) from error
    if values.dtype.kind not in "fiub" or values.ndim not in (2, 3) or not 0 < values.size <= MOST_VALUES:
        shape = " × ".join(map(str, values.shape)) or "no"
        raise InputError(
            f"the array has {shape} values of type {values.dtype}.",
            f"Give numbers, channels first, three axes (two for sound), at most {MOST_VALUES:,} values.",
        )
    if not np.isfinite(values.astype(np.float32)).all():
        raise InputError("the array holds values that are not numbers.", "Replace them.")
    return "npy"


def _checked_picture(content: bytes) -> str:
    try:
        with warnings.catch_warnings():
            # A picture just above Pillow's own limit is only warned about; ours is lower.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(content), formats=list(FORMATS))
        if picture.width * picture.height > MOST_PIXELS:
            raise InputError(
                f"the picture has {picture.width} × {picture.height} pixels; at most {MOST_PIXELS:,} are taken.",
                "Make it smaller: the model scales it down anyway.",
            )
        picture.convert("RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        raise InputError("the file is no picture that can be read.", HINT) from error
    return FORMATS[str(picture.format)]


def drawn(side: int = SAMPLE_SIDE) -> bytes:
    """A PNG test picture: a disc and a square before a sky and a field, so that places can be told apart."""
    rows, columns = np.mgrid[0:side, 0:side] / side
    picture = np.stack([120 + 90 * rows, 170 + 50 * rows, 235 - 40 * rows], axis=-1)
    picture[rows > 0.68] = (96, 140, 72)
    picture[(rows - 0.32) ** 2 + (columns - 0.3) ** 2 < 0.03] = (250, 200, 60)
    picture[(rows > 0.45) & (rows < 0.8) & (columns > 0.55) & (columns < 0.85)] = (170, 60, 50)
    file = io.BytesIO()
    Image.fromarray(picture.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def noise(shape: Sequence[int], seed: int = 0) -> bytes:
    """An NPY array: a random one-hot code over several channels of a picture, normal noise otherwise."""
    generator = np.random.default_rng(seed)
    if len(shape) == 3 and shape[0] not in (1, 3):
        chosen = generator.integers(shape[0], size=tuple(shape[1:]))
        values = (np.arange(shape[0])[:, None, None] == chosen).astype(np.float32)
    else:
        values = generator.normal(size=tuple(shape)).astype(np.float32)
    file = io.BytesIO()
    np.save(file, values, allow_pickle=False)
    return file.getvalue()
