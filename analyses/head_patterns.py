"""What an attention pattern says of a head on repeated random tokens: the scores, and the tokens.

A sequence is s = [BOS] r r with r of n tokens; o is 1 with the BOS and 0 without. Scores are means of attention weights
A[q, k] over queries. Source: Olsson et al. 2022, arXiv 2209.11895.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from analyses.bench import Bench
from hooks.errors import InputError, SpecError
from hooks.inputs import padded
from hooks.tokens import TokenBatch

Pattern = Float[Tensor, "head q_pos k_pos"]
Score = Float[Tensor, " head"]


def induction(pattern: Pattern, n: int, offset: int) -> Score:
    """Mean attention from each repeated token to the token after its first occurrence."""
    q = torch.arange(offset + n, pattern.shape[-1], device=pattern.device)
    return pattern[:, q, q - n + 1].mean(-1)


def duplicate_token(pattern: Pattern, n: int, offset: int) -> Score:
    """Mean attention from each repeated token to its first occurrence."""
    q = torch.arange(offset + n, pattern.shape[-1], device=pattern.device)
    return pattern[:, q, q - n].mean(-1)


def previous_token(pattern: Pattern, n: int = 0, offset: int = 0) -> Score:
    """Mean attention to the token just before."""
    q = torch.arange(1, pattern.shape[-1], device=pattern.device)
    return pattern[:, q, q - 1].mean(-1)


def first_token(pattern: Pattern, n: int = 0, offset: int = 0) -> Score:
    """Mean attention to position 0, over queries from 1 on."""
    return pattern[:, 1:, 0].mean(-1)


def entropy(pattern: Pattern, n: int = 0, offset: int = 0) -> Score:
    """Mean entropy of the rows, in nats; row q can reach at most log(q + 1)."""
    return torch.special.entr(pattern).sum(-1).mean(-1)


def repeated_tokens(bench: Bench, n: int, sequences: int, *, bos: bool = False) -> tuple[TokenBatch, int]:
    """`sequences` rows [BOS] r r of ordinary tokens from the experiment's seed, and the offset o.

    Raises InputError for a model that reads no one text, SpecError for a length beyond its positions.
    """
    tokenizer, info = bench.model.tokenizer, bench.model.info
    if info.pixels is not None or info.stacks:
        reads = "two inputs" if info.stacks else "images"
        raise InputError(
            f"repeated random tokens are for models that read one text; {info.name} reads {reads}.",
            "Give prompts as inputs.clean, and ask for previous_token, first_token and entropy.",
        )
    special = set(getattr(tokenizer, "all_special_ids", None) or ())
    rows = info.n_embed or info.d_vocab
    size = rows if tokenizer is None else min(len(tokenizer), rows)
    ordinary = torch.tensor([token for token in range(size) if token not in special])
    begin = getattr(tokenizer, "bos_token_id", None)
    if bos and begin is None:
        raise InputError("this model's tokenizer has no BOS token.", "Use bos: false.")
    front = [int(begin)] if bos and begin is not None else []
    length = len(front) + 2 * n
    if info.positions == "learned" and info.n_ctx is not None and length > info.n_ctx:
        raise SpecError(
            f"n = {n} gives {length} tokens, but this model has positions for {info.n_ctx}.",
            f"Use n of at most {(info.n_ctx - len(front)) // 2}.",
        )
    drawn = ordinary[torch.randint(len(ordinary), (sequences, n), generator=bench.rng)].tolist()
    return padded(tokenizer, info, [[*front, *row, *row] for row in drawn]), len(front)
