"""Tokens as people read them: the text behind a token's spelling, and the tokens that make one character together.

A vocabulary spells its tokens in a notation of its own: GPT-2's printable stand-ins for bytes, SentencePiece's sign for
a space, `<0xE2>` for a byte, `</w>` for a word's end. What is shown is the text itself, never that notation; only
WordPiece's `##` stays, because it tells a piece inside a word from the same letters at its start.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

VISIBLE = {" ": "·", "\n": "↵", "\t": "⇥", "\r": "␍", "\0": "␀", "\u00a0": "⍽"}
# Control and format characters, foreign spaces, line and paragraph separators: invisible, or able to reorder a line.
UNSEEN = ("Cc", "Cf", "Zs", "Zl", "Zp")
SPACE_SIGN = "\u2581"
BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
SHOWN_BYTE = re.compile(r"⟨([0-9a-f]{2})⟩")
# Slow tokenizers whose tokens are the bytes themselves, written as the characters of the same number.
BYTE_TOKENIZERS = ("ByT5Tokenizer", "PerceiverTokenizer")


@dataclass(frozen=True)
class Piece:
    """A token's place among the tokens that make whole characters together.

    group: number of the group, counted along the prompt; place: which token of it, from 0; count: tokens in it; text:
    what the group says, legible. A token that stands for itself is a group of one.
    """

    group: int
    place: int
    count: int
    text: str


@dataclass(frozen=True)
class Notation:
    """How a tokenizer spells its tokens, read from its own definition.

    bytes_as: "alphabet" (GPT-2's stand-ins), "characters" (a byte is the character of its number) or "". byte_pieces:
    `<0xE2>` is a byte. space: the sign for a space. prefix, suffix: marks of a piece inside a word and of a word's end.
    added: texts of the tokens that were added to the vocabulary; these are literal.
    """

    bytes_as: str = ""
    byte_pieces: bool = False
    space: str = ""
    prefix: str = ""
    suffix: str = ""
    added: Mapping[int, str] = field(default_factory=dict)

    def read(self, raw: str, token: int | None = None) -> bytes:
        """The UTF-8 bytes that a token contributes to the text. raw: its spelling in the vocabulary."""
        if token is not None and token in self.added:
            return self.added[token].encode()
        if self.byte_pieces and (piece := BYTE_PIECE.fullmatch(raw)):
            return bytes([int(piece[1], 16)])
        ends = bool(self.suffix) and raw.endswith(self.suffix)
        text = raw[: -len(self.suffix)] if ends else raw
        text = (
            text[len(self.prefix) :] if self.prefix and text.startswith(self.prefix) and text != self.prefix else text
        )
        return self._bytes(text) + (b" " if ends else b"")

    def _bytes(self, text: str) -> bytes:
        if self.bytes_as == "characters" and len(text) == 1 and ord(text) < 256:
            return bytes([ord(text)])
        if self.bytes_as == "alphabet" and all(char in byte_alphabet() for char in text):
            return bytes(byte_alphabet()[char] for char in text)
        return (text.replace(self.space, " ") if self.space else text).encode()

    def show(self, raw: str, token: int | None = None) -> str:
        """The token as text with visible whitespace, never blank; bytes that are no whole character as ⟨e2⟩."""
        inside = bool(self.prefix) and raw.startswith(self.prefix) and token not in self.added and raw != self.prefix
        return (self.prefix if inside else "") + legible(self.read(raw, token))


def notation_of(tokenizer: Any) -> Notation:
    """The notation of a tokenizer, fast or slow."""
    if tokenizer is None:
        return Notation()
    added = {int(token): str(text) for token, text in (getattr(tokenizer, "added_tokens_decoder", None) or {}).items()}
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return _slow(tokenizer, added)
    written = json.dumps([state_of(backend.decoder), state_of(backend.pre_tokenizer)], ensure_ascii=False)
    return Notation(
        bytes_as="alphabet" if '"ByteLevel"' in written else "",
        byte_pieces='"ByteFallback"' in written or bool(getattr(backend.model, "byte_fallback", False)),
        space=SPACE_SIGN if SPACE_SIGN in written else "",
        prefix=getattr(backend.model, "continuing_subword_prefix", None) or "",
        suffix=getattr(backend.model, "end_of_word_suffix", None) or "",
        added=added,
    )


def _slow(tokenizer: Any, added: Mapping[int, str]) -> Notation:
    pieces = hasattr(tokenizer, "sp_model")
    alphabet = "alphabet" if hasattr(tokenizer, "byte_decoder") else ""
    return Notation(
        bytes_as="characters" if type(tokenizer).__name__ in BYTE_TOKENIZERS else alphabet,
        byte_pieces=pieces,
        space=SPACE_SIGN if pieces else "",
        added=added,
    )


def state_of(component: Any) -> Any:
    """The definition of a part of a fast tokenizer as plain values; None where it has no such part."""
    return None if component is None else json.loads(component.__getstate__())


def special_ids(tokenizer: Any) -> set[int]:
    """Ids of the tokens that the tokenizer marks as special, with a role or without."""
    added = getattr(tokenizer, "added_tokens_decoder", None) or {}
    marked = {int(token) for token, text in added.items() if getattr(text, "special", False)}
    return marked | {int(token) for token in getattr(tokenizer, "all_special_ids", None) or ()}


def display(tokenizer: Any, ids: Sequence[int]) -> tuple[str, ...]:
    """One visible string per token: whitespace as · ↵ ⇥, pieces of a character as bytes ⟨e2⟩, nothing blank."""
    notation = notation_of(tokenizer)
    spelled = [None if tokenizer is None else tokenizer.convert_ids_to_tokens(int(token)) for token in ids]
    return tuple(
        f"#{token}" if raw is None else notation.show(raw, int(token)) or f"#{token}"
        for token, raw in zip(ids, spelled, strict=True)
    )


def token_bytes(tokenizer: Any, ids: Sequence[int]) -> tuple[bytes | None, ...]:
    """The UTF-8 bytes of each token; None for an id that the tokenizer does not know."""
    notation = notation_of(tokenizer)
    spelled = [tokenizer.convert_ids_to_tokens(int(token)) for token in ids]
    return tuple(
        None if raw is None else notation.read(raw, int(token)) for token, raw in zip(ids, spelled, strict=True)
    )


def legible(data: bytes) -> str:
    """UTF-8 bytes as visible text; bytes that belong to no whole character as ⟨e2⟩."""
    shown = []
    while data:
        try:
            shown.append(visible(data.decode()))
            break
        except UnicodeDecodeError as error:
            shown.append(visible(data[: error.start].decode()))
            shown.append("".join(f"⟨{byte:02x}⟩" for byte in data[error.start : error.end]))
            data = data[error.end :]
    return "".join(shown)


def visible(text: str) -> str:
    """`text` with a sign for each character that would not be seen: · ↵ ⇥, else its code point."""
    return "".join(
        VISIBLE.get(char) or (f"⟨U+{ord(char):04X}⟩" if unicodedata.category(char) in UNSEEN else char) for char in text
    )


def character_groups(strings: Sequence[str]) -> tuple[Piece, ...]:
    """For each displayed token, the group of neighbours with which it makes whole characters, and their text."""
    pieces: list[Piece] = []
    group = 0
    while len(pieces) < len(strings):
        start = len(pieces)
        count, text = _joined(strings, start)
        pieces += [Piece(group, place, count, text) for place in range(count)]
        group += 1
    return tuple(pieces)


def _joined(strings: Sequence[str], start: int) -> tuple[int, str]:
    """How many tokens from `start` on make whole characters, and which; the token alone where none do."""
    data = b""
    for stop in range(start, len(strings)):
        if not SHOWN_BYTE.search(strings[stop]):
            break
        data += _shown_bytes(strings[stop])
        try:
            return stop + 1 - start, visible(data.decode())
        except UnicodeDecodeError as error:
            if error.reason != "unexpected end of data":
                break
    return 1, strings[start]


def _shown_bytes(string: str) -> bytes:
    """What a displayed token stands for; visible whitespace stays as it is shown."""
    parts = SHOWN_BYTE.split(string)
    return b"".join(bytes([int(part, 16)]) if i % 2 else part.encode() for i, part in enumerate(parts))


@cache
def byte_alphabet() -> Mapping[str, int]:
    """GPT-2's printable stand-in for each byte (Radford et al. 2019): the character, the byte."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}
