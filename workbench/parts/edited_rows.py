"""The same tokens or classes in a clean and an edited run, as rows of two tables side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from workbench.figures.ablation import TokenRow

SHOWN = 10


def rows_of(
    before: np.ndarray,
    after: np.ndarray,
    names_of: Callable[[list[int]], Sequence[str]],
    *,
    temperature: float = 1.0,
    most: int = SHOWN,
) -> list[TokenRow]:
    """The likeliest of either run, likeliest in the clean run first.

    before, after: logits [d_vocab] of the two runs; names_of: what ids are called.
    """
    probs = [(torch.from_numpy(row).float() / temperature).softmax(-1) for row in (before, after)]
    kept = torch.maximum(*probs).topk(min(most, len(before))).indices
    ids = kept[probs[0][kept].argsort(descending=True)].tolist()
    first, second = (row[ids].tolist() for row in probs)
    largest = max(*first, *second)
    return [
        TokenRow(name, token, a, b, a / largest, b / largest)
        for name, token, a, b in zip(names_of(ids), ids, first, second, strict=True)
    ]
