"""Images from users: decoded to be sure of them, kept under their content's name, never reached by another name."""

from __future__ import annotations

import io
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hooks.errors import InputError
from hooks.prompts import ImagePrompt, PromptSet
from workbench import urls
from workbench.figures.pictures import channel_hues, picture_of
from workbench.images import MOST_BYTES, Images, drawn, noise
from workbench.parts.prompt_image import decoded


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return Images(tmp_path / "images")


def npy(values: np.ndarray, *, allow_pickle: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, values, allow_pickle=allow_pickle)
    return file.getvalue()


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return file.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header states a huge size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(header)) + chunk + struct.pack(">I", zlib.crc32(chunk))


def test_the_same_content_has_one_name_and_is_kept_as_it_came(images: Images) -> None:
    content = png(5, 4)
    name = images.put(content)
    assert name == images.put(content)
    assert name.endswith(".png") and images.path(name).read_bytes() == content
    assert images.put(npy(np.zeros((5, 1, 41)))).endswith(".npy")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GIF89a....",
        drawn()[:400],
        npy(np.zeros((2, 2, 2, 2))),
        npy(np.array(["a", "b"])),
        npy(np.full((3, 2, 2), np.nan)),
        npy(np.zeros((3, 4, 4)))[:100],
        b"x" * (MOST_BYTES + 1),
        png_that_claims(60_000, 60_000),
    ],
    ids=["empty", "another kind", "cut short", "four axes", "texts", "nan", "npy cut short", "large", "bomb"],
)
def test_what_is_no_sound_image_is_refused_with_a_hint_and_not_kept(
    images: Images, content: bytes, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        images.put(content)
    assert caught.value.hint
    assert not list(tmp_path.rglob("*.*"))


def test_c45_an_array_of_objects_is_refused_without_running_it(images: Images, tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (str(tmp_path / "ran"),))

    with pytest.raises(InputError):
        images.put(npy(np.array([Runs()], dtype=object), allow_pickle=True))
    with pytest.raises(InputError):
        images.put(pickle.dumps(np.zeros((3, 2, 2))))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name", ["../x.png", "/etc/passwd", "a/../../b.npy", "..", "", "x.png", f"{'0' * 64}.svg", f"{'0' * 64}.png/.."]
)
def test_c45_a_name_of_another_form_reaches_no_file(images: Images, name: str) -> None:
    with pytest.raises(InputError):
        images.path(name)
    assert urls.read(f"?image={name}").image == ""


def test_a_name_is_only_found_in_its_own_workspace(images: Images, tmp_path: Path) -> None:
    name = images.put(png(2, 2))
    inputs = PromptSet(prompts=(ImagePrompt(image=name), "a text"))
    found = images.located(inputs).prompts[0]
    assert isinstance(found, ImagePrompt) and found.image == str(images.path(name))
    with pytest.raises(InputError):
        Images(tmp_path / "other").located(inputs)


def test_samples_have_the_shape_of_the_model_and_are_the_same_every_time(images: Images) -> None:
    assert drawn() == drawn()
    code = np.load(io.BytesIO(noise((5, 1, 41), seed=3)))
    assert code.shape == (5, 1, 41)
    np.testing.assert_array_equal(code.sum(axis=0), np.ones((1, 41)))
    assert not np.array_equal(code, np.load(io.BytesIO(noise((5, 1, 41), seed=4))))
    assert np.load(io.BytesIO(noise((8, 20)))).shape == (8, 20)
    assert images.sample((3, 8, 8)).endswith(".png") and images.random((3, 8, 8)).endswith(".npy")


def test_a_picture_stretches_its_range_and_draws_many_channels_as_hues() -> None:
    grey = np.array(Image.open(io.BytesIO(picture_of(np.array([[[-1.0, 0.0, 1.0]]])))))
    assert grey[0, :, 0].tolist() == [0, 128, 255]
    code = np.zeros((5, 1, 2))
    code[1, 0, 0] = code[4, 0, 1] = 1
    hues = np.array(Image.open(io.BytesIO(picture_of(code))))
    expected = [channel_hues(5)[1], channel_hues(5)[4]]
    assert ["#" + bytes(pixel).hex() for pixel in hues[0]] == expected
    assert channel_hues(3) == []


def test_an_upload_is_what_the_browser_sent() -> None:
    assert decoded("data:image/png;base64,aGk=") == b"hi"
    for wrong in ("", "data:image/png;base64,####", "hello"):
        with pytest.raises(InputError):
            decoded(wrong)
