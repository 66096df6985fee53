"""What a head's query or key is the sum of: one vector per writer of the stream that it is made from.

A query is the stream, normed, projected, perhaps normed again by head, and rotated by its position. With the scales of
the norms held at the run's own values each step is linear, so every addend of the stream has a vector of its own, and
with the biases they sum to the query that enters the dot product. How the rotation (and a norm of queries and keys)
acts is not assumed by family but taken from the run: its derivative, and that it gives the run's own value.

Source: Elhage et al. 2021, A Mathematical Framework for Transformer Circuits.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses.addends import Addends, addends
from analyses.held_norm import EXACT, HeldNorm, held_norm
from hooks.activations import Activations
from hooks.errors import SiteMissing
from hooks.model import Instrumented
from hooks.sites import Site

EMBEDDINGS = {"token embedding": "embed", "position embedding": "pos_embed", "embeddings": "embed"}
INPUTS = {"q": "query", "k": "key"}


def heard(
    model: Instrumented, seen: Activations, site: Site, head: int, at: Int[Tensor, " batch"]
) -> dict[str, Float[Tensor, "batch d_head"]]:
    """What each writer adds to one head's rotated query or key at one position per prompt, by name.

    seen: `written_sites`, `site` (q or k), its rotated form and the stream that it reads, at all positions. Writers are
    named as the nodes of circuits; biases come last. Raises SiteMissing where a step is not linear.
    """
    rows, batch = torch.arange(len(at)), seen.batch
    rotated = Site(f"{site.name}_rot", site.layer)
    value, after = seen[site][rows, at].double(), seen[rotated][rows, at, head].double()
    turn, heads = turned(model.jacobian(batch, rotated, site, head, at).double(), value, after, head, site)
    value = value[:, heads].flatten(1)
    with torch.inference_mode():
        reader = model.reads.reader(site)
        stream = seen[reader.stream][rows, at]
        normed = model.reads.normed(site, stream[:, None])[:, 0].double()
        held = _held(model, reader.norm, stream.double(), normed, site)
        inward = torch.cat([_projection(model, site, one) for one in heads])
    led = torch.einsum("bir,rm->bim", turn, inward)
    constants = {
        "norm bias": torch.einsum("bim,m->bi", led, held.bias),
        f"{INPUTS[site.name]} bias": torch.einsum("bir,br->bi", turn, value - normed @ inward.T),
    }
    found = []
    for row in range(len(at)):
        alone = HeldNorm(held.gain, held.bias, held.centred, held.scale[row : row + 1])
        direction = alone.led_back(led[row])
        here = {
            name: x[row, at[row]].expand(len(direction), *x.shape[2:])
            for name, x in seen.items()
            if name.axes[1] == "pos"
        }
        found.append(_named(addends(model, here, direction, before_layer=site.layer)))
    names = dict.fromkeys(name for terms in found for name in terms)
    none = led.new_zeros(led.shape[1])
    made = {name: torch.stack([terms.get(name, none) for terms in found]) for name in names}
    return made | {name: x for name, x in constants.items() if float(x.abs().max()) > EXACT * float(after.abs().max())}


def turned(
    slope: Float[Tensor, "batch d_out head d_in"],
    value: Float[Tensor, "batch head d_in"],
    after: Float[Tensor, "batch d_out"],
    head: int,
    site: Site,
) -> tuple[Float[Tensor, "batch d_out d_flat"], list[int]]:
    """The linear map from queries or keys to one head's rotated one, scales held, and the heads whose values it takes.

    A rotation's derivative is the rotation. That of an RMS norm, A (I − q qᵀ λ / |q|²), lacks what its scale takes
    back, and λ is seen by what it makes of q itself. Raises SiteMissing for a step of another form.
    """
    others = [one for one in range(slope.shape[2]) if one != head]
    apart = not others or float(slope[:, :, others].abs().max()) <= EXACT * float(slope.abs().max())
    heads = [head] if apart else list(range(slope.shape[2]))
    flat, value = slope[:, :, heads].flatten(2), value[:, heads].flatten(1)
    kept = torch.einsum("bir,br->bi", flat, value)
    most = EXACT * float(after.abs().max())
    if float((kept - after).abs().max()) <= most:
        return flat, heads
    share = (kept * after).sum(-1, keepdim=True) / (after * after).sum(-1, keepdim=True)
    centred = float(flat.sum(-1).abs().max()) <= EXACT * float(flat.abs().sum(-1).max())
    if centred or float((kept - share * after).abs().max()) > most:
        raise SiteMissing(
            f"what {site} goes through before the dot product is neither linear nor an RMS norm.",
            "Its score cannot be split over writers; patch the paths into it instead.",
        )
    back = torch.einsum("bi,br->bir", (1 - share) * after, value / (value * value).sum(-1, keepdim=True))
    return flat + back, heads


def _held(model: Instrumented, path: str, stream: Tensor, normed: Tensor, site: Site) -> HeldNorm:
    """The norm that a site reads the stream through; none is one of scale 1."""
    if not path:
        ones = torch.ones_like(normed[0])
        return HeldNorm(ones, torch.zeros_like(ones), False, torch.ones_like(normed[:, :1]))
    module = model.weights.module(path)
    weight, bias = (x.detach() if isinstance(x := getattr(module, name, None), Tensor) else None
                    for name in ("weight", "bias"))  # fmt: skip
    return held_norm(weight, bias, stream, normed, f"the norm before {site}")


def _projection(model: Instrumented, site: Site, head: int) -> Float[Tensor, "d_head d_model"]:
    """What a head's query or key is made of the normed stream by."""
    info = model.info
    count = info.n_heads if site.name == "q" else info.n_kv_heads
    slope = torch.zeros(info.d_head, 1, count, info.d_head, dtype=torch.float64, device=model.device)
    slope[:, 0, head] = torch.eye(info.d_head, dtype=torch.float64)
    return model.reads.to_normed(site, slope)[:, 0, head]


def _named(made: Addends) -> dict[str, Tensor]:
    """Addends by writer, heads apart where they add up; upstream first, biases and what is left last."""
    terms = {EMBEDDINGS[name]: x for name, x in made.start.items()}
    for site, value in made.writes.items():
        heads = made.heads.get(site.layer or 0) if site.name == "attn_out" else None
        if heads is None:
            terms[str(site)] = value
        else:
            terms |= {f"L{site.layer}.z[head={head}]": heads[:, head] for head in range(heads.shape[1])}
    terms |= {f"rest of layer {layer}": x for layer, x in made.rest.items()}
    biases: Mapping[int, Tensor] = made.head_bias
    return terms | {f"bias of L{layer}.attn_out": x for layer, x in biases.items() if x.any()}
