"""Neurons: where a model has them, and how what one of them writes enters the residual stream.

A neuron with value a adds a · w to what its layer writes, where w is its row of W_out: the value of an expert's neuron
is its activation times the weight that the router gives its expert. Where a norm follows before the stream, its scale
is held at the run's own, and it is linear. That the neurons of a layer, with the bias, sum to what the layer writes is
checked on the run's own numbers; a layer in which they do not has no neuron writes.

Source: Geva et al. 2021, arXiv 2012.14913 (rows of W_out as values that are added to the stream).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from analyses.held_norm import EXACT, HeldNorm, held_norm
from hooks.errors import SiteMissing
from hooks.experts import written_by
from hooks.model import Instrumented
from hooks.sites import MAIN, Part, Site

NAMES = ("mlp_post", "expert_post")
BESIDE = ("mlp_pre", "mlp_up", "router")
"""What is shown beside the activation of a neuron: its gate's input, the linear branch, its expert's weight."""


@dataclass(frozen=True, eq=False)
class Write:
    """How the neurons of a layer enter the stream.

    rows [neuron d_model] of W_out, the experts' one after the other; norm: of what is written, None where there is
    none; scale: the model multiplies by this before it adds.
    """

    rows: Float[Tensor, "neuron d_model"]
    norm: HeldNorm | None
    scale: float

    def along(
        self, values: Float[Tensor, "batch neuron"], direction: Float[Tensor, "batch d_model"]
    ) -> Float[Tensor, "batch neuron"]:
        """What each neuron adds to the stream along a direction, the norm's scale held."""
        led = self.scale * direction
        led = led if self.norm is None else self.norm.led_back(led)
        return values.double() * (led @ self.rows.double().T)

    def direction(self, neuron: int) -> Float[Tensor, " d_model"]:
        """Where a neuron of value 1 points in the stream; behind a norm, up to the scale of that norm."""
        row = self.scale * self.rows[neuron].double()
        return row if self.norm is None else through(self.norm, row)


def through(norm: HeldNorm, x: Float[Tensor, " d_model"]) -> Float[Tensor, " d_model"]:
    """What a norm makes of an addend, its scale left out."""
    return norm.gain * (x - x.mean() if norm.centred else x)


def neuron_sites(model: Instrumented, layers: Sequence[int] | None = None, stack: str = MAIN) -> list[Site]:
    """The sites that hold neurons, upstream first; layers: only these. Raises SiteMissing where there are none."""
    sizes = model.info.stack(stack)
    chosen = range(sizes.n_layers) if layers is None else layers
    every = [Site(name, layer, stack) for layer in chosen for name in NAMES]
    for site in every:
        model.info.check_site(site)
    found = sorted(site for site in every if site in model.sites)
    if not found:
        raise SiteMissing(
            f"no chosen layer of {model.name} has neurons that can be read.",
            "The Model page and `workbench check` say why; choose other layers.",
        )
    return found


def beside(model: Instrumented, site: Site) -> list[Site]:
    """The sites of the same layer that are shown beside a neuron's activation."""
    names = ("router",) if site.name == "expert_post" else BESIDE
    sites = (Site(name, site.layer, site.stack) for name in names)
    return [one for one in sites if one in model.sites]


def parts_of(model: Instrumented, site: Site) -> list[Part]:
    """Every neuron of a site, in the order in which `flat` lays them out."""
    sizes = model.info.stack(site.stack)
    units = range(sizes.size("d_mlp", site.name))
    if site.name == "mlp_post":
        return [Part(site, unit=unit) for unit in units]
    return [Part(site, expert=expert, unit=unit) for expert in range(sizes.n_experts) for unit in units]


def place_of(model: Instrumented, part: Part) -> int:
    """The place of a neuron among those of its site."""
    width = model.info.stack(part.site.stack).size("d_mlp", part.site.name)
    return (part.expert or 0) * width + (part.unit or 0)


def flat(site: Site, x: Tensor) -> Tensor:
    """The neurons of a site on one axis: [… neuron]."""
    return x.flatten(-2) if site.name == "expert_post" else x


def written_sites(model: Instrumented, site: Site) -> set[Site]:
    """What `write_of` reads."""
    more = {Site("router", site.layer)} if site.name == "expert_post" else set()
    return {site, Site("mlp_out", site.layer), *more} & model.sites


def write_of(model: Instrumented, site: Site, seen: Mapping[Site, Tensor]) -> tuple[Write, Tensor]:
    """How the neurons of a site enter the stream, and the value [batch neuron] with which each does.

    seen: `written_sites` at one position of each prompt. Raises SiteMissing where the neurons do not sum to what is
    written, as where another MLP adds to it.
    """
    out_site, layer = Site("mlp_out", site.layer), site.layer or 0
    if out_site not in seen or site.stack != MAIN:
        raise _no_sum(model, site)
    if site.name == "expert_post":
        router = seen[Site("router", layer)]
        holder, rows = model.weights.expert_W_out(layer)
        values = flat(site, router[..., None] * seen[site])
        summed = written_by(holder, router[:, None], seen[site][:, None])[:, 0].detach().double()
        rows = rows.flatten(0, 1)
    else:
        rows, values = model.weights.W_out(layer), seen[site]
        summed = values.double() @ rows.double() + model.weights.b_out(layer).double()
    scale, out = model.weights.port(out_site).view.scale, seen[out_site].double()
    if float((out - scale * summed).abs().max()) <= EXACT * max(1.0, float(out.abs().max())):
        return Write(rows, None, scale), values
    return Write(rows, _norm_of(model, site, summed, out / scale), scale), values


def _norm_of(model: Instrumented, site: Site, summed: Tensor, out: Tensor) -> HeldNorm:
    """The norm that makes `out` of the sum of the neurons. Raises SiteMissing where none does."""
    weight, bias = model.weights.norm(Site("mlp_out", site.layer))
    if weight is None or weight.ndim != 1:
        raise _no_sum(model, site)
    try:
        return held_norm(weight, bias, summed, out, f"the norm of what layer {site.layer} writes")
    except SiteMissing as error:
        raise _no_sum(model, site) from error


def _no_sum(model: Instrumented, site: Site) -> SiteMissing:
    return SiteMissing(
        f"what layer {site.layer} of {model.name} writes is no sum of its neurons.",
        "Rank by activation, or ablate the neuron to measure its effect.",
    )


def logit_weights(
    direction: Float[Tensor, " d_model"], final: HeldNorm, unembedding: Float[Tensor, "d_model d_vocab"]
) -> Float[Tensor, " d_vocab"]:
    """What a direction of the stream does to each logit by weights alone: gain of the final norm, then W_U.

    Neither the scale of the final norm nor a factor or cap on the logits is in it. The mean over the vocabulary, which
    changes no probability, is taken out.
    """
    logits = through(final, direction).float() @ unembedding.float()
    return logits - logits.mean()
