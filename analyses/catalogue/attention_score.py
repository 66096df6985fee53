"""Attention score: who makes a head look from one position at another.

The score of a cell, before the softmax, is the product of a query and a key. Each is a sum over the writers of the
stream that it is made from (embedding, earlier heads, MLPs, biases), the scales of the norms held at the run's own
values; so the score is a sum over pairs: what one writer put into the query meets what another put into the key.

    score = c · Σ_u Σ_w query(u) · key(w)        c: the model's factor, usually 1 / √d_head

`side` sums it over one of the two: what each writer adds as a query (against the whole key), or as a key.

Source: Elhage et al. 2021, A Mathematical Framework for Transformer Circuits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from analyses.addends import written_sites
from analyses.analysis import Analysis, Findings
from analyses.averages import averaged
from analyses.bench import Bench
from analyses.experiment import Experiment
from analyses.grid import Coord, Grid
from analyses.heard import heard
from analyses.phrases import position_in_words, prompts_in_words
from hooks.attention import AttentionFacts
from hooks.errors import InputError, SiteMissing, SpecError
from hooks.plan import CapturePlan
from hooks.run import Run
from hooks.schedule import places
from hooks.sites import Part, Site
from hooks.spec import Spec

TOLERANCE = 1e-4
"""How far the sum of all terms may be from the model's own product, relative to the largest term where that is more."""


class Params(Spec):
    """head: as L3.z[head=5]. q_pos, k_pos: the cell, each a position or a name such as "last". side: whose writers."""

    head: Part
    q_pos: int | str = "last"
    k_pos: int | str = 0
    side: Literal["query", "key", "both"] = "key"
    per_prompt: bool = False


@dataclass(frozen=True, eq=False)
class _Cell:
    """One cell per prompt: where it is, and how the model makes a score of a query and a key."""

    layer: int
    head: int
    q_at: Tensor
    k_at: Tensor
    facts: AttentionFacts


