"""What edits draw at random: noise, and the prompts that values are resampled from. Equal seeds give equal draws."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from zlib import crc32

import numpy as np
import torch

from hooks.errors import InputError
from hooks.sites import Site
from hooks.tokens import TokenBatch


def noise(seed: int, site: Site, prompt: int, length: int, shape: Sequence[int]) -> np.ndarray:
    """[length, *shape] standard normal numbers, float32, for the positions of one prompt at a site.

    They are drawn in order, so a longer prompt has the same at its first positions, and by prompt, so it does not
    matter which prompts run together.
    """
    generator = np.random.default_rng([seed, prompt, crc32(str(site).encode())])
    return generator.standard_normal((length, *shape)).astype(np.float32)


def partners(ours: TokenBatch, theirs: TokenBatch, name: str, seed: int) -> tuple[int, ...]:
    """For each of our prompts, the prompt of `theirs` whose values it takes, of the same length in every stack.

    A derangement among prompts of equal length where the two sets are the same; else a draw with replacement that
    leaves out the prompt's own tokens. Raises InputError where a prompt has no other.
    """
    generator = np.random.default_rng([seed, len(ours), len(theirs)])
    here, there = _lengths(ours), _lengths(theirs)
    ids, other_ids = ours.id_lists(), theirs.id_lists()
    if ids == other_ids and all(torch.equal(x, theirs.inputs[key]) for key, x in ours.inputs.items()):
        return _derangement(here, name, generator)
    chosen = []
    for prompt, length in enumerate(here):
        # Images have no tokens that could tell one from another.
        fits = [n for n, other in enumerate(there) if other == length and (ours.inputs or ids[prompt] != other_ids[n])]
        if not fits:
            raise _alone(prompt, length, name)
        chosen.append(int(generator.choice(fits)))
    return tuple(chosen)


def _derangement(lengths: Sequence[tuple[int, ...]], name: str, generator: np.random.Generator) -> tuple[int, ...]:
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for prompt, length in enumerate(lengths):
        groups[length].append(prompt)
    taken = [0] * len(lengths)
    for length, prompts in groups.items():
        if len(prompts) == 1:
            raise _alone(prompts[0], length, name)
        order = generator.permutation(len(prompts))
        # Drawn anew until nobody keeps its own: uniform over derangements, after e draws on average.
        while (order == np.arange(len(prompts))).any():
            order = generator.permutation(len(prompts))
        for prompt, other in zip(prompts, order, strict=True):
            taken[prompt] = prompts[other]
    return tuple(taken)


def _lengths(batch: TokenBatch) -> list[tuple[int, ...]]:
    """Tokens of each prompt in every stack."""
    return list(zip(batch.lengths, *(side.lengths for _, side in sorted(batch.sides.items())), strict=True))


def _alone(prompt: int, length: tuple[int, ...], name: str) -> InputError:
    return InputError(
        f"prompt {prompt} has {' and '.join(map(str, length))} tokens, and '{name}' has no other prompt of that length "
        "to resample from.",
        "Give prompts of equal length, or take the mean over positions.",
    )
