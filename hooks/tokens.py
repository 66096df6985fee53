"""Prompts as the model gets them: ids, mask, special flags, display strings, positions, answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hooks.errors import InputError
from hooks.prompts import Answer, ChatPrompt, IdAnswer, IdsPrompt, Prompt, PromptSet

VISIBLE = str.maketrans({" ": "·", "\n": "↵", "\t": "⇥", "\r": "␍", "\0": "␀", "\u00a0": "⍽"})
BYTE_PIECE = re.compile(r"^<0x([0-9A-Fa-f]{2})>$")


@dataclass(frozen=True, eq=False)
class TokenBatch:
    """Prompts, padded on the right, so that position i means the same in every row.

    ids [batch pos] int64; mask and special [batch pos] bool; strings: the display form of each real token; lengths:
    real tokens per prompt; positions: named positions, one index per prompt, always with "last". answers, foils: token
    ids per prompt, empty where none were given. warnings: what a user should know about how the text was split.
    """

    ids: Tensor
    mask: Tensor
    special: Tensor
    strings: tuple[tuple[str, ...], ...]
    lengths: tuple[int, ...]
    positions: Mapping[str, tuple[int, ...]]
    answers: tuple[tuple[int, ...], ...] = ()
    foils: tuple[tuple[int, ...], ...] = ()
    warnings: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return int(self.ids.shape[0])

    def id_lists(self) -> tuple[tuple[int, ...], ...]:
        """The real ids of each prompt."""
        return tuple(tuple(row[:n]) for row, n in zip(self.ids.tolist(), self.lengths, strict=True))

    def select(self, prompts: Sequence[int]) -> TokenBatch:
        """Some of the prompts, padded to the longest of them."""
        index = list(prompts)
        width = max(self.lengths[i] for i in index)

        def pick(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(values[i] for i in index) if values else ()

        return TokenBatch(
            self.ids[index, :width],
            self.mask[index, :width],
            self.special[index, :width],
            pick(self.strings),
            pick(self.lengths),
            {name: pick(places) for name, places in self.positions.items()},
            pick(self.answers),
            pick(self.foils),
            self.warnings,
        )


def encode(
    tokenizer: Any,
    inputs: PromptSet,
    *,
    n_ctx: int | None = None,
    n_embed: int | None = None,
    trained: int | None = None,
) -> TokenBatch:
    """The prompts as token ids, exactly as they will be fed.

    n_ctx: longest prompt with a learned position for every token, None where there is no such limit. n_embed: rows of
    the embedding. trained: length beyond which a model without such a limit is only warned about. Raises InputError for
    empty, over-long or impossible prompts and for answers that are not one token.
    """
    rows, warnings = [], []
    for number, prompt in enumerate(inputs.prompts):
        ids, notes = _ids(tokenizer, prompt, inputs)
        _check(ids, number, n_ctx, n_embed)
        rows.append(ids)
        warnings += notes
        if trained is not None and len(ids) > trained:
            warnings.append(f"prompt {number + 1} has {len(ids)} tokens; this model was trained on up to {trained}")
    answers = _answers(tokenizer, inputs.answers, "answer", inputs, n_embed)
    foils = _answers(tokenizer, inputs.foils, "foil", inputs, n_embed)
    return pad(tokenizer, rows, inputs.positions, answers, foils, tuple(dict.fromkeys(warnings)))


def pad(
    tokenizer: Any,
    rows: Sequence[Sequence[int]],
    positions: Mapping[str, tuple[int, ...]] | None = None,
    answers: tuple[tuple[int, ...], ...] = (),
    foils: tuple[tuple[int, ...], ...] = (),
    warnings: tuple[str, ...] = (),
) -> TokenBatch:
    """Rows of ids as one batch, padded on the right with a token that the mask hides."""
    lengths = tuple(len(row) for row in rows)
    width = max(lengths)
    filler = _filler(tokenizer)
    ids = torch.tensor([[*row, *[filler] * (width - len(row))] for row in rows], dtype=torch.int64)
    mask = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
    special_ids = set(getattr(tokenizer, "all_special_ids", None) or ())
    special = torch.tensor([[token in special_ids for token in row] for row in ids.tolist()]) & mask
    named = {name: tuple(places) for name, places in (positions or {}).items()}
    for name, places in named.items():
        if len(places) != len(rows) or any(not 0 <= place < n for place, n in zip(places, lengths, strict=False)):
            raise InputError(f"position '{name}' does not fit the prompts.", "Give one index per prompt, inside it.")
    named["last"] = tuple(n - 1 for n in lengths)
    strings = tuple(display(tokenizer, row) for row in rows)
    return TokenBatch(ids, mask, special, strings, lengths, named, answers, foils, warnings)


def _filler(tokenizer: Any) -> int:
    for name in ("pad_token_id", "eos_token_id"):
        if (token := getattr(tokenizer, name, None)) is not None:
            return int(token)
    return 0


def _ids(tokenizer: Any, prompt: Prompt, inputs: PromptSet) -> tuple[list[int], list[str]]:
    if isinstance(prompt, IdsPrompt):
        return list(prompt.ids), []
    if tokenizer is None:
        raise InputError("this model came without a tokenizer.", 'Give prompts as {"ids": [...]}.')
    bos = tokenizer.bos_token_id
    if isinstance(prompt, ChatPrompt):
        if not getattr(tokenizer, "chat_template", None):
            raise InputError("this model's tokenizer has no chat template.", "Give the prompt as plain text.")
        text = tokenizer.apply_chat_template(list(prompt.messages), tokenize=False, add_generation_prompt=True)
        # The template writes the special tokens itself: adding the tokenizer's own would double them.
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    else:
        _check_text(prompt)
        ids = tokenizer(prompt, add_special_tokens=inputs.special != "none", split_special_tokens=inputs.plain_text)[
            "input_ids"
        ]
    notes = []
    if inputs.special == "bos" and bos is None:
        notes.append("this tokenizer has no BOS token; none was added")
    if inputs.special == "bos" and bos is not None:
        ids = [bos, *ids[_leading(ids, bos) :]]
    if inputs.special == "none" and bos is not None:
        ids = ids[_leading(ids, bos) :]
    return list(ids), notes


def _leading(ids: Sequence[int], token: int) -> int:
    return next((i for i, value in enumerate(ids) if value != token), len(ids))


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            "the prompt holds half of a character (a lone surrogate).", "Remove it and try again."
        ) from error


def _check(ids: Sequence[int], number: int, n_ctx: int | None, n_embed: int | None) -> None:
    if not ids:
        raise InputError(f"prompt {number + 1} is empty: it gives no tokens.", "Type at least one character.")
    if n_ctx is not None and len(ids) > n_ctx:
        raise InputError(
            f"prompt {number + 1} has {len(ids)} tokens, but this model has positions for {n_ctx}.",
            f"Shorten it by {len(ids) - n_ctx} tokens.",
        )
    if n_embed is not None and max(ids) >= n_embed:
        raise InputError(
            f"prompt {number + 1} uses token id {max(ids)}, but the embedding has {n_embed} rows.",
            "The tokenizer does not belong to this model.",
        )


def _answers(
    tokenizer: Any, answers: Sequence[Answer], word: str, inputs: PromptSet, n_embed: int | None
) -> tuple[tuple[int, ...], ...]:
    if answers and len(answers) != len(inputs.prompts):
        raise InputError(
            f"{len(inputs.prompts)} prompts but {len(answers)} {word}s.", f"Give one {word} per prompt, or none at all."
        )
    return tuple(
        tuple(
            answer_id(tokenizer, item, word, n_embed) for item in (answer if isinstance(answer, tuple) else (answer,))
        )
        for answer in answers
    )


def answer_id(tokenizer: Any, answer: str | IdAnswer, word: str = "answer", n_embed: int | None = None) -> int:
    """The one token that an answer is. Raises InputError that shows how it splits when it is several."""
    if isinstance(answer, IdAnswer):
        if n_embed is not None and answer.id >= n_embed:
            raise InputError(f"{word} id {answer.id} is outside the vocabulary of {n_embed}.", "Choose a smaller id.")
        return answer.id
    if tokenizer is None:
        raise InputError("this model came without a tokenizer.", f'Give the {word} as {{"id": n}}.')
    _check_text(answer)
    ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
    if len(ids) == 1:
        return int(ids[0])
    if not ids:
        raise InputError(f"the {word} is empty.", "Type one token, such as ' Mary'.")
    pieces = " | ".join(display(tokenizer, ids))
    spaced = tokenizer(" " + answer.strip(), add_special_tokens=False)["input_ids"]
    hint = (
        f"'{' ' + answer.strip()}', with a space in front, is one."
        if len(spaced) == 1
        else "Use its first token, or an id."
    )
    raise InputError(f"the {word} '{answer}' is {len(ids)} tokens for this model: {pieces}.", hint)


def display(tokenizer: Any, ids: Sequence[int]) -> tuple[str, ...]:
    """One visible string per token: whitespace as · ↵ ⇥, pieces of one character marked as bytes, nothing blank."""
    return tuple(_visible(tokenizer, int(token)) for token in ids)


def _visible(tokenizer: Any, token: int) -> str:
    if tokenizer is None:
        return f"#{token}"
    raw = tokenizer.convert_ids_to_tokens(token)
    if raw is None:
        return f"#{token}"
    if piece := BYTE_PIECE.match(raw):
        return f"⟨{piece[1].lower()}⟩"
    text = tokenizer.decode([token], skip_special_tokens=False, clean_up_tokenization_spaces=False)
    if "\ufffd" in text:
        return "".join(f"⟨{byte:02x}⟩" for byte in _bytes(raw)) or f"#{token}"
    # SentencePiece drops a leading space when one token is decoded alone.
    if raw.startswith("\u2581") and not text.startswith(" "):
        text = " " + text
    return text.translate(VISIBLE) or f"#{token}"


def _bytes(raw: str) -> list[int]:
    """The bytes that a byte-level BPE token stands for (GPT-2's alphabet of printable stand-ins)."""
    table = _byte_alphabet()
    return [table[char] for char in raw if char in table]


def _byte_alphabet() -> dict[str, int]:
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}
