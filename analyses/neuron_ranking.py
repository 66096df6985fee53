"""Which neurons stand out: one number per neuron and prompt, and the grids of those with the largest mean.

    activation   the neuron's activation at a position, or its peak: that of largest magnitude over the positions
    direct       what it adds to the logit difference (or answer logit) through the residual stream alone, at the answer
                 position, the final norm's scale held

Neurons are ranked by the magnitude of the mean over prompts, so one that is positive on some prompts and negative on
others stands low.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from analyses.addends import at_answers
from analyses.averages import averaged
from analyses.bench import Bench
from analyses.grid import Coord, Grid, Unit
from analyses.maps import positions_of
from analyses.neurons import flat, neuron_sites, parts_of, write_of, written_sites
from analyses.readout import readout
from hooks.errors import InputError, SiteMissing
from hooks.plan import CapturePlan
from hooks.sites import Part, Site
from hooks.tokens import TokenBatch

TOGETHER = 256 << 20
"""Bytes of activations that are looked at in one go; more prompts come one part after the other."""


@dataclass(frozen=True, eq=False)
class Scores:
    """values [prompt neuron]; parts: the neurons, layer by layer; peaks [prompt neuron]: where each has its peak.

    unit, about: of the values. left_out: why layers are missing, "" where none is.
    """

    values: np.ndarray
    parts: tuple[Part, ...]
    unit: Unit
    about: str
    peaks: np.ndarray | None = None
    left_out: str = ""


def peak(
    x: Float[Tensor, "batch pos neuron"], real: Bool[Tensor, "batch pos"]
) -> tuple[Float[Tensor, "batch neuron"], Tensor]:
    """The value of largest magnitude over the real positions, with its sign, and its position."""
    size = x.abs().masked_fill(~real[..., None], -1.0)
    where = size.argmax(dim=1, keepdim=True)
    return x.gather(1, where)[:, 0], where[:, 0]


def real_positions(batch: TokenBatch, stack: str, width: int) -> Bool[Tensor, "batch pos"]:
    """True where a position of a stack is a token and no padding."""
    mask = batch.side(stack).mask
    return mask.bool() if mask.shape[1] == width else torch.ones(len(batch), width, dtype=torch.bool)


def activations(
    bench: Bench, stack: str, layers: Sequence[int] | None, at: int | str | None, *, skip_first: bool
) -> Scores:
    """Every neuron's activation at a position, or with at=None its peak. skip_first: the peak is not looked for there.

    Raises SiteMissing, InputError for a position that a prompt lacks.
    """
    batch, model = bench.batch("clean"), bench.model
    sites = neuron_sites(model, layers, stack)
    if at is not None:
        positions_of(batch.side(stack), (at,))
    if skip_first and min(batch.side(stack).lengths) < 2:
        raise InputError("without its first token a prompt has no position left.", "Use a longer prompt.")
    plan = CapturePlan(sites=frozenset(sites))
    size = max(1, TOGETHER // max(1, plan.bytes(model.info, batch, 1)))
    values, places = [], []
    for start in range(0, len(batch), size):
        bench.step(start, len(batch), "reading the neurons")
        some = batch.rows(start, start + size)
        captured = bench.capture("clean" if some is batch else some, plan)
        read = [_read(flat(site, captured[site]).float(), some, stack, at, skip_first) for site in sites]
        values.append(torch.cat([value for value, _ in read], dim=1).cpu().numpy())
        places.append(torch.cat([place for _, place in read], dim=1).cpu().numpy())
    bench.step(len(batch), len(batch), "reading the neurons")
    but = " but the first" if skip_first else ""
    about = f"at position {at}" if at is not None else f"at the position where it is largest in magnitude, of all{but}"
    parts = tuple(part for site in sites for part in parts_of(model, site))
    return Scores(np.concatenate(values), parts, "activation", f"activation {about}", np.concatenate(places))


def _read(
    x: Float[Tensor, "batch pos neuron"], batch: TokenBatch, stack: str, at: int | str | None, skip_first: bool
) -> tuple[Tensor, Tensor]:
    """The value [batch neuron] that counts, and its position."""
    if at is None:
        real = real_positions(batch, stack, x.shape[1]).to(x.device)
        real = real & (torch.arange(x.shape[1], device=x.device) > 0) if skip_first else real
        return peak(x, real)
    side = batch.side(stack)
    place = torch.tensor(side.positions[at] if isinstance(at, str) else (at,) * len(batch), device=x.device)
    value = x[torch.arange(len(batch), device=x.device), place]
    return value, place[:, None].expand(value.shape)


def direct_effects(bench: Bench, layers: Sequence[int] | None) -> Scores:
    """What every neuron adds to the logit difference by itself. Raises InputError, SiteMissing."""
    batch, model = bench.batch("clean"), bench.model
    if not batch.answers:
        raise InputError("direct effects need answers: one token per prompt.", 'Add "answers" to inputs.clean.')
    sites, (last, normed) = neuron_sites(model, layers), stream_sites(bench)
    bench.step(0, 1, "running the model")
    wanted = {one for site in sites for one in written_sites(model, site)}
    seen, logits = at_answers(bench, "clean", sorted(wanted | {last, normed}))
    out = readout(model, batch, seen[last], seen[normed], logits)
    values, parts, missing = [], [], []
    for site in sites:
        try:
            write, value = write_of(model, site, seen)
        except SiteMissing as error:
            missing.append((site.layer, error))
            continue
        values.append(write.along(value, out.direction).cpu().numpy())
        parts += parts_of(model, site)
    if not values:
        raise missing[0][1]
    bench.step(1, 1, "running the model")
    left_out = f"; layers whose neurons do not sum to what they write: {_layers_in(missing)}" if missing else ""
    against = "logit(answer) − logit(foil)" if batch.foils else "logit(answer)"
    capped = "" if out.cap is None else f", before the soft cap of {out.cap:g}"
    about = f"direct effect on {against}{capped}, the final norm's scale held"
    return Scores(np.concatenate(values, axis=1), tuple(parts), "logit", about, None, left_out)


def _layers_in(missing: Sequence[tuple[int | None, SiteMissing]]) -> str:
    """The layers that are missing, in words."""
    return ", ".join(str(layer) for layer, _ in missing)


def stream_sites(bench: Bench) -> tuple[Site, Site]:
    """The last stream and what the final norm makes of it. Raises SiteMissing for a stream normed in its blocks."""
    model = bench.model
    if model.info.norm == "post":
        raise SiteMissing(
            f"{model.name} norms its residual stream inside every block, so what is written does not add up.",
            "Rank by activation, or ablate the neuron to measure its effect.",
        )
    model.weights.W_U()
    return Site("resid_post", model.info.n_layers - 1), Site("ln_final")


def ranked(scores: Scores, top: int, *, per_layer: bool) -> list[np.ndarray]:
    """The places of the neurons with the largest mean, strongest first: of every layer, or of all in one array."""
    size = np.abs(scores.values.astype(np.float64).mean(axis=0))
    layers = np.array([part.site.layer for part in scores.parts])
    groups = (
        [np.flatnonzero(layers == layer) for layer in dict.fromkeys(layers)] if per_layer else [np.arange(len(size))]
    )
    count = min(top, *(len(group) for group in groups), len(size))
    return [group[np.argsort(-size[group], kind="stable")[:count]] for group in groups]


def ranking(
    scores: Scores, batch: TokenBatch, stack: str, top: int, *, per_layer: bool, per_prompt: bool
) -> tuple[Grid, ...]:
    """`score` of the strongest neurons, and with direct effects `layer_total`, the sum over all neurons of a layer."""
    groups = ranked(scores, top, per_layer=per_layer)
    chosen = np.concatenate(groups)
    parts = [scores.parts[place] for place in chosen]
    names = tuple(str(part) for part in parts)
    further: dict[str, tuple[Coord, ...]] = {"unit": tuple(part.unit or 0 for part in parts)}
    if any(part.expert is not None for part in parts):
        further["expert"] = tuple(-1 if part.expert is None else part.expert for part in parts)
    if scores.peaks is not None:
        further |= _peaks(scores, chosen, batch.side(stack))
    layers: tuple[Coord, ...] = tuple(part.site.layer or 0 for part in parts)
    shown, total = len(chosen), len(scores.parts)
    which = f"{len(groups[0]):,} of each layer, {shown:,}" if per_layer else f"{shown:,}"
    about = f"{scores.about}; {which} of {total:,} neurons, largest |mean over prompts| first{scores.left_out}"
    values = scores.values[:, chosen]
    if per_layer:
        dims: tuple[str, ...] = ("layer", "rank")
        coords = {"layer": layers[:: len(groups[0])], "rank": tuple(range(len(groups[0]))), "neuron": names, **further}
        values = values.reshape(len(values), len(groups), -1)
    else:
        dims, coords = ("neuron",), {"neuron": names, "layer": layers, **further}
    grids = averaged("score", values, dims, coords, scores.unit, baseline=0.0, about=about, per_prompt=per_prompt,
                     null=False)  # fmt: skip
    return grids if scores.unit != "logit" else (*grids, *_totals(scores, per_prompt))


def _peaks(scores: Scores, chosen: np.ndarray, side: TokenBatch) -> dict[str, tuple[Coord, ...]]:
    """Where each chosen neuron is largest: prompt, position, token."""
    assert scores.peaks is not None
    prompts = np.abs(scores.values[:, chosen]).argmax(axis=0)
    places = scores.peaks[prompts, chosen].tolist()
    tokens = (_token(side, int(prompt), place) for prompt, place in zip(prompts, places, strict=True))
    return {"peak_prompt": tuple(prompts.tolist()), "peak_pos": tuple(places), "peak_token": tuple(tokens)}


def _token(side: TokenBatch, prompt: int, place: int) -> str:
    strings = side.strings[prompt] if prompt < len(side.strings) else ()
    return strings[place] if place < len(strings) else str(place)


def _totals(scores: Scores, per_prompt: bool) -> tuple[Grid, ...]:
    of = np.array([part.site.layer for part in scores.parts])
    layers = tuple(dict.fromkeys(of.tolist()))
    values = np.stack([scores.values[:, of == layer].astype(np.float64).sum(axis=1) for layer in layers], axis=1)
    about = f"{scores.about}: sum over all neurons of a layer, which is its MLP's without the bias"
    return averaged("layer_total", values, ("layer",), {"layer": layers}, "logit", baseline=0.0, about=about,
                    per_prompt=per_prompt)  # fmt: skip
