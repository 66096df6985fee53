"""Every architecture's tiny config with random weights: the laws hold for each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import pytest
import torch
from torch import nn

from hooks.model import Instrumented, instrument
from hooks.prompts import IdsPrompt, ImagePrompt, PromptSet
from hooks.sites import Site
from hooks.tiny import build, variants
from hooks.tokens import TokenBatch

VARIANTS = variants()
VOCABULARY = 64


@lru_cache(maxsize=len(VARIANTS))
def opened(variant: str) -> tuple[nn.Module, Instrumented]:
    model = build(variant)
    return model, instrument(model, name=variant)


@pytest.fixture(params=sorted(VARIANTS))
def variant(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def plain(variant: str) -> nn.Module:
    """The Hugging Face model itself."""
    return opened(variant)[0]


@pytest.fixture
def model(variant: str) -> Instrumented:
    """The same model under observation."""
    return opened(variant)[1]


def sites_named(model: Instrumented, *names: str, writable: bool = False) -> list[Site]:
    """The proved sites of some kinds, of every stack and layer that has them, in order."""
    return sorted(site for site in (model.writable if writable else model.sites) if site.name in names)


def random_ids(seed: int, length: int, end: int | None = None) -> IdsPrompt:
    """Ordinary ids, which are none of the special ones; with `end` as the last."""
    ids = torch.randint(4, VOCABULARY, (length,), generator=torch.Generator().manual_seed(seed)).tolist()
    return IdsPrompt(ids=tuple(ids if end is None else [*ids[:-1], end]))


def random_image(seed: int, shape: Sequence[int], text: IdsPrompt | None = None) -> ImagePrompt:
    """Random pixels, or sound features, beside the text that they are compared with."""

    def frozen(values: list) -> tuple:
        return tuple(frozen(value) if isinstance(value, list) else value for value in values)

    values = torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed)).tolist()
    return ImagePrompt(pixels=frozen(values), text=text)


def random_batch(model: Instrumented, *lengths: int, seed: int = 1, source: Sequence[int] | None = None) -> TokenBatch:
    """Random prompts that the model can read, through the same door as a user's; each depends on its own length only.

    lengths: positions of the main stack per prompt; a model of images has as many as it has. source: lengths of what an
    encoder reads, one more than the decoder's unless given.
    """
    info, seeds = model.info, [100 * seed + number for number in range(len(lengths))]
    texts = [random_ids(one, length) for one, length in zip(seeds, lengths, strict=True)]
    if info.task == "seq2seq":
        # The decoder's first position is the token that it starts from.
        written = tuple(random_ids(one + 50, length - 1) for one, length in zip(seeds, lengths, strict=True))
        if info.pixels is None:
            widths = source or [length + 1 for length in lengths]
            read = tuple(random_ids(one, length) for one, length in zip(seeds, widths, strict=True))
        else:
            read = tuple(random_image(one, info.pixels) for one in seeds)
        return model.tokens(PromptSet(prompts=read, targets=written))
    if info.task == "pairs":
        # Such a model reads a text where its end token is.
        texts = [random_ids(one, length, end=1) for one, length in zip(seeds, lengths, strict=True)]
        pairs = [random_image(one, info.pixels, text) for one, text in zip(seeds, texts, strict=True)]
        return model.tokens(PromptSet(prompts=tuple(pairs)))
    if info.pixels is not None:
        return model.tokens(PromptSet(prompts=tuple(random_image(one, info.pixels) for one in seeds)))
    return model.tokens(PromptSet(prompts=tuple(texts)))


ids_batch = random_batch


@pytest.fixture
def batch_of(model: Instrumented) -> Callable[..., TokenBatch]:
    """Makes batches of random prompts: `batch_of(7, 5)`."""
    return lambda *lengths, **options: random_batch(model, *lengths, **options)
