"""Prompts as the model gets them: ids, mask, special flags, display strings, positions, answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jinja2 import TemplateError
from torch import Tensor

from hooks.errors import InputError
from hooks.prompts import Answer, ChatPrompt, IdAnswer, IdsPrompt, ImagePrompt, Prompt, PromptSet
from hooks.token_text import Piece, character_groups, display, special_ids


@dataclass(frozen=True, eq=False)
class TokenBatch:
    """Prompts, padded on the right, so that position i means the same in every row.

    ids [batch pos] int64; mask and special [batch pos] bool; strings: the display form of each real token; lengths:
    real tokens per prompt; positions: named positions, one index per prompt, always with "last". answers, foils: token
    ids per prompt, empty where none were given. labels: what is right at each position, None where nothing is asked.
    warnings: what a user should know about how the text was split.
    inputs: what a model reads in place of ids or beside them ("pixel_values", "input_features"), a row per prompt.
    sides: the batches of the model's other stacks by name, such as the encoder's. grid: rows and columns of the patches
    that come last, where the positions are an image's. single: the model gives one answer per prompt. part_of, first:
    the larger batch that this is a part of, and the number of the first prompt there. templates: the template that each
    prompt was made from, empty where none were named.
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
    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    sides: Mapping[str, TokenBatch] = field(default_factory=dict)
    grid: tuple[int, int] | None = None
    single: bool = False
    labels: tuple[tuple[int | float | None, ...], ...] = ()
    part_of: TokenBatch | None = None
    first: int = 0
    templates: tuple[str, ...] = ()

    @property
    def whole(self) -> TokenBatch:
        """The batch of which these are the prompts from `first` on: itself, but where a large one runs in parts."""
        return self if self.part_of is None else self.part_of

    @property
    def answer_at(self) -> tuple[int, ...]:
        """Where each prompt's answer is read among its logits: the mask or the last token; 0 where there is one."""
        return (0,) * len(self) if self.single else self.positions.get("answer", self.positions["last"])

    def side(self, stack: str) -> TokenBatch:
        """The batch whose positions a stack counts: itself, but for the model's other stacks."""
        return self.sides.get(stack, self)

    def __len__(self) -> int:
        return int(self.ids.shape[0])

    def id_lists(self) -> tuple[tuple[int, ...], ...]:
        """The real ids of each prompt."""
        return tuple(tuple(row[:n]) for row, n in zip(self.ids.tolist(), self.lengths, strict=True))

    def pieces(self, prompt: int = 0) -> tuple[Piece, ...]:
        """For each real token of a prompt, the group of tokens with which it makes whole characters."""
        return character_groups(self.strings[prompt])

    def rows(self, start: int, stop: int) -> TokenBatch:
        """The prompts from `start` to `stop`, as wide as this batch, to run as a part of it."""
        if start == 0 and stop >= len(self):
            return self
        return replace(self.select(range(start, min(stop, len(self))), trim=False), part_of=self, first=start)

    def select(self, prompts: Sequence[int], *, trim: bool = True) -> TokenBatch:
        """Some of the prompts, padded to the longest of them, or without `trim` as wide as this batch."""
        index = list(prompts)
        width = max(self.lengths[i] for i in index) if trim else self.ids.shape[1]

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
            {name: value[index] for name, value in self.inputs.items()},
            {name: side.select(prompts, trim=trim) for name, side in self.sides.items()},
            self.grid,
            self.single,
            pick(self.labels),
            templates=pick(self.templates),
        )


