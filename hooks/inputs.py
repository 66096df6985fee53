"""What a user gives, as the model at hand gets it: texts, masked texts, two sides, images, pairs of both.

Works from a model's info and its tokenizer alone, so that a door can say what will be fed without the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hooks.errors import InputError
from hooks.feed import ENCODER, EVERYWHERE, VISION, image_batch
from hooks.info import ModelInfo
from hooks.prompts import Answer, IdAnswer, IdsPrompt, ImagePrompt, Prompt, PromptSet
from hooks.tokens import TokenBatch, answer_id, encode, pad

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")
SOUND_AXES = 2
"""Sound is [band frame], a picture [channel row column]."""


def encode_inputs(tokenizer: Any, processor: Any, info: ModelInfo, inputs: PromptSet) -> TokenBatch:
    """The prompts as token ids, pixels or both sides, exactly as they will be fed.

    Raises InputError for empty, over-long or impossible prompts, for answers that are not one token or class, for
    labels that do not fit the positions, and for templates that are not one per prompt.
    """
    batch = _encoded(tokenizer, processor, info, inputs)
    if inputs.templates:
        if len(inputs.templates) != len(inputs.prompts):
            raise InputError(
                f"{len(inputs.prompts)} prompts but {len(inputs.templates)} templates.",
                "Give one template per prompt, or none at all.",
            )
        batch = replace(batch, templates=inputs.templates)
    return replace(batch, labels=_labels(batch, info, inputs)) if inputs.labels else batch


def _encoded(tokenizer: Any, processor: Any, info: ModelInfo, inputs: PromptSet) -> TokenBatch:
    if inputs.targets and info.task != "seq2seq":
        raise InputError("this model has no decoder that writes a target.", "Leave targets out.")
    if info.pixels is not None and info.task != "pairs" and info.task != "seq2seq":
        return _answered(_images(processor, info, inputs, inputs.prompts), info, inputs)
    if info.task == "pairs":
        return _answered(_pairs(tokenizer, processor, info, inputs), info, inputs)
    if info.task == "seq2seq":
        return _two_sided(tokenizer, processor, info, inputs)
    if info.task in ("causal", "masked"):
        batch = _texts(tokenizer, info, inputs)
        return _at_the_mask(tokenizer, batch) if info.task == "masked" else batch
    return _answered(_texts(tokenizer, info, inputs.model_copy(update={"answers": (), "foils": ()})), info, inputs)


def _texts(tokenizer: Any, info: ModelInfo, inputs: PromptSet, *, trained: bool = True) -> TokenBatch:
    for number, prompt in enumerate(inputs.prompts):
        if isinstance(prompt, ImagePrompt):
            raise InputError(f"prompt {number + 1} is an image, and this model reads text.", "Give a text.")
    return encode(
        tokenizer,
        inputs,
        n_ctx=info.n_ctx if info.positions == "learned" and not inputs.windowed else None,
        n_embed=info.n_embed,
        trained=info.n_ctx if trained and not inputs.windowed else None,
        filler=info.filler,
    )


def _at_the_mask(tokenizer: Any, batch: TokenBatch) -> TokenBatch:
    """The answer position is the mask, where a prompt has one."""
    mask = getattr(tokenizer, "mask_token_id", None)
    places, warnings = [], list(batch.warnings)
    for number, ids in enumerate(batch.id_lists()):
        found = [place for place, token in enumerate(ids) if token == mask]
        if mask is not None and not found:
            warnings.append(f"prompt {number + 1} has no {tokenizer.mask_token}: its answer is read at the last token")
        places.append(found[0] if found else len(ids) - 1)
    return replace(
        batch, positions={**batch.positions, "answer": tuple(places)}, warnings=tuple(dict.fromkeys(warnings))
    )


def _two_sided(tokenizer: Any, processor: Any, info: ModelInfo, inputs: PromptSet) -> TokenBatch:
    if inputs.targets and len(inputs.targets) != len(inputs.prompts):
        raise InputError(
            f"{len(inputs.prompts)} prompts but {len(inputs.targets)} targets.", "Give one target per prompt, or none."
        )
    start = [] if info.decoder_start is None else [info.decoder_start]
    targets = inputs.targets or ("",) * len(inputs.prompts)
    rows = [[*start, *_target_ids(tokenizer, target)] for target in targets]
    ids = inputs.model_copy(update={"prompts": tuple(IdsPrompt(ids=tuple(row)) for row in rows), "targets": ()})
    written = _texts(tokenizer, info, ids)
    if info.pixels is not None:
        read = _images(processor, info, inputs, inputs.prompts)
    else:
        plain = PromptSet(prompts=inputs.prompts, special=inputs.special, plain_text=inputs.plain_text)
        read = encode(tokenizer, plain, n_embed=info.n_embed, filler=info.filler)
    return replace(written, sides={ENCODER: read}, warnings=(*written.warnings, *read.warnings))


def _target_ids(tokenizer: Any, target: str | IdsPrompt) -> list[int]:
    """What an encoder-decoder model has written so far, as ids."""
    if isinstance(target, IdsPrompt):
        return list(target.ids)
    if target and tokenizer is None:
        raise InputError("this model came without a tokenizer.", 'Give targets as {"ids": [...]}.')
    return [int(token) for token in tokenizer(target, add_special_tokens=False)["input_ids"]] if target else []


def _pairs(tokenizer: Any, processor: Any, info: ModelInfo, inputs: PromptSet) -> TokenBatch:
    texts: list[str | IdsPrompt] = []
    images = []
    for number, prompt in enumerate(inputs.prompts):
        if not isinstance(prompt, ImagePrompt) or prompt.text is None:
            raise InputError(
                f"prompt {number + 1} needs an image and a text: this model compares them.",
                'Write {"image": "cat.png", "text": "a photo of a cat"}.',
            )
        texts.append(prompt.text)
        images.append(prompt)
    words = PromptSet(prompts=tuple(texts), special=inputs.special, plain_text=inputs.plain_text)
    batch = _texts(tokenizer, info, words)
    if info.reads_end and info.n_ctx is not None and info.filler is not None:
        rows = [[*ids, *[info.filler] * (info.n_ctx - len(ids))] for ids in batch.id_lists()]
        batch = pad(tokenizer, rows, warnings=batch.warnings)
    return replace(batch, sides={VISION: _images(processor, info, inputs, images)}, single=True)


def _images(processor: Any, info: ModelInfo, inputs: PromptSet, prompts: Sequence[Prompt]) -> TokenBatch:
    assert info.pixels is not None
    values = torch.stack([_pixels(processor, info, number, prompt) for number, prompt in enumerate(prompts)])
    stack = VISION if VISION in info.stacks else ENCODER if info.task == "seq2seq" else None
    positions = info.n_positions if stack is None else info.stacks[stack].n_positions
    prefix = [f"[{word}]" for word in ("class", "distilled")[: info.prefix]]
    prefix += [f"[token {n}]" for n in range(len(prefix), info.prefix)]
    rows, columns = info.grid or (1, (positions or 1) - info.prefix)
    patches = [f"{row},{column}" for row in range(rows) for column in range(columns)]
    strings = tuple(prefix + patches) if info.grid else tuple(f"#{place}" for place in range(positions or 1))
    name = "pixel_values" if info.source_input is None else info.source_input
    return image_batch(values, name, positions or len(strings), strings, info.grid)


def _pixels(processor: Any, info: ModelInfo, number: int, prompt: Prompt) -> Tensor:
    """[channel row column] of one prompt, or [band frame] of sound, in the size that the model reads."""
    wanted = tuple(info.pixels or ())
    sound = len(wanted) == SOUND_AXES
    if not isinstance(prompt, ImagePrompt):
        reads, hint = (
            ("hears sound", 'Write {"image": "speech.npy"}: its features, bands × frames, in a .npy file.')
            if sound
            else ("reads images", 'Write {"image": "cat.png"}.')
        )
        raise InputError(f"prompt {number + 1} is a text, and this model {reads}.", hint)
    if prompt.pixels is not None:
        values = torch.tensor(prompt.pixels, dtype=torch.float32)
    else:
        values = _read_image(processor, Path(str(prompt.image)), wanted)
    if tuple(values.shape) != wanted:
        shape = " × ".join(map(str, values.shape))
        raise InputError(
            f"prompt {number + 1} has {shape} values; this model reads {' × '.join(map(str, wanted))} "
            f"({'bands, frames' if sound else 'channels, rows, columns'}).",
            "Give features of that shape."
            if sound
            else "Give an image of that size, or a model folder with its preprocessor_config.json.",
        )
    if not torch.isfinite(values).all():
        raise InputError(f"prompt {number + 1} holds values that are not numbers.", "Replace them.")
    return values


def _read_image(processor: Any, path: Path, wanted: tuple[int, ...]) -> Tensor:
    if not path.is_file():
        raise InputError(f"there is no image '{path}'.", "Check the path.")
    if len(wanted) == SOUND_AXES and path.suffix != ".npy":
        raise InputError(f"'{path.name}' holds no features of sound.", "Give bands × frames in a .npy file.")
    try:
        if path.suffix == ".npy":
            return torch.from_numpy(np.load(path, allow_pickle=False).astype(np.float32))
        if path.suffix.lower() not in IMAGES:
            raise InputError(f"'{path.name}' is no image that can be read.", f"Use {', '.join(IMAGES)} or .npy.")
        from PIL import Image

        picture = Image.open(path).convert("RGB")
    except (OSError, ValueError) as error:
        raise InputError(
            f"'{path.name}' cannot be read as an image.", "The file is damaged or of another kind."
        ) from error
    if processor is not None:
        return processor(images=picture, return_tensors="pt")["pixel_values"][0]
    # Without the model's own processor: its size, and values from −1 to 1 as most are trained on.
    picture = picture.resize((wanted[2], wanted[1]))
    return torch.from_numpy(np.asarray(picture, dtype=np.float32)).permute(2, 0, 1) / 127.5 - 1


def _answered(batch: TokenBatch, info: ModelInfo, inputs: PromptSet) -> TokenBatch:
    """The batch with classes for answers; a model without classes takes none."""
    given = {name: getattr(inputs, name) for name in ("answers", "foils")}
    if any(given.values()) and not info.labels:
        raise InputError("this model gives no logits of tokens or classes, so it has no answers.", "Leave them out.")
    for name, values in given.items():
        if values and len(values) != len(batch):
            raise InputError(f"{len(batch)} prompts but {len(values)} {name}.", "Give one per prompt, or none at all.")
    answers, foils = (tuple(_classes(value, info.labels) for value in values) for values in given.values())
    return replace(batch, single=info.task not in EVERYWHERE, answers=answers, foils=foils)


def _labels(batch: TokenBatch, info: ModelInfo, inputs: PromptSet) -> tuple[tuple[int | float | None, ...], ...]:
    """The labels, checked: one for each answer that the model gives, each a number that it can give."""
    if info.task in ("pairs", "features"):
        raise InputError("this model gives no logits of tokens or classes, so it has no labels.", "Leave them out.")
    if len(inputs.labels) != len(batch):
        raise InputError(f"{len(batch)} prompts but {len(inputs.labels)} rows of labels.", "Give one row per prompt.")
    for number, (row, length) in enumerate(zip(inputs.labels, batch.lengths, strict=True)):
        wanted = 1 if batch.single else length
        if len(row) != wanted:
            raise InputError(
                f"prompt {number + 1} has {wanted} answers and {len(row)} labels.",
                "Give one label per token that is fed, special tokens included; null where nothing is asked.",
            )
        given = [label for label in row if label is not None]
        if not given:
            raise InputError(f"prompt {number + 1} has no label.", "Give at least one that is not null.")
        for label in given:
            if info.d_vocab > 1 and not (isinstance(label, int) and 0 <= label < info.d_vocab):
                raise InputError(
                    f"the label {label} of prompt {number + 1} is no token or class of this model.",
                    f"Use a whole number from 0 to {info.d_vocab - 1}.",
                )
    return inputs.labels


def choice_id(tokenizer: Any, info: ModelInfo, choice: str, word: str = "answer") -> int:
    """The one token or class of a model that a text names. Raises InputError that says how it splits."""
    return _class(choice, info.labels) if info.labels else answer_id(tokenizer, choice, word, info.n_embed)


def _classes(answer: Answer, labels: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(_class(item, labels) for item in (answer if isinstance(answer, tuple) else (answer,)))


def _class(answer: str | IdAnswer, labels: tuple[str, ...]) -> int:
    if isinstance(answer, str) and answer in labels:
        return labels.index(answer)
    number = answer.id if isinstance(answer, IdAnswer) else int(answer) if answer.isdigit() else -1
    if not 0 <= number < len(labels):
        shown = answer.id if isinstance(answer, IdAnswer) else answer
        raise InputError(f"'{shown}' is no class of this model.", f"Classes: {', '.join(labels)}.")
    return number


def padded(tokenizer: Any, info: ModelInfo, rows: Sequence[Sequence[int]]) -> TokenBatch:
    """Rows of ids as this model gets them."""
    return pad(tokenizer, rows, filler=info.filler)
