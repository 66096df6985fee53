"""What an encoder-decoder, a model of sound and a two-tower model are given, as they get it."""

from __future__ import annotations

import pytest

from hooks.errors import InputError
from hooks.model import instrument
from hooks.prompts import IdsPrompt, ImagePrompt, PromptSet
from hooks.tiny import build


def test_a_target_given_as_ids_follows_the_token_that_the_decoder_starts_from():
    model = instrument(build("t5"))
    inputs = PromptSet(prompts=(IdsPrompt(ids=(5, 6, 7)), IdsPrompt(ids=(8,))), targets=(IdsPrompt(ids=(9, 10)), ""))
    batch = model.tokens(inputs)
    assert batch.id_lists() == ((model.info.decoder_start, 9, 10), (model.info.decoder_start,))
    assert batch.sides["encoder"].id_lists() == ((5, 6, 7), (8,))
    assert PromptSet.model_validate_json(inputs.model_dump_json()) == inputs


def test_a_target_given_as_text_needs_a_tokenizer():
    model = instrument(build("t5"))
    with pytest.raises(InputError, match="without a tokenizer"):
        model.tokens(PromptSet(prompts=(IdsPrompt(ids=(5,)),), targets=("words",)))


def test_sound_is_given_as_features_of_the_shape_that_the_model_reads():
    model = instrument(build("whisper"))
    bands, frames = model.info.pixels
    sound = ImagePrompt(pixels=((0.5,) * frames,) * bands)
    batch = model.tokens(PromptSet(prompts=(sound,)))
    assert batch.sides["encoder"].inputs["input_features"].shape == (1, bands, frames)
    with pytest.raises(InputError, match=f"{bands} × 3 values; this model reads {bands} × {frames}"):
        model.tokens(PromptSet(prompts=(ImagePrompt(pixels=((0.5,) * 3,) * bands),)))


def test_a_text_or_a_picture_given_to_a_model_that_hears_says_what_to_give(tmp_path):
    model = instrument(build("whisper"))
    picture = tmp_path / "cat.png"
    picture.write_bytes(b"")
    for prompt, words in (("a text", "hears sound"), (ImagePrompt(image=str(picture)), "no features of sound")):
        with pytest.raises(InputError, match=words) as refused:
            model.tokens(PromptSet(prompts=(prompt,)))
        assert "bands × frames" in refused.value.hint and "image" not in refused.value.message


def test_the_text_beside_an_image_may_be_ids():
    model = instrument(build("clip"))
    channels, rows, columns = model.info.pixels
    image = ImagePrompt(pixels=(((0.5,) * columns,) * rows,) * channels, text=IdsPrompt(ids=(7, 8, 1)))
    batch = model.tokens(PromptSet(prompts=(image,)))
    assert batch.id_lists() == ((7, 8, 1),) and batch.single
