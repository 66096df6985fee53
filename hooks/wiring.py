"""Wiring: where in the module tree each site can be seen, found by watching one forward pass.

A model has one or several stacks of blocks (decoder; encoder and decoder; text and vision). A stack's layers are the
calls of its blocks in the order in which they run, so a block that is shared among layers counts once per call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import nn

from hooks.architectures.base import Architecture
from hooks.choose import Step, Sum, is_norm, solve
from hooks.conventions import CONVENTIONS, Blueprint, first
from hooks.discover import discover
from hooks.ends import Start, final_norm, start_of, unembedding
from hooks.errors import ModelError
from hooks.feed import Feed
from hooks.look import Look
from hooks.observe import Call, Observation
from hooks.ports import WHOLE, Port, View
from hooks.roles import AttentionRoles, BlockRoles, ExpertRoles, MlpRoles, find_roles
from hooks.sites import MAIN, Site

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["WHOLE", "AttentionWiring", "LayerWiring", "Port", "StackWiring", "View", "Wiring", "wire"]


# So many lists of modules are named to a user whose model has no stack.
MOST_LISTS = 4


@dataclass(frozen=True)
class AttentionWiring:
    """One attention of a layer: its module and which call of it; its output projection; its sizes.

    shared: whether it passes through the workbench's attention function.
    """

    path: str
    call: int
    o: str | None
    n_heads: int
    n_kv_heads: int
    d_head: int
    shared: bool


@dataclass(frozen=True, eq=False)
class LayerWiring:
    """One layer: the call of its block, what is in it, and how it adds (`steps`, None where no known sum holds).

    begins: the stream that the steps add to: resid_mid where only the MLP's addition is known. norms: paths of the
    block's normalisations. writes: the module whose output attention adds to the stream.
    """

    block: str
    call: int
    attention: AttentionWiring | None
    cross: AttentionWiring | None
    mixer: str | None
    mlp: MlpRoles | None
    experts: ExpertRoles | None
    steps: tuple[Step, ...] | None
    parallel: bool
    begins: str
    norms: tuple[str, ...]
    writes: str | None


@dataclass(frozen=True, eq=False)
class StackWiring:
    """A stack: its layers, how it begins, and the norm after its last block. causal: no query sees a later key."""

    name: str
    path: str
    layers: tuple[LayerWiring, ...]
    start: Start
    final_norm: Port | None
    causal: bool


@dataclass(frozen=True, eq=False)
class Wiring:
    """A model's stacks by name, the port of every site that has one, and the unembedding.

    joins: whether further rows can join the batch at a later layer; decided by the proof. by_row: places of what the
    main stack's blocks are given, beside the stream, with an entry per row.
    """

    feed: Feed
    stacks: Mapping[str, StackWiring]
    ports: Mapping[Site, Port]
    unembed: str | None
    attention: Mapping[tuple[str, int], tuple[str, int, bool]] = field(default_factory=dict)
    joins: bool = True
    by_row: frozenset[str] = frozenset()

    @property
    def main(self) -> StackWiring:
        return self.stacks[MAIN]

    def layer(self, site: Site) -> LayerWiring:
        """The layer that a per-layer site belongs to."""
        assert site.layer is not None
        return self.stacks[site.stack].layers[site.layer]

    def returns_patterns(self, reads: frozenset[Site]) -> bool:
        """Whether a pattern that is read must be asked for, since only the model itself returns it."""
        return any(site.name == "pattern" and site in self.ports and self.ports[site].item for site in reads)

    def attention_of(self, site: Site) -> AttentionWiring | None:
        """The attention that a site belongs to: cross-attention for the sites named so."""
        layer = self.layer(site)
        return layer.cross if site.name.startswith("cross_") else layer.attention


def blueprint_of(family: str) -> Blueprint:
    """The blueprint registered for a family, else the conventions."""
    for architecture in discover("hooks.architectures", "ARCHITECTURE", Architecture):
        if architecture.family == family:
            return architecture.blueprint
    return CONVENTIONS


def wire(model: PreTrainedModel, feed: Feed, seen: Observation, rows: int) -> Wiring:
    """Ports of every site, as one observed pass over `rows` rows shows them. Raises ModelError without any stack."""
    blueprint = blueprint_of(model.config.model_type)
    found = _stacks(model, seen, blueprint)
    if not found:
        raise _no_stack(model, blueprint)
    names = _names(model, [path for path, _ in found])
    stacks: dict[str, StackWiring] = {}
    ports: dict[Site, Port] = {}
    for (path, blocks), name in zip(found, names, strict=True):
        others = [call for other, calls in found if other != path for call in calls]
        within = [call for call in seen.calls if any(call.path.startswith(f"{other.path}.") for other in others)]
        stacks[name] = _wire_stack(model, seen, blueprint, name, path, blocks, rows, ports, within, feed)
    unembed = unembedding(model, seen, getattr(seen.output, "logits", None))
    attention = {
        (roles.path, roles.call): (name, layer, cross)
        for name, stack in stacks.items()
        for layer, wired in enumerate(stack.layers)
        for cross, roles in ((False, wired.attention), (True, wired.cross))
        if roles is not None and roles.shared
    }
    shared = any(layer.call for stack in stacks.values() for layer in stack.layers)
    calls = [seen.of(layer.block)[layer.call] for layer in stacks[MAIN].layers]
    by_row = frozenset(place for call in calls for place, size in call.first_axes.items() if size == rows)
    # One row does not show which tensors have an entry per row.
    joins = len(stacks) == 1 and not shared and rows > 1
    return Wiring(feed, stacks, ports, unembed, attention, joins, by_row)


def _stacks(model: PreTrainedModel, seen: Observation, blueprint: Blueprint) -> list[tuple[str, list[Call]]]:
    """Lists of blocks that hold attention or a mixer, each with the calls of its blocks in order."""
    attended = [call.path for call in seen.attention]
    found: list[tuple[str, list[Call]]] = []
    for path, module in model.named_modules():
        if not isinstance(module, nn.ModuleList) or not len(module):
            continue
        if any(path.startswith(f"{other}.") for other, _ in found):
            continue
        blocks = {f"{path}.{n}" for n in range(len(module))}
        holds = any(a.startswith(f"{block}.") for a in attended for block in blocks) or _named_inside(module, blueprint)
        calls = [call for call in seen.calls if call.path in blocks]
        if holds and calls:
            found.append((path, calls))
    return found


def _named_inside(blocks: nn.ModuleList, blueprint: Blueprint) -> bool:
    """Whether some block holds what is called attention or a mixer."""
    wanted = (*blueprint.attention, *blueprint.mixer)
    return any(first(wanted, {name for name, _ in block.named_modules()}) for block in blocks)


def _no_stack(model: PreTrainedModel, blueprint: Blueprint) -> ModelError:
    """Why a model has no stack: what its lists of modules are, and why none of them is a list of blocks."""
    name = type(model).__name__
    lists = {path: found for path, found in model.named_modules() if isinstance(found, nn.ModuleList) and len(found)}
    if uncalled := [path for path, blocks in lists.items() if _named_inside(blocks, blueprint)]:
        return ModelError(
            f"{name} runs the blocks in '{uncalled[0]}' by a way on which no hook of theirs is called.",
            "Its streams cannot be seen from outside; open a model whose code calls its blocks as modules.",
        )
    if not lists:
        return ModelError(
            f"{name} has no list of blocks with attention or a mixer: it keeps no modules in a list.",
            "The workbench opens transformers and their hybrids.",
        )
    held = "; ".join(
        f"'{path}' holds {len(blocks)} {type(blocks[0]).__name__}"
        + (f" ({inner})" if (inner := ", ".join(part for part, _ in blocks[0].named_children())) else "")
        for path, blocks in list(lists.items())[:MOST_LISTS]
    )
    return ModelError(
        f"{name} has no list of blocks with attention or a mixer in each: {held}.",
        "Parts of a layer that lie in separate lists, or mix by no attention, have no block whose input and output are "
        "the stream. Where one of the names is attention, a blueprint in hooks/architectures says so.",
    )


def _names(model: PreTrainedModel, paths: Sequence[str]) -> list[str]:
    """Stack names: the main stack is the decoder, or the text, or the only one."""
    if len(paths) == 1:
        return [MAIN]
    names: list[str] = []
    for path in paths:
        words = [word for word in ("encoder", "decoder", "vision", "text", "audio") if word in path]
        kind: str | None = next((word for word in ("vision", "audio", "text") if word in words), None)
        if model.config.is_encoder_decoder:
            kind = "decoder" if "decoder" in words else "encoder"
        names.append(MAIN if kind in ("decoder", "text") else kind or f"stack{len(names)}")
    if MAIN not in names:
        names[-1] = MAIN
    return names


def _wire_stack(
    model: PreTrainedModel, seen: Observation, blueprint: Blueprint, name: str, path: str, blocks: list[Call],
    rows: int, ports: dict[Site, Port], earlier: list[Call], feed: Feed,
) -> StackWiring:  # fmt: skip
    config = config_of(model, path)
    factors = _factors(config, blueprint.residual_factor)
    look = Look(model, seen, blueprint, getattr(config, "num_attention_heads", 1), rows)
    layers, patterns = [], []
    for number, call in enumerate(blocks):
        until = blocks[number + 1].order if number + 1 < len(blocks) else len(seen.calls)
        roles = find_roles(look, call, until)
        total = solve(roles, rows, factors)
        ports |= {Site(site, number, name): port for site, port in _layer_ports(roles, total).items()}
        layers.append(_layer(roles, total))
        if roles.attention is not None and roles.attention.pattern is not None:
            patterns.append(roles.attention.pattern)
    since = max((call.order for call in earlier if call.order < blocks[0].order), default=-1)
    start = start_of(seen, blocks[0], since, blueprint, rows, _factors(config, blueprint.embed_factor))
    norm = final_norm(seen, blocks[-1], sorted({call.path for call in blocks}))
    for site, port in (("embed", start.embed), ("pos_embed", start.pos_embed), ("ln_final", norm)):
        if port is not None:
            ports[Site(site, None, name)] = port
    causal = bool(patterns) and all(float(p.triu(1).abs().max()) == 0 for p in patterns)
    if not patterns:
        causal = name == MAIN and feed.task in ("causal", "seq2seq")
    return StackWiring(name, path, tuple(layers), start, norm, causal)


def config_of(model: PreTrainedModel, path: str) -> Any:
    """The config of the nearest model around a stack: towers have their own."""
    while path:
        path = path.rpartition(".")[0]
        if (config := getattr(model.get_submodule(path), "config", None)) is not None:
            return config
    return model.config


def _factors(config: Any, names: tuple[str, ...]) -> list[float]:
    given = [float(value) for name in names if (value := getattr(config, name, None)) is not None]
    return [1.0, *(value for value in given if value != 1.0)]


def _layer(roles: BlockRoles, total: Sum | None) -> LayerWiring:
    attn = None if total is None else total.ports.get("attn_out")
    return LayerWiring(
        block=roles.path,
        call=roles.call.number,
        attention=_attention(roles.attention),
        cross=_attention(roles.cross),
        mixer=roles.mixer,
        mlp=roles.mlp,
        experts=roles.experts,
        steps=None if total is None else total.steps,
        parallel=total is not None and total.parallel,
        begins="resid_pre" if total is None else total.begins,
        norms=tuple(dict.fromkeys(call.path for call in roles.inside if is_norm(call.module))),
        writes=None if attn is None else attn.module,
    )


def _attention(roles: AttentionRoles | None) -> AttentionWiring | None:
    if roles is None:
        return None
    return AttentionWiring(
        roles.path, roles.call, roles.o, roles.n_heads, roles.n_kv_heads, roles.d_head, roles.seen is not None
    )


def _layer_ports(roles: BlockRoles, total: Sum | None) -> dict[str, Port]:
    ports = {
        "resid_pre": Port(roles.path, "in", call=roles.call.number),
        "resid_post": Port(roles.path, "out", call=roles.call.number),
    }
    if roles.attention is not None:
        ports["attn_in"] = Port(roles.attention.path, "in", call=roles.attention.call)
        ports |= roles.attention.ports
    if roles.cross is not None:
        ports |= {f"cross_{site}": port for site, port in roles.cross.ports.items()}
    if roles.mlp is not None:
        ports |= roles.mlp.ports
    if roles.experts is not None:
        ports |= roles.experts.ports
    return ports | ({} if total is None else total.ports)
