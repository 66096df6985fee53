"""How a text splits, token by token: what each token covers of the text, its bytes, its word, its group."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from hooks.prompts import ChatPrompt, PromptSet
from hooks.spec import Spec
from hooks.token_text import token_bytes
from hooks.tokens import TokenBatch, render

Span = tuple[int, int] | None


class SplitToken(Spec):
    """One token of a prompt as fed.

    string: display form. text: what its group says, the same for all tokens that make one character together; group,
    piece, pieces: number of that group, place in it, tokens in it. word: number of the word that the pre-tokeniser
    made.
    start, stop: characters (code points) of the prompt that it covers; byte_start, byte_stop: UTF-8 bytes. bytes: its
    own UTF-8 bytes as hexadecimal. None where the token stands for nothing in the text, or the tokenizer does not say.
    """

    pos: int
    id: int
    string: str
    special: bool
    text: str
    group: int
    piece: int
    pieces: int
    word: int | None
    start: int | None
    stop: int | None
    byte_start: int | None
    byte_stop: int | None
    bytes: str | None


def split(tokenizer: Any, inputs: PromptSet, batch: TokenBatch) -> tuple[SplitToken, ...]:
    """The tokens of the first prompt of `inputs`, encoded as `batch`, with what each covers of the text."""
    ids = batch.id_lists()[0]
    text = text_of(tokenizer, inputs)
    spans, words = _offsets(tokenizer, text, ids, inputs)
    own = [
        None if special and (span is None or (data or b"").decode() != text[slice(*span)]) else data
        for data, span, special in zip(token_bytes(tokenizer, ids), spans, batch.special[0].tolist(), strict=False)
    ]
    covered = byte_spans(text, own, spans)
    return tuple(
        SplitToken(
            pos=pos,
            id=ids[pos],
            string=batch.strings[0][pos],
            special=bool(batch.special[0, pos]),
            text=piece.text,
            group=piece.group,
            piece=piece.place,
            pieces=piece.count,
            word=words[pos],
            **_span("", spans[pos]),
            **_span("byte_", covered[pos]),
            bytes=None if (data := own[pos]) is None else data.hex(),
        )
        for pos, piece in enumerate(batch.pieces())
    )


def _span(prefix: str, span: Span) -> dict[str, int | None]:
    start, stop = span or (None, None)
    return {f"{prefix}start": start, f"{prefix}stop": stop}


def text_of(tokenizer: Any, inputs: PromptSet) -> str:
    """The text that the tokenizer is given for the first prompt; empty for one that is not text, such as ids."""
    prompt = inputs.prompts[0]
    if isinstance(prompt, ChatPrompt):
        return render(tokenizer, prompt)
    return prompt if isinstance(prompt, str) else ""


def _offsets(tokenizer: Any, text: str, ids: Sequence[int], inputs: PromptSet) -> tuple[list[Span], list[int | None]]:
    """For each id the characters that it covers and its word; None for what was added or cannot be told."""
    spans: list[Span] = [None] * len(ids)
    words: list[int | None] = [None] * len(ids)
    if not text or not getattr(tokenizer, "is_fast", False):
        return spans, words
    chat = isinstance(inputs.prompts[0], ChatPrompt)
    encoded = tokenizer(
        text,
        add_special_tokens=not chat and inputs.special != "none",
        split_special_tokens=inputs.plain_text and not chat,
        return_offsets_mapping=True,
        truncation=False,
        padding=False,
    )
    # As fed, only a BOS in front may have been added or dropped: the ends coincide.
    shift = len(ids) - len(encoded["input_ids"])
    pairs = zip(
        encoded["input_ids"], encoded["offset_mapping"], encoded.word_ids(), encoded.sequence_ids(), strict=True
    )
    for i, (token, offset, word, sequence) in enumerate(pairs):
        if sequence is not None and i + shift >= 0 and ids[i + shift] == token:
            spans[i + shift] = (int(offset[0]), int(offset[1]))
            words[i + shift] = word
    return spans, words


def byte_spans(text: str, own: Sequence[bytes | None], spans: Sequence[Span]) -> list[Span]:
    """The UTF-8 bytes of `text` that each token covers.

    Where the tokens' own bytes are the text's (no normalisation), their running sum, which also parts the tokens of one
    character; else the bytes of the characters that are covered.
    """
    inner = [i for i, span in enumerate(spans) if span is not None]
    data = b"".join(own[i] or b"" for i in inner)
    if inner and data in (text.encode(), b" " + text.encode()):
        # SentencePiece puts a space in front that the text does not have.
        shift = len(data) - len(text.encode())
        ends = list(accumulate(len(own[i] or b"") for i in inner))
        exact: list[Span] = [None] * len(spans)
        for i, stop in zip(inner, ends, strict=True):
            exact[i] = (max(stop - len(own[i] or b"") - shift, 0), stop - shift)
        return exact
    at = [0, *accumulate(len(char.encode()) for char in text)]
    return [None if span is None else (at[span[0]], at[span[1]]) for span in spans]


def is_exact(text: str, rows: Sequence[SplitToken]) -> bool:
    """Whether the tokens say the text again, byte for byte (a space that the tokenizer puts in front aside)."""
    data = b"".join(bytes.fromhex(row.bytes or "") for row in rows if row.start is not None)
    return data in (text.encode(), b" " + text.encode())
