"""Which modules of a block are an attention's: the output projection reads z, the values' projection gives v."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hooks.conventions import first
from hooks.look import Look, common, equal
from hooks.observe import AttentionCall, Call
from hooks.ports import Port, View
from hooks.projections import in_features, is_projection

IsV = Callable[[Tensor], bool]
"""Whether a tensor [batch pos kv_head d_head] is the values."""


@dataclass(frozen=True, eq=False)
class AttentionRoles:
    """One attention of a block. call: which call of its module; seen: what the attention function showed, if it did.

    ports: q, k, v, z and, outside the shared function, pattern. o: path of the output projection. pattern: as observed.
    """

    path: str
    call: int
    o: str | None
    n_heads: int
    n_kv_heads: int
    d_head: int
    ports: dict[str, Port]
    seen: AttentionCall | None
    pattern: Tensor | None

    @property
    def home(self) -> str:
        """The smallest module that holds the attention and its output projection."""
        return self.path if self.o is None else common([self.path, self.o])


@dataclass(frozen=True)
class _Shape:
    n_heads: int
    n_kv: int
    d_qk: int
    d_head: int


def seen_attention(look: Look, seen: AttentionCall, inside: list[Call]) -> AttentionRoles:
    """The roles around a call of the shared attention function."""
    assert seen.q is not None and seen.v is not None and seen.z is not None
    shape = _Shape(seen.q.shape[2], seen.v.shape[2], seen.q.shape[3], seen.v.shape[3])
    values, flat = seen.v, seen.z.flatten(2)
    o = next((c for c in look.projections(inside) if look.same(c.given, flat)), None)
    within = [c for c in inside if c.path.startswith(f"{seen.path}.")]
    ports = _qkv(look, seen.path, within, shape, lambda v: equal(v, values))
    if o is not None:
        ports["z"] = Port(o.path, "in", View(heads=shape.n_heads), call=o.number)
    path = None if o is None else o.path
    return AttentionRoles(
        seen.path, seen.number, path, shape.n_heads, shape.n_kv, shape.d_head, ports, seen, seen.pattern
    )


def unseen_attention(look: Look, path: str, inside: list[Call]) -> AttentionRoles | None:
    """Attention in a family's own code: its pattern passes a dropout module, or is returned."""
    call = next((c for c in inside if c.path == path), None)
    within = [c for c in inside if c.path.startswith(f"{path}.")]
    o = _output_projection(look, path, inside)
    if call is None or o is None or o.given is None:
        return None
    weights, place = _pattern(look, call, within)
    n_heads = look.n_heads if weights is None else weights.shape[1]
    d_head = in_features(o.module) // n_heads
    z = look.in_rows(o.given).unflatten(-1, (n_heads, d_head))

    def right(v: Tensor) -> bool:
        if weights is None or z.ndim != 4 or (v.shape[0], v.shape[1]) != (weights.shape[0], weights.shape[3]):
            return False
        mixed = torch.einsum("bhqk,bkhd->bqhd", weights, v.repeat_interleave(n_heads // v.shape[2], dim=2))
        return bool(torch.allclose(mixed, z, rtol=1e-4, atol=1e-5))

    ports: dict[str, Port] = {}
    n_kv = n_heads
    for fewer in (n_heads, *(n for n in range(1, n_heads) if n_heads % n == 0)):
        found = _qkv(look, path, within, _Shape(n_heads, fewer, d_head, d_head), right)
        if "v" in found:
            ports, n_kv = found, fewer
            break
    if z.ndim == 4:
        ports["z"] = Port(o.path, "in", View(heads=n_heads), call=o.number)
    if place is not None:
        ports["pattern"] = place
    return AttentionRoles(path, call.number, o.path, n_heads, n_kv, d_head, ports, None, weights)


def _output_projection(look: Look, path: str, inside: list[Call]) -> Call | None:
    """By name, inside the attention module or beside it."""
    beside = path.rpartition(".")[0]
    wanted = [f"{path}.{name}" for name in look.blueprint.o] + [f"{beside}.output.dense"]
    by_path = {call.path: call for call in look.projections(inside)}
    return next((by_path[name] for name in wanted if name in by_path), None)


def _pattern(look: Look, call: Call, within: list[Call]) -> tuple[Tensor | None, Port | None]:
    """The attention probabilities and where they can be seen."""
    for inner in within:
        if is_pattern(inner.gave) and not is_projection(inner.module):
            return inner.gave, Port(inner.path, "out", call=inner.number)
    for item, value in enumerate(call.items):
        if isinstance(value, Tensor) and is_pattern(value):
            return value, Port(call.path, "out", call=call.number, item=item)
    return None, None


def _qkv(look: Look, path: str, within: list[Call], shape: _Shape, right: IsV) -> dict[str, Port]:
    """Ports of q, k and v."""
    # The first call of each: DeBERTa calls its projections again, on relative positions.
    named = {c.path[len(path) + 1 :]: c for c in reversed(within)}
    if packed := first(look.blueprint.packed, named):
        return _split(look, named[packed], shape, right)
    ports = {}
    wanted = (
        ("q", look.blueprint.q, shape.n_heads, shape.d_qk),
        ("k", look.blueprint.k, shape.n_kv, shape.d_qk),
        ("v", look.blueprint.v, shape.n_kv, shape.d_head),
    )
    for site, names, heads, width in wanted:
        name = first(names, named)
        if name is None or (gave := named[name].gave) is None:
            continue
        size = gave.shape[-1]
        view = View(heads=heads) if size == heads * width else None
        if view is None and site == "v" and size % heads == 0 and size > heads * width:
            # Latent attention: each head's features hold its key part, then its value.
            view = View(heads=heads, within=(size // heads - width, size // heads))
        if view is not None and (site != "v" or right(view.open(gave, look.rows))):
            ports[site] = Port(named[name].path, "out", view, call=named[name].number)
    return ports


def _split(look: Look, call: Call, shape: _Shape, right: IsV) -> dict[str, Port]:
    """q, k, v inside one projection: all of q, then k, then v; or key/value head by key/value head."""
    n_heads, n_kv = shape.n_heads, shape.n_kv
    q, kv = n_heads * shape.d_head, n_kv * shape.d_head
    if call.gave is None or call.gave.shape[-1] != q + 2 * kv:
        return {}
    blocks = {
        "q": View(parts=(0, q), heads=n_heads),
        "k": View(parts=(q, q + kv), heads=n_kv),
        "v": View(parts=(q + kv, q + 2 * kv), heads=n_kv),
    }
    group = n_heads // n_kv
    grouped = {
        "q": View(heads=n_kv, slots=group + 2, taken=(0, group)),
        "k": View(heads=n_kv, slots=group + 2, taken=(group, group + 1)),
        "v": View(heads=n_kv, slots=group + 2, taken=(group + 1, group + 2)),
    }
    for views in (blocks, grouped):
        if right(views["v"].open(call.gave, look.rows)):
            return {site: Port(call.path, "out", view, call=call.number) for site, view in views.items()}
    return {}


def is_pattern(x: Tensor | None) -> bool:
    """Whether a tensor is attention probabilities: four axes and rows that sum to 1."""
    if x is None or x.ndim != 4 or not x.is_floating_point():
        return False
    return bool(((x.float().sum(-1) - 1).abs() < 1e-2).all()) and bool((x >= 0).all())
