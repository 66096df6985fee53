"""What differs between a clean run and a run under edits: the distribution of answers, and every head's attention."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from analyses.bench import Bench
from analyses.grid import Coord, Grid
from analyses.phrases import choices_in_words, probability_in_words
from hooks.activations import Activations
from hooks.sites import MAIN, Site

TOP = 10
ATTENTION = {"pattern": "attention", "cross_pattern": "cross-attention"}
"""The sites that say where heads look, in words."""


def distributions(
    bench: Bench,
    clean: Float[Tensor, "batch pos d_vocab"],
    changed: Float[Tensor, "batch pos d_vocab"],
    inputs: str = "clean",
) -> tuple[Grid, Grid]:
    """Probabilities of the tokens or classes that are among the top ten before or after, most probable before first.

    At the answer position, mean over prompts: `prob_clean` and `prob_ablated`, axis `token`.
    """
    batch = bench.batch(inputs)
    rows, at = torch.arange(len(batch)), torch.tensor(batch.answer_at)
    before, after = (x[rows, at].float().softmax(-1).double().mean(0) for x in (clean, changed))
    ids = torch.cat([before.topk(min(TOP, len(before))).indices, after.topk(min(TOP, len(after))).indices]).unique()
    ids = ids[before[ids].argsort(descending=True)]
    coords: Mapping[str, tuple[Coord, ...]] = {
        "token": choices_in_words(bench.model, ids.tolist()),
        "id": tuple(ids.tolist()),
    }
    about = f"{probability_in_words(bench.model.info.task)} at the answer position"
    return (
        Grid("prob_clean", before[ids].cpu().numpy(), ("token",), coords, "prob", about=f"{about}, clean"),
        Grid("prob_ablated", after[ids].cpu().numpy(), ("token",), coords, "prob", about=f"{about}, ablated"),
    )


def pattern_shifts(bench: Bench, clean: Activations, changed: Activations, inputs: str = "clean") -> tuple[Grid, ...]:
    """How much each head's attention moved, for every sort of attention that was captured.

    Total variation distance of rows, mean over real queries and prompts: `pattern_shift` (layer, head),
    `cross_pattern_shift`, and with the stack in front, such as `encoder_pattern_shift`, those of other stacks.
    """
    sorts = dict.fromkeys((site.stack, site.name) for site in clean if site.name in ATTENTION)
    return tuple(_shift(bench, clean, changed, inputs, stack, name) for stack, name in sorts)


def _shift(bench: Bench, clean: Activations, changed: Activations, inputs: str, stack: str, name: str) -> Grid:
    info, batch = bench.model.info.stack(stack), bench.batch(inputs).side(stack)
    values, valid = np.zeros((info.n_layers, info.n_heads)), np.zeros((info.n_layers, info.n_heads), dtype=bool)
    for layer in range(info.n_layers):
        if (site := Site(name, layer, stack)) in clean:
            moved = (clean[site].float() - changed[site].float()).abs().sum(-1) / 2
            real = batch.mask.to(moved.device)[:, None].float()
            values[layer] = ((moved * real).sum((0, 2)) / real.sum()).cpu().numpy()
            valid[layer] = True
    coords = {"layer": tuple(range(info.n_layers)), "head": tuple(range(info.n_heads))}
    about = (
        f"how much a head's {ATTENTION[name]} moved: half the summed absolute difference of each row, mean over queries"
    )
    about += "" if valid.all() else "; the other layers have none"
    title = f"{name}_shift" if stack == MAIN else f"{stack}_{name}_shift"
    return Grid(title, values, ("layer", "head"), coords, "fraction", 0.0, about, None if valid.all() else valid)
