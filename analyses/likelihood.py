"""Log-likelihoods of texts: how probable a model holds a continuation, with and without edits.

The log-probability of tokens t[start:stop] of a text is the sum over i in [start, stop) of log p(t[i] | t[:i]), natural
logarithm. A prompt and a choice are tokenised together, as the text that they make, exactly as it would be fed; the
continuation begins at the first token that differs from the prompt's own. So a token that the join has changed, such as
one that holds the end of the prompt and the beginning of the choice, counts as continuation, and choices of one prompt
may begin at different tokens. A prompt given as ids or as a conversation ends where its ids end, and the choice is
tokenised alone.

Shapes: log-probabilities [run row]; run 0 is the clean model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, takewhile

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses.bench import Bench
from analyses.memory import rows_within
from hooks.errors import InputError
from hooks.inputs import padded
from hooks.interventions import Intervention
from hooks.model import Instrumented
from hooks.prompts import PromptSet
from hooks.tokens import TokenBatch

DEFAULT_WINDOW = 1024
"""Tokens per window for a model that states no length."""


@dataclass(frozen=True)
class Row:
    """A text to score: its ids, of which those from `start` on count; `item` says to which prompt it belongs.

    places: the prompt's named positions.
    """

    ids: tuple[int, ...]
    start: int
    item: int
    places: tuple[tuple[str, int], ...] = field(default=())

    @property
    def counted(self) -> int:
        """Tokens whose log-probability is summed."""
        return len(self.ids) - self.start


def whole_rows(batch: TokenBatch) -> list[Row]:
    """Each prompt as a text of which every token after the first counts. Raises InputError for a single token."""
    rows = []
    for item, ids in enumerate(batch.id_lists()):
        if len(ids) < 2:
            raise InputError(f"prompt {item + 1} is one token: nothing in it is predicted.", "Give a longer text.")
        rows.append(Row(ids, 1, item, _places(batch, item)))
    return rows


def choice_rows(bench: Bench, name: str) -> list[Row]:
    """A row for each choice of each prompt of the input called `name`, in order. Raises InputError."""
    inputs, batch = bench.experiment.inputs[name], bench.batch(name)
    rows = []
    for item, (choices, ids) in enumerate(zip(inputs.choices, batch.id_lists(), strict=True)):
        for choice, joined in enumerate(_joined(bench, inputs, item, ids)):
            start = max(1, sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(ids, joined, strict=False))))
            if start >= len(joined):
                raise InputError(f"choice {choice + 1} of prompt {item + 1}, '{choices[choice]}', adds no token.",
                                 "Give every choice a text.")  # fmt: skip
            rows.append(Row(tuple(joined), start, item, _places(batch, item)))
    return rows


def _joined(bench: Bench, inputs: PromptSet, item: int, ids: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The ids of a prompt followed by each of its choices."""
    prompt, choices = inputs.prompts[item], inputs.choices[item]
    try:
        if isinstance(prompt, str):
            texts = tuple(prompt + choice for choice in choices)
            told = PromptSet(prompts=texts, special=inputs.special, plain_text=inputs.plain_text)
            return list(bench.tokens(told).id_lists())
        alone = PromptSet(prompts=choices, special="none", plain_text=inputs.plain_text)
        return [(*ids, *more) for more in bench.tokens(alone).id_lists()]
    except InputError as error:
        raise InputError(f"prompt {item + 1} with its choices: {error.message}", error.hint) from error


def _places(batch: TokenBatch, item: int) -> tuple[tuple[str, int], ...]:
    return tuple((name, places[item]) for name, places in batch.positions.items() if name != "last")


