"""How a token comes about: the merges of a BPE token, the pieces of a WordPiece or Unigram word, and their scores.

BPE (Sennrich et al. 2016, arXiv 1508.07909) starts from characters or bytes and joins, again and again, the pair of
neighbours of lowest rank. Unigram (Kudo 2018, arXiv 1804.10959) gives each piece a log-probability and takes the
segmentation whose sum is largest. WordPiece (Schuster and Nakajima 2012) takes the longest piece that fits, from the
left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from hooks.errors import InputError
from hooks.spec import Spec
from hooks.token_text import BYTE_PIECE, Notation, notation_of
from hooks.tokenizer_facts import kind_of, merge_ranks, piece_scores


class Merge(Spec):
    """One merge: its rank (0 was learned first), the two pieces, what they become, and all pieces after it."""

    rank: int
    left: str
    right: str
    result: str
    pieces: tuple[str, ...]


class Scored(Spec):
    """A piece with its natural log-probability."""

    piece: str
    score: float


class Build(Spec):
    """How one token comes about. All strings are in display form.

    start: the pieces that the merges begin with. merges: in the order in which they happen. n_merges: all merges of the
    tokenizer. score: of the whole token (Unigram). otherwise: the best segmentation without it (Unigram), empty where
    there is none. note: what else must be known, such as that the token was added whole.
    """

    id: int
    string: str
    kind: str
    start: tuple[str, ...] = ()
    merges: tuple[Merge, ...] = ()
    n_merges: int = 0
    score: float | None = None
    otherwise: tuple[Scored, ...] = ()
    note: str = ""


def build(tokenizer: Any, token: int) -> Build:
    """How a token comes about in this tokenizer. Raises InputError for an id that it does not have."""
    raw = tokenizer.convert_ids_to_tokens(token) if 0 <= token < len(tokenizer) else None
    if raw is None:
        raise InputError(
            f"id {token} is not in this vocabulary.", f"Ids are whole numbers from 0 to {len(tokenizer) - 1}."
        )
    notation = notation_of(tokenizer)
    base = Build(id=token, string=notation.show(raw, token) or f"#{token}", kind=kind_of(tokenizer))
    if token == getattr(tokenizer, "unk_token_id", None) and token != getattr(tokenizer, "eos_token_id", None):
        return base.model_copy(update={"note": "Stands for text that the vocabulary has no piece for."})
    if token in notation.added:
        return base.model_copy(
            update={"note": "Added to the vocabulary whole: it is found in the text before any split."}
        )
    if notation.byte_pieces and BYTE_PIECE.fullmatch(raw):
        return base.model_copy(update={"note": "One byte of a character that has no piece of its own (byte fallback)."})
    backend = getattr(tokenizer, "backend_tokenizer", None)
    model = "" if backend is None else type(backend.model).__name__
    if model == "BPE":
        return base.model_copy(update=_bpe(tokenizer, raw, notation))
    if model == "Unigram":
        return base.model_copy(update=_unigram(tokenizer, raw, notation))
    notes = {
        "WordPiece": "The longest piece of the vocabulary that fits at this place of the word, taken from the left.",
        "WordLevel": "A word of the vocabulary; there are no smaller pieces.",
    }
    return base.model_copy(update={"note": notes.get(model, "This tokenizer does not say how its tokens come about.")})


def _bpe(tokenizer: Any, raw: str, notation: Notation) -> dict[str, Any]:
    ranks = merge_ranks(tokenizer)
    pieces = _letters(raw, notation)
    start, steps = tuple(map(notation.show, pieces)), []
    while len(pieces) > 1:
        rank, at = min((ranks.get(pair, math.inf), i) for i, pair in enumerate(pairwise(pieces)))
        if rank == math.inf:
            break
        left, right = pieces[at], pieces[at + 1]
        joined = left + right.removeprefix(notation.prefix)
        pieces[at : at + 2] = [joined]
        left, right, joined = map(notation.show, (left, right, joined))
        after = tuple(map(notation.show, pieces))
        steps.append(Merge(rank=int(rank), left=left, right=right, result=joined, pieces=after))
    if len(pieces) > 1:
        note = "No merges lead to it: it is taken whole, as a word that the vocabulary knows."
    else:
        note = "" if steps else "A letter of the alphabet that the merges start from."
    return {"start": start, "merges": tuple(steps), "n_merges": len(ranks), "note": note}


def _letters(raw: str, notation: Notation) -> list[str]:
    """What the merges of a token begin with: its characters, the last one with the mark of a word's end."""
    ends = bool(notation.suffix) and raw.endswith(notation.suffix) and raw != notation.suffix
    letters = list(raw.removesuffix(notation.suffix) if ends else raw)
    if ends:
        letters[-1] += notation.suffix
    return letters


def _unigram(tokenizer: Any, raw: str, notation: Notation) -> dict[str, Any]:
    scores = piece_scores(tokenizer)
    other = _best(raw, {piece: score for piece, score in _inside(raw, scores).items() if piece != raw})
    shown = tuple(Scored(piece=notation.show(piece), score=scores[piece]) for piece in other)
    note = "" if shown else "No smaller pieces of the vocabulary make it up."
    return {"score": scores.get(raw), "otherwise": shown, "note": note}


def _inside(text: str, scores: Mapping[str, float]) -> dict[str, float]:
    spans = {text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1)}
    return {span: scores[span] for span in spans if span in scores}


def _best(text: str, scores: Mapping[str, float]) -> list[str]:
    """The segmentation of `text` with the largest sum of scores (Viterbi); empty where none covers it."""
    best: list[tuple[float, list[str]] | None] = [(0.0, [])] + [None] * len(text)
    for stop in range(1, len(text) + 1):
        options = [
            (before[0] + scores[text[start:stop]], [*before[1], text[start:stop]])
            for start in range(stop)
            if (before := best[start]) is not None and text[start:stop] in scores
        ]
        best[stop] = max(options, key=lambda option: option[0], default=None)
    last = best[-1]
    return last[1] if last is not None else []
