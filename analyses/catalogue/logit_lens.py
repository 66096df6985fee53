"""Logit lens: what the model would answer if it stopped after each layer.

The residual stream of a layer is put in the place of the last one, and the model's own final norm, unembedding,
multipliers and soft cap make logits of it: lens_l = N(x_l) W_U + b_U. With `resid_pre` entry 0 is the embedding and
entry L, after the last layer, is the model's own answer. In a model that norms inside its blocks there is no final norm
to apply.

Each entry is compared with the final distribution, KL(final ‖ lens), and asked for one token: the answer where the
prompts have one, else the token that the model itself ranks first at that position.

With `edits` everything is read in the edited run, and the final distribution is that run's own.

Sources: nostalgebraist 2020, interpreting GPT: the logit lens; Belrose et al. 2023, arXiv 2303.08112.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from analyses.analysis import Analysis, Findings
from analyses.averages import averaged
from analyses.bench import Bench
from analyses.edited import Edits, under_edits_in_words
from analyses.experiment import Experiment
from analyses.grid import Coord, Grid, Unit
from analyses.memory import rows_within
from analyses.metrics import OUTPUT_WORDS, output_of, over_ids
from analyses.phrases import choices_in_words, probability_in_words, prompts_in_words, site_in_words
from hooks.activations import Activations
from hooks.errors import InputError
from hooks.interventions.patch import Patch
from hooks.plan import CapturePlan
from hooks.schedule import World
from hooks.sites import Part, Site
from hooks.spec import Spec
from hooks.tokens import TokenBatch


class Params(Spec):
    """at: the stream that is read in every layer. top_k: how many tokens are listed per cell.

    edits: interventions under which the model is run.
    """

    at: Literal["resid_pre", "resid_mid", "resid_post"] = "resid_pre"
    top_k: int = Field(default=5, ge=1, le=100)
    per_prompt: bool = False
    edits: Edits = ()


FINAL = "last stream"
"""The name of the edited run's last stream among the sources."""
Lens = dict[str, np.ndarray]
"""What is kept of the logits, [prompt layer pos]: prob, rank, kl, logit_diff; top_id and top_prob have a rank axis."""


def compute(params: Params, bench: Bench) -> Findings:
    info, batch = bench.model.info, bench.batch("clean")
    if (output := output_of(info)) != "choice":
        raise InputError(f"{info.name} ranks no tokens or classes: it gives {OUTPUT_WORDS[output]}.", "Ablate instead.")
    last = Site("resid_post", info.n_layers - 1)
    bench.model.require_writable([Patch(at=Part(last)), *params.edits])
    streams = _streams(params, bench, last)
    bench.step(0, len(streams), "reading the layers")
    seen = frozenset({*streams.values(), *([last] if params.edits else [])})
    captured = bench.capture("clean", CapturePlan(sites=seen), params.edits)
    parts = list(_read(params, bench, streams, captured, last))
    lens = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Findings(_grids(params, bench, batch, tuple(streams), lens))


def _streams(params: Params, bench: Bench, last: Site) -> dict[int, Site]:
    """The stream of every entry by its layer; entry L of `resid_pre` is what the last layer leaves."""
    sites = {layer: Site(params.at, layer) for layer in range(bench.model.info.n_layers)}
    there = {layer: site for layer, site in sites.items() if site in bench.model.sites} or sites
    return {**there, len(sites): last} if params.at == "resid_pre" else there


