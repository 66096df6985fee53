"""What a user gives a model: prompts, and the tokens that would be right or wrong after them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from hooks.spec import Spec

Special = Literal["model", "none", "bos"]


class IdsPrompt(Spec):
    """A prompt given as token ids, fed exactly as they are."""

    ids: tuple[Annotated[int, Field(ge=0)], ...]


class ChatPrompt(Spec):
    """A conversation, rendered with the tokenizer's chat template."""

    messages: tuple[dict[str, Any], ...]


class ImagePrompt(Spec):
    """An image: the path of a file (PNG, JPEG, or `.npy` with channels first), or its values [channel row column].

    A model of sound takes features in the same way: a `.npy` file, or their values [band frame]. text: what a
    two-tower model compares the image with.
    """

    image: str | None = None
    pixels: tuple[tuple[tuple[float, ...], ...], ...] | tuple[tuple[float, ...], ...] | None = None
    text: str | IdsPrompt | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.image is None) == (self.pixels is None):
            raise ValueError("give image or pixels")
        return self


Prompt = str | IdsPrompt | ChatPrompt | ImagePrompt


class IdAnswer(Spec):
    """An answer given as one token id."""

    id: Annotated[int, Field(ge=0)]


Answer = str | IdAnswer | tuple[str | IdAnswer, ...]


class PromptSet(Spec):
    """Prompts with their answers.

    answers, foils: one per prompt (or none at all); each a text of exactly one token, an id, or several of these.
    labels: what is right at each position of a prompt: a token id, the number of a class, or the value that a model
    with one output should give; null where nothing is asked.
    targets: what an encoder-decoder model has written so far, one text per prompt or its ids, without the token that
    it starts from (nothing, when left out).
    templates: the template that each prompt was made from, one label per prompt, for means within a template.
    choices: the texts that may follow each prompt, of which `right` numbers the right ones (from 0).
    windowed: texts may be longer than the model reads at once; for analyses that cut them into windows.
    positions: named positions, one index per prompt. special: which special tokens are added: what the model's
    tokenizer adds, none, or exactly one BOS. plain_text: read text that spells a special token as ordinary text.
    """

    prompts: tuple[Prompt, ...] = Field(min_length=1)
    answers: tuple[Answer, ...] = ()
    foils: tuple[Answer, ...] = ()
    # Not written where there are none: experiments keep the id they had before labels could be given.
    labels: tuple[tuple[int | float | None, ...], ...] = Field(default=(), exclude_if=lambda labels: not labels)
    targets: tuple[str | IdsPrompt, ...] = Field(default=(), exclude_if=lambda targets: not targets)
    choices: tuple[tuple[str, ...], ...] = Field(default=(), exclude_if=lambda choices: not choices)
    right: tuple[tuple[Annotated[int, Field(ge=0)], ...], ...] = Field(default=(), exclude_if=lambda right: not right)
    windowed: bool = Field(default=False, exclude_if=lambda windowed: not windowed)
    templates: tuple[str, ...] = Field(default=(), exclude_if=lambda templates: not templates)
    positions: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    special: Special = "model"
    plain_text: bool = False
