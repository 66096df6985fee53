"""Which module of a block is what, as one observed forward pass shows it.

The output projection is the module whose input is z; the values' projection is the one whose output is v, whole, in
blocks or interleaved by head; the MLP's output projection is the last one that gives the residual's width; the gate is
the branch that the activation reads. Names serve where the pass alone cannot tell: queries and keys, whose values
change by norm and rotation before attention sees them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hooks.conventions import Blueprint, first
from hooks.observe import AttentionCall, Call, Observation
from hooks.ports import Port, View
from hooks.projections import in_features, is_projection, out_features


@dataclass(frozen=True, eq=False)
class AttentionRoles:
    """One attention of a block. call: which call of its module; seen: what the attention function showed, if it did.

    ports: q, k, v, z and, outside the shared function, pattern. o: path of the output projection.
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


@dataclass(frozen=True, eq=False)
class MlpRoles:
    """A dense MLP: path of the module that holds it (or of its first projection), its projections and its activation."""

    path: str
    down: str
    activation: str | None
    d_mlp: int
    gated: bool
    ports: dict[str, Port]


@dataclass(frozen=True, eq=False)
class ExpertRoles:
    """A mixture of experts: path of the whole, and of the module that holds all experts' weights."""

    path: str
    holder: str
    n_experts: int
    ports: dict[str, Port]

    def width(self, model: PreTrainedModel) -> int:
        """Neurons of one expert."""
        holder = model.get_submodule(self.holder)
        shape = holder.down_proj.shape
        return int(shape[1] if holder.is_transposed else shape[2])


@dataclass(frozen=True, eq=False)
class BlockRoles:
    """A block: its call, and the calls of everything inside it."""

    call: Call
    inside: list[Call]
    attention: AttentionRoles | None
    cross: AttentionRoles | None
    mixer: str | None
    mlp: MlpRoles | None
    experts: ExpertRoles | None

    @property
    def path(self) -> str:
        return self.call.path