def window_rows(batch: TokenBatch, window: int, stride: int) -> list[Row]:
    """Long texts cut into windows of at most `window` tokens, each `stride` tokens after the one before.

    Every token but a text's first counts once: in the first window that holds it, so later windows count their last
    `stride` tokens, with at least window − stride tokens of context. Raises InputError for a single token.
    """
    rows = []
    for whole in whole_rows(batch):
        begin, done = 0, 1
        while done < len(whole.ids):
            end = min(begin + window, len(whole.ids))
            rows.append(Row(whole.ids[begin:end], done - begin, whole.item))
            begin, done = begin + stride, end
    return rows


def usual_window(model: Instrumented) -> int:
    """The longest text that a model reads at once, at most 1,024 tokens."""
    return min(model.info.n_ctx or DEFAULT_WINDOW, DEFAULT_WINDOW)


def log_likelihoods(
    bench: Bench, rows: Sequence[Row], runs: Sequence[Sequence[Intervention]], message: str
) -> Float[np.ndarray, "run row"]:
    """[run row]: the summed log-probability of each row's counted tokens under each set of edits, in nats.

    Rows of one item share a forward where the budget allows it, rows of like length stand together, and logits are
    reduced before the next forward. Progress is told after each forward. Raises Cancelled, InputError, SiteMissing.
    """
    values, done = np.zeros((len(runs), len(rows))), 0
    bench.step(0, len(rows) * len(runs), message)
    for chunk in _chunks(bench, rows):
        part = _batch(bench.model, [rows[place] for place in chunk])
        starts = torch.tensor([rows[place].start for place in chunk])
        for run, edits in enumerate(runs):
            logits = bench.forward(part, edits=edits).logits
            values[run, chunk] = summed(logits, part.ids, starts, torch.tensor(part.lengths)).cpu().numpy()
            done += len(chunk)
            bench.step(done, len(rows) * len(runs), message)
    return values


def summed(
    logits: Float[Tensor, "batch pos d_vocab"],
    ids: Int[Tensor, "batch pos"],
    starts: Int[Tensor, " batch"],
    stops: Int[Tensor, " batch"],
) -> Float[Tensor, " batch"]:
    """Sum over positions i in [start, stop) of log p(ids[i]), in nats; the logits before a token predict it."""
    ids, starts, stops = (x.to(logits.device) for x in (ids, starts, stops))
    sums = torch.zeros(len(ids), dtype=torch.float64, device=logits.device)
    # Row by row: the float32 copy and the exponentials of all rows together would be larger than the logits.
    for row, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
        before = logits[row, start - 1 : stop - 1].float()
        chosen = before.gather(-1, ids[row, start:stop, None]).squeeze(-1)
        sums[row] = (chosen - before.logsumexp(-1)).double().sum()
    return sums


def _batch(model: Instrumented, rows: Sequence[Row]) -> TokenBatch:
    batch = padded(model.tokenizer, model.info, [row.ids for row in rows])
    named = {name: tuple(dict(row.places)[name] for row in rows) for name, _ in rows[0].places}
    return replace(batch, positions={**named, **batch.positions})


def _chunks(bench: Bench, rows: Sequence[Row]) -> Iterator[list[int]]:
    """Numbers of the rows of each forward: whole items, shortest first, as many as fit the byte budget."""
    items = [list(places) for _, places in groupby(range(len(rows)), key=lambda place: rows[place].item)]
    items.sort(key=lambda places: max(len(rows[place].ids) for place in places))
    held: list[int] = []
    for places in items:
        together = [*held, *places]
        if held and len(together) > _most(bench, rows, together):
            yield from _split(held, _most(bench, rows, held))
            held = places
        else:
            held = together
    yield from _split(held, _most(bench, rows, held))


def _most(bench: Bench, rows: Sequence[Row], places: Sequence[int]) -> int:
    """Rows as long as the longest of these that fit the budget."""
    longest = max((rows[place] for place in places), key=lambda row: len(row.ids))
    return rows_within(bench.budget_bytes, bench.model.info, _batch(bench.model, [longest]), everywhere=True)


def _split(places: Sequence[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(places), size):
        yield list(places[start : start + size])
