"""A template's words as a tokenizer reads them: is each one token, where does it stand, what may follow.

A word belongs to the token that holds its leading space, where the vocabulary writes it so. Everything is read in
context: the tokens up to a word must be the first tokens of the whole prompt.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hooks.prompts import IdAnswer, Prompt, PromptSet
from hooks.token_text import special_ids
from hooks.tokens import encode

PROBE = "When we went to the store"


class Unfit(ValueError):
    """Why a candidate is of no use with this tokenizer, in a few words."""


@dataclass(frozen=True)
class Sample:
    """A prompt: what is given, how many tokens it has as fed, named positions, and labels where the task has them."""

    prompt: Prompt
    length: int
    positions: Mapping[str, int]
    labels: tuple[int | None, ...] = field(default=())


class Reader:
    """A tokenizer and what it has read."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._read: dict[str, tuple[int, ...]] = {"": ()}
        fed, plain = encode(tokenizer, PromptSet(prompts=(PROBE,))).id_lists()[0], self.ids(PROBE)
        starts = [start for start in range(len(fed)) if fed[start : start + len(plain)] == plain]
        self.lead = starts[0] if starts else 0
        """Special tokens that the tokenizer puts in front of a prompt; `around`: in front and behind."""
        self.around = len(fed) - len(plain)

    @cached_property
    def ordinary(self) -> tuple[int, ...]:
        """Every token but the special ones and those that were added to the vocabulary."""
        left_out = special_ids(self.tokenizer) | set(map(int, getattr(self.tokenizer, "added_tokens_decoder", ())))
        return tuple(token for token in range(len(self.tokenizer)) if token not in left_out)

    def ids(self, text: str) -> tuple[int, ...]:
        """The tokens of a text, without special ones."""
        if text not in self._read:
            ids = self.tokenizer(text, add_special_tokens=False, truncation=False, padding=False)["input_ids"]
            self._read[text] = tuple(int(token) for token in ids)
        return self._read[text]

    def sample(self, template: str, words: Mapping[str, str]) -> Sample:
        """A template with its fields filled in. Raises Unfit for a word that is not one token where it stands."""
        text, places = "", {}
        for literal, role, _, _ in string.Formatter().parse(template):
            text += literal
            if role is not None:
                start, text = len(text), text + words[role]
                places[role] = (start, len(text))
        whole = self.ids(text)
        positions = {role: self.lead + self._place(text, whole, *span) for role, span in places.items()}
        end = self.lead + len(whole) - 1
        return Sample(text, len(whole) + self.around, {**positions, "end": end})

    def _place(self, text: str, whole: tuple[int, ...], start: int, stop: int) -> int:
        before, after = self.ids(text[:start].rstrip(" ")), self.ids(text[:stop])
        if whole[: len(after)] != after or after[: len(before)] != before:
            raise Unfit(f"‘{text[start:stop]}’ is joined with what stands beside it")
        if len(after) - len(before) != 1:
            raise Unfit(f"‘{text[start:stop]}’ is {len(after) - len(before)} tokens")
        return len(after) - 1

    def follows(self, text: str, word: str) -> int | None:
        """The one token that `word` adds to `text`; None where it is another number of tokens."""
        before, after = self.ids(text), self.ids(text + word)
        return after[-1] if len(after) == len(before) + 1 and after[:-1] == before else None

    def answer(self, text: str, word: str) -> str | IdAnswer:
        """A word that may follow a text, in a form that is that one token. Raises Unfit where it is none."""
        token = self.follows(text, word)
        if token is None:
            raise Unfit(f"‘{word.strip()}’ is not one token after the prompt")
        # With SentencePiece, which puts a space in front by itself, the word alone is the token that follows a space.
        return next((form for form in (word, word.strip()) if self.ids(form) == (token,)), IdAnswer(id=token))

    def answers(self, text: str, *words: str) -> tuple[str | IdAnswer, ...]:
        """The same for several words."""
        return tuple(self.answer(text, word) for word in words)