def _read(params: Params, bench: Bench, streams: dict[int, Site], captured: Activations, last: Site) -> Iterator[Lens]:
    """The lens of some prompts at a time, with as many layers in a forward as the byte budget holds."""
    batch, names = bench.batch("clean"), {layer: f"stream {layer}" for layer in streams}
    sources = {names[layer]: Activations({last: captured[site]}, batch) for layer, site in streams.items()}
    ends: list[World] = []
    # What is edited behind the last stream belongs to the head through which every stream is read.
    behind = tuple(edit for edit in params.edits if last < edit.at.site and edit.at.site.stack == last.stack)
    if params.edits:
        sources[FINAL] = Activations({last: captured[last]}, batch)
        ends = [(Patch(at=Part(last), source=FINAL), *behind)]
    rows = rows_within(bench.budget_bytes, bench.model.info, batch, everywhere=True)
    # The stream that the last layer leaves is there already, in the rows of the run itself.
    others = [layer for layer, site in streams.items() if site != last]
    size = min(len(batch), max(1, rows // (1 + len(ends) + len(others))))
    layers = max(1, rows // size - 1 - len(ends))
    for first in range(0, len(batch), size):
        part, found = batch.rows(first, first + size), []
        for start in range(0, max(1, len(others)), layers):
            worlds: list[World] = [
                (Patch(at=Part(last), source=names[layer]), *behind) for layer in others[start : start + layers]
            ]
            final, *read = bench.worlds(part, [*ends, *worlds], sources=sources).logits.float()[len(ends) :]
            found += [_reduced(params, logits, final, part) for logits in read]
            bench.step(min(start + layers, len(others)), len(streams), "reading the layers")
        if last in streams.values():
            found.append(_reduced(params, final, final, part))
        yield {name: np.stack([entry[name] for entry in found], axis=1) for name in found[0]}


def _reduced(
    params: Params, logits: Float[Tensor, "batch pos d_vocab"], final: Float[Tensor, "batch pos d_vocab"],
    batch: TokenBatch,
) -> Lens:  # fmt: skip
    """One entry: what is kept of its logits, without the layer axis."""
    lens, end = logits.log_softmax(-1), final.log_softmax(-1)
    flat, width = logits.flatten(0, 1), logits.shape[1]
    chosen = tuple((token,) for token in final.argmax(-1).flatten().tolist())
    wanted = tuple(ids for ids in batch.answers for _ in range(width)) or chosen
    kept = {
        "prob": over_ids(lens.exp().flatten(0, 1), wanted, "sum"),
        "rank": (flat > over_ids(flat, wanted, "max")[:, None]).sum(-1),
        "kl": (end.exp() * (end - lens)).sum(-1),
    }
    if batch.answers and batch.foils:
        foils = tuple(ids for ids in batch.foils for _ in range(width))
        kept["logit_diff"] = over_ids(flat, wanted, "mean") - over_ids(flat, foils, "mean")
    top = lens.exp().topk(min(params.top_k, lens.shape[-1]), dim=-1)
    cells = {name: x.reshape(-1, width).double().cpu().numpy() for name, x in kept.items()}
    return {**cells, "top_id": top.indices.cpu().numpy(), "top_prob": top.values.cpu().numpy()}


def _grids(params: Params, bench: Bench, batch: TokenBatch, layers: tuple[int, ...], lens: Lens) -> tuple[Grid, ...]:
    width = lens["rank"].shape[2]
    coords: dict[str, tuple[Coord, ...]] = {"layer": layers, "pos": tuple(range(width))}
    real = batch.mask.numpy() if batch.mask.shape[1] == width else np.ones((len(batch), width), dtype=bool)
    valid = None if real.all() else np.broadcast_to(real[:, None], lens["rank"].shape)
    of = "the answer" if batch.answers else "the token that the model ranks first there"
    where = f"read from the {site_in_words(params.at)}"
    if params.at == "resid_pre":
        where += f"; entry 0 is the embedding, entry {layers[-1]} the model's own output"
    shown: dict[str, tuple[Unit, float | None, str]] = {
        "prob": ("prob", None, f"{probability_in_words(bench.model.info.task)} of {of}"),
        "rank": ("rank", None, f"number of tokens with a larger logit than {of}"),
        "kl": ("nat", 0.0, "KL divergence of the lens from the final distribution, which comes first"),
        "logit_diff": ("logit", 0.0, "logit(answer) − logit(foil)"),
    }
    grids: list[Grid] = []
    for name, (unit, baseline, about) in shown.items():
        if name in lens:
            grids += averaged(name, lens[name], ("layer", "pos"), coords, unit, baseline=baseline,
                              about=f"{about}, {where}", per_prompt=params.per_prompt, valid=valid,
                              null=name == "logit_diff")  # fmt: skip
    return (*grids, _top(bench, coords, lens, real, where))


def _top(bench: Bench, coords: dict[str, tuple[Coord, ...]], lens: Lens, real: np.ndarray, where: str) -> Grid:
    """`top_prob`: the most probable tokens of every cell, with the tokens as labels; several prompts side by side."""
    ids, probs = lens["top_id"], lens["top_prob"]
    known = np.broadcast_to(real[:, None, :, None], probs.shape)
    distinct = sorted(set(ids.ravel().tolist()))
    words = dict(zip(distinct, choices_in_words(bench.model, distinct), strict=True))
    dims: tuple[str, ...] = ("layer", "pos", "rank")
    axes: dict[str, tuple[Coord, ...]] = {**coords, "rank": tuple(range(probs.shape[-1]))}
    if len(probs) > 1:
        dims, axes = ("prompt", *dims), {"prompt": tuple(range(len(probs))), **axes}
    else:
        probs, known = probs[0], known[0]
    axes["token"] = tuple(words[token] for token in ids.ravel().tolist())
    about = f"probabilities of the most probable tokens, {where}"
    return Grid("top_prob", np.where(known, probs, 0.0), dims, axes, "prob", about=about,
                valid=None if known.all() else known)  # fmt: skip


def sentence(params: Params, experiment: Experiment) -> str:
    return (
        f"What the model would answer after each layer, read from the {site_in_words(params.at)}, "
        f"on {prompts_in_words(experiment, 'clean')}{under_edits_in_words(params.edits)}."
    )


ANALYSIS = Analysis(
    name="logit_lens",
    title="Logit lens",
    Params=Params,
    inputs=("clean",),
    summary="what the model would answer if it stopped after each layer",
    source="nostalgebraist 2020, the logit lens; Belrose et al. 2023, arXiv 2303.08112",
    compute=compute,
    sentence=sentence,
    example={},
)
