"""The text that the bundled `toy` model is trained on, and its tokenizer: all generated, from words and a seed."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import GPT2Tokenizer

EOT = "<|endoftext|>"
NAME_WORDS = """
Mary John Tom James Dan Sarah Anna Paul Mark Jane Alice Bob Susan Peter David Emma Lucy Kate Michael Robert
Laura Kevin Steve Helen Grace Jack Simon Rachel Adam Ruth Martin Claire Henry Julia George Nancy Frank Diane Sam Linda
"""
PLACE_WORDS = "store garden restaurant school hospital office house station park market beach library museum bank"
OBJECT_WORDS = (
    "drink ring kiss bone computer necklace snack book letter ticket present flower cake toy hat key card ball"
)
FILLER_WORDS = """
the of and a to in that it he she they we was is had got were working at went gave decided give lot fun long argument
afterwards said handed Later offered found friends passed met showed his her time day man cat dog red blue one two
"""
NAMES, PLACES, OBJECTS, FILLER = (words.split() for words in (NAME_WORDS, PLACE_WORDS, OBJECT_WORDS, FILLER_WORDS))
# {A} and {B} are the two names in either order, {S} repeats one of them, and the answer is the other.
TEMPLATES = (
    "When {A} and {B} went to the {place}, {S} gave a {object} to",
    "Then, {A} and {B} went to the {place}, and {S} gave a {object} to",
    "After {A} and {B} went to the {place}, {S} decided to give a {object} to",
    "While {A} and {B} were working at the {place}, {S} handed a {object} to",
    "When {A} and {B} got a {object} at the {place}, {S} decided to give it to",
    "Then {A} and {B} had a long argument at the {place}, and afterwards {S} said to",
    "Then {A} and {B} had a lot of fun at the {place}. Later {S} offered a {object} to",
    "Friends {A} and {B} found a {object} at the {place}. {S} gave it to",
    "The {place} {A} and {B} went to had a {object}. {S} passed it to",
    "{A} and {B} met at the {place}, and {S} showed a {object} to",
)
CONTRACT = ("When Mary and John went to the store, John gave a drink to", " Mary", " John")
HELD_OUT_PAIRS, CONTEXT, LONGEST_PERIOD = 40, 256, 52

Pair = tuple[str, str]
Example = tuple[str, str, str]  # prompt, answer, foil


def split_pairs(seed: int) -> tuple[list[Pair], list[Pair]]:
    """Unordered name pairs for training and held out; Mary and John are held out, so the usual prompt is unseen."""
    pairs = list(itertools.combinations(NAMES, 2))
    first, rest = pairs[0], pairs[1:]
    random.Random(seed).shuffle(rest)
    return rest[HELD_OUT_PAIRS - 1 :], [first, *rest[: HELD_OUT_PAIRS - 1]]


def ioi_example(rng: random.Random, pair: Pair, template: str) -> Example:
    """One IOI prompt, its answer and its foil; order of the names (ABBA or BABA) and the fillers are drawn."""
    io, s = rng.sample(pair, 2)
    a, b = rng.sample(pair, 2)
    prompt = template.format(A=a, B=b, S=s, place=rng.choice(PLACES), object=rng.choice(OBJECTS))
    return prompt, f" {io}", f" {s}"


def build_tokenizer(seed: int) -> GPT2Tokenizer:
    """Byte-level BPE in which every lexicon word, with or without a leading space, is one token.

    All 256 bytes are in the alphabet, so any text has an encoding that decodes back to the same bytes.
    """
    rng = random.Random(seed)
    lexicon = [*NAMES, *PLACES, *OBJECTS, *FILLER]
    lines = [" " + " ".join(lexicon)] * 20 + NAMES * 10
    for template, pair in itertools.product(TEMPLATES, itertools.combinations(NAMES, 2)):
        lines.append("".join(ioi_example(rng, pair, template)[:2]) + ".")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1500, min_frequency=2, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(lines, trainer)
    state = json.loads(bpe.to_str())["model"]
    vocab: dict[str, int] = state["vocab"] | {EOT: len(state["vocab"])}  # last, as in GPT-2
    merges: Any = [tuple(pair) for pair in state["merges"]]
    tokenizer = GPT2Tokenizer(vocab=vocab, merges=merges, model_max_length=CONTEXT)
    for word in lexicon:
        if len(tokenizer.encode(f" {word}")) != 1:
            raise ValueError(f"{word!r} with its leading space is not one token")
    return tokenizer


def repeated_row(rng: random.Random, length: int, draw: Callable[[int], list[int]], bos: int) -> list[int]:
    """[BOS] in every other row, a random prefix, then one random segment over and over.

    Prefix and period differ from row to row: with one period for all, attending a fixed distance back, by position
    alone, would do as well as an induction head and be learned first.
    """
    row = [bos] * rng.randint(0, 1) + draw(rng.randint(0, 6))
    segment = draw(rng.randint(4, min(length // 2, LONGEST_PERIOD)))
    while len(row) < length:
        row += segment
    return row[:length]


def recall_row(rng: random.Random, length: int, draw: Callable[[int], list[int]]) -> list[int]:
    """Random pairs "a b", each several times in random order, now and then with another token in between.

    What follows a is decided by the one token before it, so a head that looks further back does not help.
    """
    pairs = [draw(2) for _ in range(rng.randint(2, 8))]
    row: list[int] = []
    while len(row) < length:
        row += rng.choice(pairs) + draw(rng.choice([0, 0, 0, 1]))
    return row[:length]


def ioi_batch(rng: random.Random, tokenizer: GPT2Tokenizer, pairs: list[Pair], rows: int) -> tuple[Tensor, Tensor]:
    """Padded IOI sentences and their labels.

    Every other row starts with BOS, for prompts are run both ways. In three of four only the answer is a label: most
    other words are a matter of chance.
    """
    bos = int(tokenizer.bos_token_id)
    ids: list[list[int]] = []
    labels: list[list[int]] = []
    for i in range(rows):
        prompt, answer, _ = ioi_example(rng, rng.choice(pairs), rng.choice(TEMPLATES))
        before, after = [bos] * (i % 2) + tokenizer.encode(prompt), tokenizer.encode(f"{answer}.")
        ids.append(before + after)
        labels.append((before if i % 4 == 0 else [-100] * len(before)) + after)
    width = max(map(len, ids))
    tokens = torch.tensor([row + [bos] * (width - len(row)) for row in ids])
    return tokens, torch.tensor([row + [-100] * (width - len(row)) for row in labels])
