"""What a tokenizer is and what it adds, as measured on it.

A tokenizer's files say what it should do; what it does is asked of it: the special tokens that it puts around a text
are those that appear when the same text is encoded with and without them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from hooks.errors import InputError
from hooks.prompts import ChatPrompt
from hooks.spec import Spec
from hooks.token_text import SPACE_SIGN, display, notation_of, special_ids, state_of
from hooks.tokens import render

PROBE = "a"
ROLES = ("bos", "eos", "unk", "pad", "cls", "sep", "mask")
WORDS = {
    "BertNormalizer": "BERT: {lowercase}{strip_accents}cleans control characters, spaces out Chinese characters",
    "BertPreTokenizer": "at spaces and punctuation",
    "ByteLevel": "bytes as letters",
    "Digits": "digits apart{individual_digits}",
    "Lowercase": "lower case",
    "Nmt": "control characters to spaces",
    "Precompiled": "SentencePiece's table of characters (NFKC-like)",
    "Punctuation": "punctuation apart",
    "Strip": "spaces at the ends removed",
    "StripAccents": "accents removed",
    "UnicodeScripts": "at changes of script",
    "Whitespace": "at spaces and punctuation",
    "WhitespaceSplit": "at spaces",
}


class SpecialToken(Spec):
    """A token with a role: its text, its id and whether it has the same id as another role."""

    role: str
    token: str
    id: int


class TokenizerFacts(Spec):
    """What a tokenizer is.

    kind: its algorithm. vocabulary: ids that it can give, added tokens included; merges: None where it is not BPE.
    before, after: the special tokens that it puts around a text, as measured. template_bos: how many BOS tokens its
    chat template writes in front; None without a template or a BOS. origin: where it came from.
    """

    kind: str
    fast: bool
    vocabulary: int
    added: int
    merges: int | None
    special: tuple[SpecialToken, ...]
    normaliser: str
    pre_tokeniser: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    bos_policy: str
    eos_policy: str
    chat_template: bool
    template_bos: int | None
    padding_side: str
    origin: str


def facts(tokenizer: Any, origin: str = "") -> TokenizerFacts:
    """The facts of a tokenizer, fast or slow. origin: where it came from, in words."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    before, after = _added(tokenizer)
    return TokenizerFacts(
        kind=kind_of(tokenizer),
        fast=backend is not None,
        vocabulary=len(tokenizer),
        added=len(notation_of(tokenizer).added),
        merges=len(merge_ranks(tokenizer)) if _model(tokenizer) == "BPE" else None,
        special=special_tokens(tokenizer),
        normaliser=_words(state_of(backend.normalizer)) if backend is not None else "not stated",
        pre_tokeniser=_words(state_of(backend.pre_tokenizer)) if backend is not None else "not stated",
        before=before,
        after=after,
        bos_policy=_policy(tokenizer, "bos", before),
        eos_policy=_policy(tokenizer, "eos", after),
        chat_template=bool(getattr(tokenizer, "chat_template", None)),
        template_bos=_template_bos(tokenizer),
        padding_side=str(getattr(tokenizer, "padding_side", "right")),
        origin=origin,
    )


def kind_of(tokenizer: Any) -> str:
    """The algorithm of a tokenizer in the field's words."""
    notation, model = notation_of(tokenizer), _model(tokenizer)
    if model == "BPE":
        if notation.bytes_as:
            whole = bool(getattr(tokenizer.backend_tokenizer.model, "ignore_merges", False))
            return "byte-level BPE, known words whole (tiktoken style)" if whole else "byte-level BPE"
        kind = "SentencePiece BPE" if notation.space else "BPE"
        return f"{kind} with byte fallback" if notation.byte_pieces else kind
    if model == "Unigram":
        return "Unigram with byte fallback" if notation.byte_pieces else "Unigram"
    if notation.bytes_as == "characters":
        return "bytes"
    return {"WordLevel": "whole words", "": f"slow tokenizer ({type(tokenizer).__name__})"}.get(model, model)


