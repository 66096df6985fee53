"""A companion tokenizer for a file whose own was rebuilt: the first place where the two disagree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hooks.token_text import display

SAMPLE = (
    "The quick brown fox didn't jump; it's 2026, and 3.14159 > 1,000?\n\n"
    "\tdef f(x):\n        return x**2  # naïve café, Ærøskøbing, Straße, İstanbul\n"
    "Grüße! Здравствуйте, 你好，世界。こんにちは مرحبا नमस्ते 👩‍💻🎉 ½ ≠ ™  e\u0301 — “quoted” ﬁn\u00a0end"
)
"""Contractions, digits, white space, code, accents composed and not, seven scripts, emoji: where rebuilds go wrong."""
MOST_ADDED = 24


@dataclass(frozen=True)
class Difference:
    """The first position at which two tokenizers disagree: (id, string) of each there, None past its end."""

    pos: int
    first: tuple[int, str] | None
    second: tuple[int, str] | None

    def __str__(self) -> str:
        return f"position {self.pos}: {_shown(self.first)} against {_shown(self.second)}"


def _shown(token: tuple[int, str] | None) -> str:
    return "nothing" if token is None else f"{token[1]!r} ({token[0]})"


def first_difference(first: Any, second: Any, text: str) -> Difference | None:
    """Where the ids that two tokenizers give to `text`, special tokens included, first differ; None where they agree.

    A token of equal id and unequal string counts: the two vocabularies differ there.
    """
    left, right = _tokens(first, text), _tokens(second, text)
    for pos in range(max(len(left), len(right))):
        one = left[pos] if pos < len(left) else None
        other = right[pos] if pos < len(right) else None
        if one != other:
            return Difference(pos, one, other)
    return None


def _tokens(tokenizer: Any, text: str) -> list[tuple[int, str]]:
    ids = tokenizer(text, add_special_tokens=True)["input_ids"]
    return list(zip(ids, display(tokenizer, ids), strict=True))


def sample(companion: Any) -> str:
    """The text on which tokenizers are compared: a fixed one, then the companion's added tokens spelled out."""
    return SAMPLE + "".join(sorted(companion.get_added_vocab())[:MOST_ADDED])


def companion_warning(own: Any, companion: Any) -> tuple[str, ...]:
    """The warning where the model's own tokenizer disagrees with the companion that is used in its place."""
    if own is None:
        return ()
    difference = first_difference(own, companion, sample(companion))
    if difference is None:
        return ()
    return (f"the model's own tokenizer disagrees with the companion in use, on a sample text first at {difference}",)
