"""What heads write, read by the model's own end: their direct effect on the answer, and the tokens they push.

What a head writes at a position is added to the last residual stream. With the final norm's scale held at the run's own
value, the logits are linear in that stream, so a head has a part of its own in every token's logit: what it promotes
and what it suppresses, before later layers have read it.

Source: Elhage et al. 2021, A Mathematical Framework for Transformer Circuits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses.addends import addends, at_answers, sites_of
from analyses.averages import averaged
from analyses.bench import Bench
from analyses.grid import Coord, Grid
from analyses.held_norm import held_norm
from analyses.pairs import CLEAN
from analyses.phrases import choices_in_words
from analyses.readout import linear_logits, readout
from hooks.plan import CapturePlan
from hooks.sites import Site

Heads = Sequence[tuple[int, int]]
"""Heads as (layer, head)."""


def direct_effects(bench: Bench, heads: Heads) -> Float[np.ndarray, "prompt node"]:
    """What each head writes towards logit(answer) − logit(foil) at the answer position, in logits.

    NaN for heads that are normed together before they are added. Raises SiteMissing as direct attribution does.
    """
    model = bench.model
    seen, logits = at_answers(bench, CLEAN, sites_of(model, neurons=False))
    last = Site("resid_post", model.info.n_layers - 1)
    out = readout(model, bench.batch(CLEAN), seen[last], seen[Site("ln_final")], logits)
    made = addends(model, seen, out.direction).heads
    none = out.direction.new_full((len(seen.batch),), float("nan"))
    return torch.stack([made[layer][:, head] if layer in made else none for layer, head in heads], 1).cpu().numpy()


def token_logits(bench: Bench, heads: Heads, at: Int[Tensor, " batch"]) -> Float[Tensor, "node batch d_vocab"]:
    """What each head's write at a position of each clean prompt adds to every token's logit, before any soft cap.

    Raises SiteMissing for heads that are normed together before they are added, and where the end is not linear.
    """
    model, rows = bench.model, torch.arange(len(at))
    last, final = Site("resid_post", model.info.n_layers - 1), Site("ln_final")
    layers = sorted({layer for layer, _ in heads})
    for layer in layers:
        model.reads.check_writer(Site("z", layer))
    sites = frozenset({last, final, *(Site("z", layer) for layer in layers)})
    run = bench.forward(CLEAN, CapturePlan(sites=sites), logits_at=at)
    seen = {site: x[rows, at] for site, x in run.activations.items()}
    stream, normed = seen[last].double(), seen[final].double()
    held = held_norm(*model.weights.final_norm(), stream, normed, f"the final norm of {model.name}")
    logits = run.logits[:, 0] if run.logits.shape[1] == 1 else run.logits[rows, at]
    factor = linear_logits(model, normed, logits.double())[0]
    found, unembed = [], factor * model.weights.W_U().double()
    with torch.inference_mode():
        for layer, head in heads:
            write = model.reads.written_each(Site("z", layer), seen[Site("z", layer)][:, None], [head])[0, :, 0]
            write = write.double()
            write = write - write.mean(-1, keepdim=True) if held.centred else write
            found.append((held.scale * held.gain * write) @ unembed)
    return torch.stack(found)


def pushed(
    bench: Bench, name: str, logits: Float[Tensor, "node batch d_vocab"], labels: Sequence[Coord], k: int,
    *, lowest: bool, per_prompt: bool = False,
) -> tuple[Grid, ...]:  # fmt: skip
    """Per node the k tokens whose logits it raises (or lowers) most, by the mean over prompts, tokens as labels."""
    mean = logits.mean(1)
    order = torch.argsort(mean, dim=-1, descending=not lowest, stable=True)[:, :k]
    values = logits.gather(2, order[:, None].expand(-1, logits.shape[1], -1)).transpose(0, 1).cpu().numpy()
    tokens = choices_in_words(bench.model, order.flatten().tolist())
    coords: dict[str, tuple[Coord, ...]] = {
        "node": tuple(labels),
        "rank": tuple(range(1, values.shape[-1] + 1)),
        "token": tokens,
    }
    about = f"tokens whose logits the head {'lowers' if lowest else 'raises'} most by what it writes, by the mean over "
    about += "prompts; the final norm's scale held, later layers left out"
    return averaged(name, values, ("node", "rank"), coords, "logit", baseline=0.0, about=about, per_prompt=per_prompt,
                    null=False)  # fmt: skip