class RoleFinder:
    """Finds the roles of the blocks of one stack. n_heads: query heads by config, for attention that is not seen."""

    def __init__(self, model: PreTrainedModel, seen: Observation, blueprint: Blueprint, n_heads: int, rows: int):
        self._model, self._seen, self._blueprint = model, seen, blueprint
        self._n_heads, self._rows = n_heads, rows

    def block(self, call: Call, until: int) -> BlockRoles:
        """The roles in the block call `call`; `until`: order at which the next block begins."""
        inside = [c for c in self._seen.calls if c.path.startswith(f"{call.path}.") and call.order < c.order < until]
        attended = [
            a for a in self._seen.attention if a.path.startswith(f"{call.path}.") and call.order < a.order <= until
        ]
        found = [self._seen_attention(a, inside) for a in attended[:2]]
        if not attended and (path := self._named(call.path, self._blueprint.attention)):
            found = [roles] if (roles := self._unseen_attention(path, inside)) else []
        mixer = None if found and not self._named(call.path, self._blueprint.mixer[:1]) else self._named(
            call.path, self._blueprint.mixer
        )
        taken = [_home(roles) for roles in found] + ([mixer] if mixer else [])
        rest = [c for c in inside if not any(c.path == home or c.path.startswith(f"{home}.") for home in taken)]
        experts = self._experts(rest)
        return BlockRoles(
            call=call,
            inside=inside,
            attention=found[0] if found else None,
            cross=found[1] if len(found) > 1 else None,
            mixer=mixer,
            mlp=None if experts else self._mlp(call, rest),
            experts=experts,
        )

    def _named(self, block: str, names: tuple[str, ...]) -> str | None:
        present = {path for path, _ in self._model.get_submodule(block).named_modules()}
        found = first(names, present)
        return f"{block}.{found}" if found else None

    # -- attention

    def _projections(self, inside: list[Call]) -> Iterator[Call]:
        return (c for c in inside if is_projection(self._model.get_submodule(c.path)) and c.gave is not None)

    def _seen_attention(self, seen: AttentionCall, inside: list[Call]) -> AttentionRoles:
        assert seen.q is not None and seen.k is not None and seen.v is not None and seen.z is not None
        n_heads, n_kv, d_head = seen.q.shape[2], seen.v.shape[2], seen.v.shape[3]
        flat = seen.z.flatten(2)
        o = next((c for c in self._projections(inside) if _same(c.given, flat, self._rows)), None)
        within = [c for c in inside if c.path.startswith(f"{seen.path}.")]
        ports = self._qkv(seen.path, within, n_heads, n_kv, seen.q.shape[3], d_head, lambda v: _equal(v, seen.v))
        if o is not None:
            ports["z"] = Port(o.path, "in", View(heads=n_heads), call=o.number)
        return AttentionRoles(
            seen.path, seen.number, None if o is None else o.path, n_heads, n_kv, d_head, ports, seen, seen.pattern
        )

    def _unseen_attention(self, path: str, inside: list[Call]) -> AttentionRoles | None:
        """Attention that does not call the shared function: its probabilities pass a dropout module, or are returned."""
        call = next((c for c in inside if c.path == path), None)
        within = [c for c in inside if c.path.startswith(f"{path}.")]
        pattern = next((c for c in within if _is_pattern(c.gave) and not is_projection(self._model.get_submodule(c.path))), None)
        returned = None if call is None else next((x for x in call.items if isinstance(x, Tensor) and _is_pattern(x)), None)
        block = path.rpartition(".")[0]
        o_path = first(self._blueprint.o, {c.path[len(path) + 1 :] for c in within})
        o = next((c for c in within if c.path == f"{path}.{o_path}"), None)
        if o is None:
            sibling = f"{block}.output.dense"
            o = next((c for c in inside if c.path == sibling), None)
        if call is None or o is None:
            return None
        weights = pattern.gave if pattern is not None else returned
        n_heads = self._n_heads if weights is None else weights.shape[1]
        d_head = in_features(self._model.get_submodule(o.path)) // n_heads
        z = _rows(o.given, self._rows).unflatten(-1, (n_heads, d_head)) if o.given is not None else None

        def right(v: Tensor) -> bool:
            if weights is None or z is None:
                return False
            mixed = torch.einsum("bhqk,bkhd->bqhd", weights, v.repeat_interleave(n_heads // v.shape[2], dim=2))
            return bool(torch.allclose(mixed, z, rtol=1e-4, atol=1e-5))

        for n_kv in dict.fromkeys((n_heads, *(n for n in range(1, n_heads) if n_heads % n == 0))):
            ports = self._qkv(path, within, n_heads, n_kv, d_head, d_head, right)
            if "v" in ports:
                break
        else:
            ports, n_kv = {}, n_heads
        ports["z"] = Port(o.path, "in", View(heads=n_heads), call=o.number)
        if pattern is not None:
            ports["pattern"] = Port(pattern.path, "out", call=pattern.number)
        elif returned is not None:
            item = next(i for i, x in enumerate(call.items) if x is returned)
            ports["pattern"] = Port(path, "out", call=call.number, item=item)
        return AttentionRoles(path, call.number, o.path, n_heads, n_kv, d_head, ports, None, weights)

    def _qkv(self, path: str, within: list[Call], n_heads: int, n_kv: int, d_qk: int, d_head: int, right) -> dict[str, Port]:  # type: ignore[no-untyped-def]
        """Ports of q, k, v; `right` says whether a tensor [batch pos kv_head d_head] is v."""
        # The first call of each: DeBERTa calls its projections again, on relative positions.
        named = {c.path[len(path) + 1 :]: c for c in reversed(within)}
        if packed := first(self._blueprint.packed, named):
            return self._split(named[packed], n_heads, n_kv, d_head, right)
        ports = {}
        for site, names, heads, width in (
            ("q", self._blueprint.q, n_heads, d_qk),
            ("k", self._blueprint.k, n_kv, d_qk),
            ("v", self._blueprint.v, n_kv, d_head),
        ):
            name = first(names, named)
            if name is None or (call := named[name]).gave is None:
                continue
            size = call.gave.shape[-1]
            if size == heads * width:
                ports[site] = Port(call.path, "out", View(heads=heads), call=call.number)
            elif site == "v" and size % heads == 0 and size > heads * width:
                # Latent attention: each head's features hold its key part, then its value.
                ports[site] = Port(call.path, "out", View(heads=heads, within=(size // heads - width, size // heads)), call=call.number)
        return {site: p for site, p in ports.items() if site != "v" or right(p.view.open(named[p.module[len(path) + 1 :]].gave, self._rows))}

    def _split(self, call: Call, n_heads: int, n_kv: int, d_head: int, right) -> dict[str, Port]:  # type: ignore[no-untyped-def]
        """q, k, v inside one projection: all of q, then k, then v; or key/value head by key/value head."""
        sizes = (n_heads * d_head, n_kv * d_head, n_kv * d_head)
        stops = (sizes[0], sizes[0] + sizes[1], sum(sizes))
        per_group = n_heads // n_kv
        blocks = {
            "q": View(parts=(0, stops[0]), heads=n_heads),
            "k": View(parts=(stops[0], stops[1]), heads=n_kv),
            "v": View(parts=(stops[1], stops[2]), heads=n_kv),
        }
        slots = per_group + 2
        grouped = {
            "q": View(heads=n_kv, slots=slots, taken=(0, per_group)),
            "k": View(heads=n_kv, slots=slots, taken=(per_group, per_group + 1)),
            "v": View(heads=n_kv, slots=slots, taken=(per_group + 1, slots)),
        }
        if call.gave is None or call.gave.shape[-1] != stops[2]:
            return {}
        for views in (blocks, grouped):
            if right(views["v"].open(call.gave, self._rows)):
                return {site: Port(call.path, "out", view, call=call.number) for site, view in views.items()}
        return {}

    # -- MLP and experts

    def _mlp(self, block: Call, rest: list[Call]) -> MlpRoles | None:
        calls = list(self._projections(rest))
        width = None if block.given is None else block.given.shape[-1]
        down = next((c for c in reversed(calls) if out_features(self._model.get_submodule(c.path)) == width), None)
        if down is None:
            return None
        d_mlp = in_features(self._model.get_submodule(down.path))
        ups = [
            c for c in calls
            if c.order < down.order and in_features(self._model.get_submodule(c.path)) == width
            and out_features(self._model.get_submodule(c.path)) in (d_mlp, 2 * d_mlp)
        ][-2:]  # fmt: skip
        if not ups:
            return None
        between = [c for c in rest if ups[0].order < c.order and c.given is not None and c.given.shape[-1] == d_mlp]
        plain = [c for c in between if not is_projection(self._model.get_submodule(c.path))]
        ports, activation = self._neurons(ups, plain, d_mlp)
        ports["mlp_post"] = Port(down.path, "in", call=down.number)
        home = _common([c.path for c in (*ups, down)])
        read = next((c for c in rest if c.path == home and _same(c.given, ups[0].given, self._rows)), None)
        holder = ups[0] if read is None else read
        if read is not None or len(ups) == 1:
            ports["mlp_in"] = Port(holder.path, "in", call=holder.number)
        gated = "mlp_up" in ports
        return MlpRoles(home if read is not None else holder.path, down.path, activation, d_mlp, gated, ports)

    def _neurons(self, ups: list[Call], plain: list[Call], d_mlp: int) -> tuple[dict[str, Port], str | None]:
        """mlp_pre is what the activation reads; in a gated MLP the other branch is mlp_up."""
        branches: list[tuple[Port, Tensor]] = []
        for call in ups:
            width = 0 if call.gave is None else call.gave.shape[-1]
            for start in range(0, width, d_mlp):
                view = View() if width == d_mlp else View(parts=(start, start + d_mlp))
                port = Port(call.path, "out", view, call=call.number)
                branches.append((port, view.open(call.gave, self._rows)))
        for call in plain:
            for n, (port, value) in enumerate(branches):
                if _same(call.given, value, self._rows):
                    others = [branch for m, (branch, _) in enumerate(branches) if m != n]
                    return {"mlp_pre": port, **({"mlp_up": others[-1]} if others else {})}, call.path
        if len(branches) == 1:
            return {"mlp_pre": branches[0][0]}, None
        gate = next((port for port, _ in branches if "gate" in port.module.rpartition(".")[2]), branches[0][0])
        return {"mlp_pre": gate, "mlp_up": next(port for port, _ in branches if port != gate)}, None

    def _experts(self, rest: list[Call]) -> ExpertRoles | None:
        """The module that holds all experts' weights; the router beside it gives one score per expert."""
        holder = next((c for c in rest if holds_experts(self._model.get_submodule(c.path))), None)
        if holder is None:
            return None
        home = holder.path.rpartition(".")[0]
        n_experts = int(self._model.get_submodule(holder.path).down_proj.shape[0])
        around = next((c for c in rest if c.path == home), None)
        scores = [c for c in rest if c.path.startswith(f"{home}.") and c.order < holder.order]
        router = next((c for c in scores if c.gave is not None and c.gave.shape[-1] == n_experts), None)
        ports = {}
        if around is not None:
            ports["mlp_in"] = Port(home, "in", call=around.number)
        if router is not None:
            ports["router_logits"] = Port(router.path, "out", call=router.number)
        return ExpertRoles(home, holder.path, n_experts, ports)


def holds_experts(module: nn.Module) -> bool:
    """Whether a module keeps the weights of all experts stacked."""
    weight = getattr(module, "down_proj", None)
    return isinstance(weight, Tensor) and weight.ndim == 3


def _home(roles: AttentionRoles) -> str:
    """The smallest module that holds an attention and its output projection."""
    return roles.path if roles.o is None else _common([roles.path, roles.o])


def _common(paths: list[str]) -> str:
    """The deepest module that holds all of `paths`, or is one of them and holds the others."""
    parts = [path.split(".") for path in paths]
    shared = []
    for names in zip(*parts, strict=False):
        if len(set(names)) > 1:
            break
        shared.append(names[0])
    return ".".join(shared)


def _rows(x: Tensor, rows: int) -> Tensor:
    return x.unflatten(0, (rows, -1)) if x.ndim == 2 else x


def _same(one: Tensor | None, other: Tensor | None, rows: int) -> bool:
    return one is not None and other is not None and _equal(_rows(one, rows), _rows(other, rows))


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(torch.equal(one, other))


def _is_pattern(x: Tensor | None) -> bool:
    """Whether a tensor is attention probabilities: four axes and rows that sum to 1."""
    if x is None or x.ndim != 4 or not x.is_floating_point():
        return False
    return bool(((x.float().sum(-1) - 1).abs() < 1e-2).all()) and bool((x >= 0).all())