def _model(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return "" if backend is None else type(backend.model).__name__


# Ranks or scores of the tokenizers in use: reading a large vocabulary takes about a second.
_TABLES: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def merge_ranks(tokenizer: Any) -> Mapping[tuple[str, str], int]:
    """The merges of a fast BPE tokenizer with their ranks, 0 first, in the notation of its vocabulary."""
    if tokenizer not in _TABLES:
        merges = state_of(tokenizer.backend_tokenizer.model)["merges"]
        pairs = (tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in merges)
        _TABLES[tokenizer] = {pair: rank for rank, pair in enumerate(pairs)}
    ranks: Mapping[tuple[str, str], int] = _TABLES[tokenizer]
    return ranks


def piece_scores(tokenizer: Any) -> Mapping[str, float]:
    """The pieces of a fast Unigram tokenizer with their natural log-probabilities."""
    if tokenizer not in _TABLES:
        vocabulary = state_of(tokenizer.backend_tokenizer.model)["vocab"]
        _TABLES[tokenizer] = {piece: float(score) for piece, score in vocabulary}
    scores: Mapping[str, float] = _TABLES[tokenizer]
    return scores


def special_tokens(tokenizer: Any) -> tuple[SpecialToken, ...]:
    """The tokens with a role, then the others that the tokenizer counts as special, by id."""
    found = [
        SpecialToken(role=role, token=str(getattr(tokenizer, f"{role}_token")), id=int(token))
        for role in ROLES
        if (token := getattr(tokenizer, f"{role}_token_id", None)) is not None
    ]
    rest = sorted(special_ids(tokenizer) - {token.id for token in found})
    texts = display(tokenizer, rest)
    return (*found, *(SpecialToken(role="", token=text, id=i) for i, text in zip(rest, texts, strict=True)))


def _added(tokenizer: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The special tokens that are put before and after a text."""
    plain = [int(token) for token in tokenizer(PROBE, add_special_tokens=False)["input_ids"]]
    whole = [int(token) for token in tokenizer(PROBE)["input_ids"]]
    starts = range(len(whole) - len(plain) + 1)
    start = next((i for i in starts if plain and whole[i : i + len(plain)] == plain), 0)
    return display(tokenizer, whole[:start]), display(tokenizer, whole[start + len(plain) :])


def _policy(tokenizer: Any, role: str, added: Sequence[str]) -> str:
    token, name = getattr(tokenizer, f"{role}_token", None), role.upper()
    place = "in front of" if role == "bos" else "after"
    if token is None:
        return f"has no {name} token" + (f"; puts {' '.join(added)} {place} each text" if added else "")
    if token in added:
        return f"puts {token} {place} each text"
    return f"has {token}, and does not add it"


def _template_bos(tokenizer: Any) -> int | None:
    bos = getattr(tokenizer, "bos_token_id", None)
    if bos is None or not getattr(tokenizer, "chat_template", None):
        return None
    try:
        text = render(tokenizer, ChatPrompt(messages=({"role": "user", "content": PROBE},)))
    except InputError:
        return None
    ids = [int(token) for token in tokenizer(text, add_special_tokens=False)["input_ids"]]
    return next((i for i, token in enumerate(ids) if token != bos), len(ids))


def _words(state: Any) -> str:
    """A normaliser or pre-tokeniser in words, step by step."""
    if state is None:
        return "none"
    kind = state["type"]
    if kind == "Sequence":
        steps = state.get("normalizers") or state.get("pretokenizers") or []
        return ", then ".join(_words(step) for step in steps) or "none"
    if kind == "Replace":
        return f"{_pattern(state['pattern'])} becomes {_quoted(state['content'])}"
    if kind == "Prepend":
        return f"{_quoted(state['prepend'])} in front"
    if kind == "Metaspace":
        first = {"always": ", one in front", "first": ", one in front of the text"}.get(state.get("prepend_scheme"), "")
        return f"words at spaces, a space written as {state.get('replacement', SPACE_SIGN)}{first}"
    if kind == "Split":
        return f"split at {_pattern(state['pattern'])}"
    if kind == "ByteLevel":
        regex = state.get("use_regex", False)
        return ("words, numbers and signs apart (GPT-2's pattern), then " if regex else "") + "bytes"
    return WORDS.get(kind, kind).format_map(_options(state))


def _options(state: Mapping[str, Any]) -> dict[str, str]:
    return {
        "lowercase": "lower case, " if state.get("lowercase") else "",
        "strip_accents": "accents removed, " if state.get("strip_accents") or state.get("lowercase") else "",
        "individual_digits": ", each alone" if state.get("individual_digits") else "",
    }


def _pattern(pattern: Mapping[str, str]) -> str:
    return f"the pattern {pattern['Regex']}" if "Regex" in pattern else _quoted(pattern["String"])


def _quoted(text: str) -> str:
    return "nothing" if not text else "a space" if text == " " else f"“{text}”"
