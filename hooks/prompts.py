"""What a user gives a model: prompts, and the tokens that would be right or wrong after them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from hooks.spec import Spec

Special = Literal["model", "none", "bos"]


class IdsPrompt(Spec):
    """A prompt given as token ids, fed exactly as they are."""

    ids: tuple[Annotated[int, Field(ge=0)], ...]


class ChatPrompt(Spec):
    """A conversation, rendered with the tokenizer's chat template."""

    messages: tuple[dict[str, Any], ...]


Prompt = str | IdsPrompt | ChatPrompt


class IdAnswer(Spec):
    """An answer given as one token id."""

    id: Annotated[int, Field(ge=0)]


Answer = str | IdAnswer | tuple[str | IdAnswer, ...]


class PromptSet(Spec):
    """Prompts with their answers.

    answers, foils: one per prompt (or none at all); each a text of exactly one token, an id, or several of these.
    positions: named positions, one index per prompt. special: which special tokens are added: what the model's
    tokenizer adds, none, or exactly one BOS. plain_text: read text that spells a special token as ordinary text.
    """

    prompts: tuple[Prompt, ...] = Field(min_length=1)
    answers: tuple[Answer, ...] = ()
    foils: tuple[Answer, ...] = ()
    positions: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    special: Special = "model"
    plain_text: bool = False