def compute(params: Params, bench: Bench) -> Findings:
    layer, head = _head(params, bench)
    model, batch = bench.model, bench.batch("clean")
    q_at, k_at = (_places(params, bench, axis) for axis in ("q_pos", "k_pos"))
    if model.info.causal and bool((k_at > q_at).any()):
        raise InputError("a query sees no later key.", "Choose a k_pos that is not behind q_pos.")
    bench.step(0, 3, "running the model")
    sites = _sites(bench, layer)
    run = bench.forward("clean", CapturePlan(sites=frozenset(sites)), logits_at=torch.tensor(batch.answer_at))
    cell = _Cell(layer, head, q_at, k_at, run.attention["decoder", layer])
    bench.step(1, 3, "splitting the query")
    queries = heard(model, run.activations, Site("q", layer), head, q_at)
    bench.step(2, 3, "splitting the key")
    keys = heard(model, run.activations, Site("k", layer), head // model.info.group, k_at)
    pairs = cell.facts.scaling * torch.einsum("ubd,wbd->buw", *(torch.stack(list(x.values())) for x in (queries, keys)))
    return Findings((*_terms(params, pairs, tuple(queries), tuple(keys)), *_sums(params, bench, cell, run, pairs)))


def _head(params: Params, bench: Bench) -> tuple[int, int]:
    part = params.head
    if part.site.name != "z" or part.head is None or set(part.slices) != {"head"} or part.site.stack != "decoder":
        raise SpecError(f"{part} is not a head.", "Heads are written as L3.z[head=5].")
    bench.model.info.check_part(part)
    return part.site.layer or 0, part.head


def _places(params: Params, bench: Bench, axis: Literal["q_pos", "k_pos"]) -> Tensor:
    batch, site = bench.batch("clean"), Site("pattern", params.head.site.layer)
    at = params.q_pos if axis == "q_pos" else params.k_pos
    part = Part(site, q_pos=at) if axis == "q_pos" else Part(site, k_pos=at)
    return torch.tensor([places(at, batch, prompt, part).start for prompt in range(len(batch))])


def _sites(bench: Bench, layer: int) -> list[Site]:
    """All that must be seen. Raises SiteMissing where queries and keys are not what the dot product is made of."""
    model = bench.model
    made = [Site(name, layer) for name in ("q", "k", "q_rot", "k_rot")]
    for site in made:
        if site not in model.writable:
            raise SiteMissing(
                f"{site} cannot be followed in {model.name}, so its attention scores cannot be split.",
                "Patch paths into the head's queries and keys instead.",
            )
    streams = {model.reads.reader(site).stream for site in made[:2]}
    return sorted({*written_sites(model), *made, *streams, *({Site("scores", layer)} & model.sites)})


def _terms(params: Params, pairs: Tensor, queries: tuple[str, ...], keys: tuple[str, ...]) -> tuple[Grid, ...]:
    """What is asked for first. pairs: [prompt query writer, key writer]."""
    values = pairs.cpu().numpy()
    coords: dict[str, tuple[Coord, ...]] = {"query_writer": queries, "key_writer": keys}
    about = "what {} to the attention score before the softmax, the norms' scales held"
    made = {
        "query": averaged("by_query", values.sum(2), ("query_writer",), coords, "logit", baseline=0.0,
                          about=about.format("each writer adds through the query, against the whole key,"),
                          per_prompt=params.per_prompt),
        "key": averaged("by_key", values.sum(1), ("key_writer",), coords, "logit", baseline=0.0,
                        about=about.format("each writer adds through the key, against the whole query,"),
                        per_prompt=params.per_prompt),
        "both": averaged("by_pair", values, ("query_writer", "key_writer"), coords, "logit", baseline=0.0,
                         about=about.format("each pair of a writer to the query and one to the key adds"),
                         per_prompt=params.per_prompt, interval=False),
    }  # fmt: skip
    first = made[params.side]
    return (*first, *made["query"], *made["key"]) if params.side == "both" else first


def _sums(params: Params, bench: Bench, cell: _Cell, run: Run, pairs: Tensor) -> tuple[Grid, ...]:
    """`total` and `product`, the model's own, `sum_error`; and the score behind soft cap and position bias."""
    seen, rows, group = run.activations, torch.arange(len(cell.q_at)), bench.model.info.group
    q = seen[Site("q_rot", cell.layer)][rows, cell.q_at, cell.head].double()
    k = seen[Site("k_rot", cell.layer)][rows, cell.k_at, cell.head // group].double()
    product = (cell.facts.scaling * (q * k).sum(-1)).cpu().numpy()
    total = pairs.sum((1, 2)).cpu().numpy()
    error, near = np.abs(total - product), TOLERANCE * np.maximum(1.0, np.abs(pairs.cpu().numpy()).max((1, 2)))
    verdict = f"{'equal' if bool((error <= near).all()) else 'NOT equal'} within {TOLERANCE:g} of the largest term"
    if (error > near).any():
        bench.notes.append(f"the terms do not sum to the score: off by {error.max():.2g}")
    grids = [
        *_one("total", total, f"sum of all terms; {verdict} to product", params),
        *_one("product", product, "the model's own product of query and key, with its factor", params),
        Grid("sum_error", np.array(error.max()), (), {}, "logit", 0.0, f"largest distance of both; {verdict}"),
    ]
    if Site("scores", cell.layer) in seen:
        score = seen[Site("scores", cell.layer)][rows, cell.head, cell.q_at, cell.k_at].double().cpu().numpy()
        cap = cell.facts.softcap
        capped = product if cap is None else cap * np.tanh(product / cap)
        if not np.isfinite(score).all() or (score < np.finfo(np.float32).min / 2).any():
            raise InputError("the model masks this cell.", "Choose a key that the query may see.")
        after = "" if cap is None else f", after the soft cap of {cap:g}"
        if cell.facts.bias is not None:
            grids += _one("position_bias", score - capped, "what the model's position bias adds to the score", params)
            after += ", position bias added"
        grids += _one("score", score, f"the model's own score{after}", params)
    return tuple(grids)


def _one(name: str, values: np.ndarray, about: str, params: Params) -> tuple[Grid, ...]:
    return averaged(name, values, (), {}, "logit", about=about, per_prompt=params.per_prompt)


def sentence(params: Params, experiment: Experiment) -> str:
    sides = {
        "query": "writers to its query",
        "key": "writers to its key",
        "both": "pairs of writers to its query and its key",
    }
    cell = f"{position_in_words(params.q_pos)} to {position_in_words(params.k_pos)}"
    return (
        f"Split the attention score of head {params.head.site.layer}.{params.head.head} from {cell} over the "
        f"{sides[params.side]}, on {prompts_in_words(experiment, 'clean')}."
    )


ANALYSIS = Analysis(
    name="attention_score",
    title="Attention score by writer",
    Params=Params,
    inputs=("clean",),
    summary="who makes a head look from one position at another: its query–key score, split over what fed the two",
    source="Elhage et al. 2021, A Mathematical Framework for Transformer Circuits",
    compute=compute,
    sentence=sentence,
    example={"head": "L1.z[head=2]", "q_pos": "last", "k_pos": 0},
)
