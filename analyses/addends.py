"""What the last residual stream of a model is the sum of, at the answer position of each prompt.

The addends are the embeddings and what every layer writes, split by head or by neuron where the write is a sum of
these. A split is made only where it adds up to the write on the run at hand: not behind a norm of what is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from analyses.attribution import WRITES
from analyses.bench import Bench
from analyses.held_norm import EXACT
from analyses.metrics import Target
from hooks.activations import Activations
from hooks.errors import SiteMissing
from hooks.interventions import Intervention
from hooks.model import Instrumented
from hooks.plan import CapturePlan
from hooks.sites import Site

WORDS = {"attn_out": "attention", "mixer_out": "mixer", "cross_attn_out": "cross-attention", "mlp_out": "MLP"}


@dataclass(frozen=True, eq=False)
class Addends:
    """Contributions [batch …] along a direction, by layer where they have one.

    start: of the embeddings, by name. writes: of each written site. heads [batch head] and head_bias [batch], neurons
    [batch unit] and neuron_bias [batch] by layer, where the write is their sum. rest: of what else a layer adds.
    """

    start: dict[str, Tensor] = field(default_factory=dict)
    writes: dict[Site, Tensor] = field(default_factory=dict)
    heads: dict[int, Tensor] = field(default_factory=dict)
    head_bias: dict[int, Tensor] = field(default_factory=dict)
    neurons: dict[int, Tensor] = field(default_factory=dict)
    neuron_bias: dict[int, Tensor] = field(default_factory=dict)
    rest: dict[int, Tensor] = field(default_factory=dict)


def sites_of(model: Instrumented, *, neurons: bool) -> list[Site]:
    """What must be captured to name the addends. Raises SiteMissing where the stream is normed inside the blocks."""
    model.weights.W_U()
    last = Site("resid_post", model.info.n_layers - 1)
    return sorted({*written_sites(model, neurons=neurons), last, Site("ln_final")})


def written_sites(model: Instrumented, *, neurons: bool = False) -> list[Site]:
    """The sites of which a stream of the model is made. Raises SiteMissing as `sites_of`."""
    if model.info.norm == "post":
        raise SiteMissing(
            f"{model.name} norms its residual stream inside every block, so what is written does not add up.",
            "Direct attribution needs a stream that is only added to; ablate instead.",
        )
    names = {*WRITES, "z", *(["mlp_post"] if neurons else []), "resid_post"}
    layers = range(model.info.n_layers)
    wanted = {Site(name, layer) for name in names for layer in layers} | {Site("embed"), Site("pos_embed")}
    return sorted((wanted & model.sites) | {Site("resid_pre", 0)})


def at_answers(
    bench: Bench, inputs: str, sites: list[Site], edits: Sequence[Intervention] = ()
) -> tuple[Activations, Float[Tensor, "batch d_vocab"]]:
    """The sites at the answer position of each prompt, [batch …] without the position, and the logits there."""
    batch = bench.batch(inputs)
    rows, at = torch.arange(len(batch)), torch.tensor(batch.answer_at)
    run = bench.forward(inputs, CapturePlan(sites=frozenset(sites)), edits, logits_at=at)
    seen = Activations({site: x[rows, at] for site, x in run.activations.items()}, batch)
    return seen, Target(batch, run.logits).at_answers(run.logits)[:, 0]


def addends(
    model: Instrumented,
    seen: Mapping[Site, Tensor],
    direction: Float[Tensor, "batch d_model"],
    *,
    before_layer: int | None = None,
) -> Addends:
    """`seen` (see `at_answers`) along a direction: all that the last stream is the sum of, or a layer's `resid_pre`."""
    made, layers = Addends(), range(model.info.n_layers if before_layer is None else before_layer)
    _start(made, seen, direction)
    before = seen[Site("resid_pre", 0)].double()
    for layer in layers:
        written = [site for name in WRITES if (site := Site(name, layer)) in seen]
        made.writes.update({site: _along(seen[site], direction) for site in written})
        after = seen[Site("resid_post", layer)].double()
        left = after - before - sum(seen[site].double() for site in written)
        if not _small(left, after):
            made.rest[layer] = _along(left, direction)
        before = after
        _split(made, model, seen, layer, direction)
    return made


def _start(made: Addends, seen: Mapping[Site, Tensor], direction: Tensor) -> None:
    first = seen[Site("resid_pre", 0)]
    names = {"token embedding": Site("embed"), "position embedding": Site("pos_embed")}
    parts = {name: seen[site].double() for name, site in names.items() if site in seen}
    whole = bool(parts) and _small(first.double() - sum(parts.values()), first)
    # Behind a norm of their sum, or with a third one beside them, the embeddings are one addend.
    made.start.update({name: _along(x, direction) for name, x in (parts if whole else {"embeddings": first}).items()})


def _split(made: Addends, model: Instrumented, seen: Mapping[Site, Tensor], layer: int, direction: Tensor) -> None:
    """Heads of what attention writes, neurons of what the MLP writes, where they sum to it."""
    z, attn, post, mlp = (Site(name, layer) for name in ("z", "attn_out", "mlp_post", "mlp_out"))
    weights = model.weights
    if z in seen and attn in seen:
        by_head = torch.einsum("bhd,hdm->bhm", seen[z].double(), weights.W_O(layer).double())
        scale, bias = weights.port(attn).view.scale, weights.b_O(layer).double()
        if _small(seen[attn].double() - scale * (by_head.sum(1) + bias), seen[attn]):
            made.heads[layer] = scale * torch.einsum("bhm,bm->bh", by_head, direction)
            made.head_bias[layer] = scale * direction @ bias
    if post in seen and mlp in seen and post in model.sites:
        out, bias = weights.W_out(layer).double(), weights.b_out(layer).double()
        scale, act = weights.port(mlp).view.scale, seen[post].double()
        if _small(seen[mlp].double() - scale * (act @ out + bias), seen[mlp]):
            made.neurons[layer] = scale * act * (direction @ out.T)
            made.neuron_bias[layer] = scale * direction @ bias


def _along(x: Tensor, direction: Tensor) -> Tensor:
    return (x.double() * direction).sum(-1)


def _small(difference: Tensor, like: Tensor) -> bool:
    return float(difference.abs().max()) <= EXACT * max(1.0, float(like.abs().max()))