def encode(
    tokenizer: Any,
    inputs: PromptSet,
    *,
    n_ctx: int | None = None,
    n_embed: int | None = None,
    trained: int | None = None,
    filler: int | None = None,
) -> TokenBatch:
    """The prompts as token ids, exactly as they will be fed.

    n_ctx: longest prompt with a learned position for every token, None where there is no such limit. n_embed: rows of
    the embedding. trained: length beyond which a model without such a limit is only warned about. filler: the id that
    pads, where the model itself looks for it. Raises InputError for
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
    return pad(tokenizer, rows, inputs.positions, answers, foils, tuple(dict.fromkeys(warnings)), filler=filler)


def pad(
    tokenizer: Any,
    rows: Sequence[Sequence[int]],
    positions: Mapping[str, tuple[int, ...]] | None = None,
    answers: tuple[tuple[int, ...], ...] = (),
    foils: tuple[tuple[int, ...], ...] = (),
    warnings: tuple[str, ...] = (),
    *,
    filler: int | None = None,
) -> TokenBatch:
    """Rows of ids as one batch, padded on the right with a token that the mask hides.

    filler: that token, where the model itself looks for it.
    """
    lengths = tuple(len(row) for row in rows)
    width = max(lengths)
    filler = _filler(tokenizer) if filler is None else filler
    ids = torch.tensor([[*row, *[filler] * (width - len(row))] for row in rows], dtype=torch.int64)
    mask = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
    marked = special_ids(tokenizer)
    special = torch.tensor([[token in marked for token in row] for row in ids.tolist()]) & mask
    named = {name: tuple(places) for name, places in (positions or {}).items()}
    for name, places in named.items():
        if len(places) != len(rows) or any(not 0 <= place < n for place, n in zip(places, lengths, strict=False)):
            raise InputError(f"position '{name}' does not fit the prompts.", "Give one index per prompt, inside it.")
    named["last"] = tuple(n - 1 for n in lengths)
    known = sorted({token for row in rows for token in row})
    shown = dict(zip(known, display(tokenizer, known), strict=True))
    strings = tuple(tuple(shown[token] for token in row) for row in rows)
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
    if isinstance(prompt, ImagePrompt):
        raise InputError("this model reads text, and the prompt is an image.", "Give the prompt as text.")
    chat = isinstance(prompt, ChatPrompt)
    text = render(tokenizer, prompt) if isinstance(prompt, ChatPrompt) else prompt
    _check_text(text)
    plain = inputs.plain_text and not chat
    # A chat template writes the special tokens itself: adding the tokenizer's own would double them.
    ids = _tokenize(tokenizer, text, special=not chat and inputs.special != "none", plain=plain)
    bos = tokenizer.bos_token_id
    notes = ["chat messages are never read as plain text: the template writes special tokens"] * (
        chat and inputs.plain_text
    )
    if bos is None:
        notes += ["this tokenizer has no BOS token; none was added"] * (inputs.special == "bos")
        return ids, notes
    lead = _leading(ids, bos)
    if inputs.special != "model":
        return [bos] * (inputs.special == "bos") + ids[lead:], notes
    typed = _leading(_tokenize(tokenizer, text, special=False, plain=plain), bos) if lead > 1 else lead
    if 0 < typed < lead:
        notes.append("the text begins with the BOS token that the tokenizer adds; it is fed once")
        ids = ids[lead - typed :]
    return ids, notes


def render(tokenizer: Any, prompt: ChatPrompt) -> str:
    """A conversation as the text that the tokenizer's chat template makes of it. Raises InputError."""
    if not getattr(tokenizer, "chat_template", None):
        raise InputError("this model's tokenizer has no chat template.", "Give the prompt as plain text.")
    try:
        text = tokenizer.apply_chat_template(list(prompt.messages), tokenize=False, add_generation_prompt=True)
    except (TemplateError, TypeError, ValueError, KeyError) as error:
        raise InputError(
            f"the chat template does not take these messages: {error}.",
            'Messages look like {"role": "user", "content": "…"}; not every template knows every role.',
        ) from error
    return str(text)


def _tokenize(tokenizer: Any, text: str, *, special: bool, plain: bool) -> list[int]:
    """Never truncated or padded, whatever the tokenizer's files ask for."""
    ids = tokenizer(text, add_special_tokens=special, split_special_tokens=plain, truncation=False, padding=False)[
        "input_ids"
    ]
    return [int(token) for token in ids]


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
    ids = _tokenize(tokenizer, answer, special=False, plain=False)
    if len(ids) == 1:
        return int(ids[0])
    if not ids:
        raise InputError(f"the {word} is empty.", "Type one token, such as ' Mary'.")
    pieces = " | ".join(display(tokenizer, ids))
    spaced = _tokenize(tokenizer, " " + answer.strip(), special=False, plain=False)
    hint = (
        f"'{' ' + answer.strip()}', with a space in front, is one."
        if len(spaced) == 1
        else "Use its first token, or an id."
    )
    raise InputError(f"the {word} '{answer}' is {len(ids)} tokens for this model: {pieces}.", hint)
