"""Wiring: where in the module tree each site can be seen, and how to see it there.

A `Port` is an edge of a module (its input or output) plus a `View` that shows the site inside the tensor on that edge.
Wiring is guessed from names (`hooks.conventions`); where several edges could be what a block adds to the residual
stream, all are listed and `hooks.proof` chooses by the equation they must satisfy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from transformers import PreTrainedModel

from hooks.architectures.base import Architecture
from hooks.conventions import CONVENTIONS, Blueprint, first
from hooks.discover import discover
from hooks.errors import ModelError
from hooks.projections import in_features, out_features
from hooks.sites import Site

Side = Literal["in", "out"]
NORM_WORDS = ("norm", "ln_")


@dataclass(frozen=True)
class View:
    """How a site lies in a tensor whose last axis is features.

    parts: (start, stop) on the last axis, None for all. heads: split the last axis into this many heads. per_head: each
    head's features hold q, k and v in turn; `third` says which. All are views: writing into one writes the tensor.
    """

    parts: tuple[int, int] | None = None
    heads: int | None = None
    third: int | None = None

    def open(self, x: Tensor, batch: int) -> Tensor:
        """The site inside `x`, as a view of it. `x` may have batch and position folded into one axis."""
        if x.ndim == 2:
            x = x.unflatten(0, (batch, -1))
        if self.parts is not None:
            x = x[..., self.parts[0] : self.parts[1]]
        if self.heads is not None:
            x = x.unflatten(-1, (self.heads, -1))
        if self.third is not None:
            width = x.shape[-1] // 3
            x = x[..., self.third * width : (self.third + 1) * width]
        return x


WHOLE = View()


@dataclass(frozen=True)
class Port:
    """A module's edge and the view of a site there. in_place: the edge is read again later, so edits write into it."""

    module: str
    side: Side
    view: View = WHOLE
    in_place: bool = False

    def __str__(self) -> str:
        return f"{self.side}put of {self.module}"


@dataclass(frozen=True)
class Wiring:
    """A blueprint resolved on one model's module tree.

    ports: the edge of every site that has one. attention: module path → layer, for what the attention function sees.
    writes_attn, writes_mlp, mids: candidate names relative to a block for attn_out, mlp_out and resid_mid.
    """

    ports: Mapping[Site, Port]
    layers: tuple[str, ...]
    attention: Mapping[str, int]
    output_projection: tuple[str, ...]
    down_projection: tuple[str, ...]
    unembed: str
    writes_attn: tuple[tuple[Port, ...], ...]
    writes_mlp: tuple[tuple[Port, ...], ...]
    mids: tuple[tuple[Port, ...], ...]
    gated: bool


@dataclass(frozen=True)
class Sizes:
    """Head and width counts read from weights."""

    n_heads: int
    n_kv_heads: int
    d_head: int
    d_model: int
    d_mlp: int


def blueprint_of(family: str) -> Blueprint:
    """The blueprint registered for a family, else the conventions."""
    for architecture in discover("hooks.architectures", "ARCHITECTURE", Architecture):
        if architecture.family == family:
            return architecture.blueprint
    return CONVENTIONS


def find_layers(model: PreTrainedModel, n_layers: int) -> tuple[str, nn.ModuleList]:
    """Path and list of the decoder's blocks: the only list of `n_layers` equal modules that hold attention."""
    found = []
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == n_layers:
            children = [name for name, _ in module[0].named_children()]
            if first(CONVENTIONS.attention, children):
                found.append((path, module))
    if len(found) != 1:
        raise ModelError(
            f"{type(model).__name__} has {len(found)} stacks of {n_layers} blocks with attention; one is expected.",
            "This version opens decoder language models with one stack.",
        )
    return found[0]


def wire(model: PreTrainedModel, family: str, n_layers: int, n_heads: int) -> tuple[Wiring, Sizes]:
    """Ports of every site that names alone can find, and the sizes read on the way. Raises ModelError."""
    blueprint = blueprint_of(family)
    stack_path, stack = find_layers(model, n_layers)
    names = [_Names.find(blueprint, f"{stack_path}.{layer}", block) for layer, block in enumerate(stack)]
    sizes = names[0].sizes(model, n_heads)
    decoder_path = stack_path.rpartition(".")[0]
    ports: dict[Site, Port] = {}
    for layer, found in enumerate(names):
        ports |= {Site(name, layer): port for name, port in found.ports(model, sizes).items()}
    ports |= _model_ports(model, decoder_path, blueprint)
    wiring = Wiring(
        ports=ports,
        layers=tuple(found.block for found in names),
        attention={found.attention: layer for layer, found in enumerate(names)},
        output_projection=tuple(found.o for found in names),
        down_projection=tuple(found.down for found in names),
        unembed=_path_of(model, model.get_output_embeddings()),
        writes_attn=tuple(found.attention_writes() for found in names),
        writes_mlp=tuple(found.mlp_writes() for found in names),
        mids=tuple(found.mids() for found in names),
        gated=names[0].gate is not None or names[0].gate_up is not None,
    )
    return wiring, sizes


def _model_ports(model: PreTrainedModel, decoder_path: str, blueprint: Blueprint) -> dict[Site, Port]:
    decoder = model.get_submodule(decoder_path)
    children = [name for name, _ in decoder.named_children()]
    prefix = f"{decoder_path}." if decoder_path else ""
    ports = {Site("embed"): Port(_path_of(model, model.get_input_embeddings()), "out")}
    if position := first(blueprint.pos_embed, children):
        ports[Site("pos_embed")] = Port(prefix + position, "out")
    if norm := first(blueprint.final_norm, children):
        ports[Site("ln_final")] = Port(prefix + norm, "out")
    return ports


def _path_of(model: PreTrainedModel, wanted: nn.Module | None) -> str:
    for path, module in model.named_modules():
        if module is wanted:
            return path
    raise ModelError(
        f"{type(model).__name__} has no token embedding or no unembedding.", "A language model is expected."
    )


@dataclass(frozen=True)
class _Names:
    """Module paths of one block by role; None where the block has no such module."""

    block: str
    attention: str
    q: str | None
    k: str | None
    v: str | None
    packed: tuple[str, str] | None
    o: str
    mlp: str | None
    gate: str | None
    up: str | None
    gate_up: str | None
    down: str
    norms: tuple[str, ...]

    @classmethod
    def find(cls, blueprint: Blueprint, path: str, block: nn.Module) -> _Names:
        children = [name for name, _ in block.named_children()]

        def inside(parent: str | None, names: tuple[str, ...]) -> str | None:
            home = block if parent is None else block.get_submodule(parent)
            found = first(names, [name for name, _ in home.named_children()])
            return None if found is None else ".".join(filter(None, (path, parent, found)))

        attention = first(blueprint.attention, children)
        mlp = first(blueprint.mlp, children)
        packed = inside(attention, tuple(name for name, _ in blueprint.packed))
        o, down = inside(attention, blueprint.o), inside(mlp, blueprint.down)
        if attention is None or o is None or down is None:
            missing = "attention" if attention is None else "output projection" if o is None else "down projection"
            raise ModelError(
                f"no {missing} found in {path} ({type(block).__name__}: {', '.join(children)}).",
                "This family needs a blueprint in hooks/architectures.",
            )
        return cls(
            block=path,
            attention=f"{path}.{attention}",
            q=inside(attention, blueprint.q),
            k=inside(attention, blueprint.k),
            v=inside(attention, blueprint.v),
            packed=(packed, dict(blueprint.packed)[packed.rpartition(".")[2]]) if packed else None,
            o=o,
            mlp=mlp and f"{path}.{mlp}",
            gate=inside(mlp, blueprint.gate),
            up=inside(mlp, blueprint.up),
            gate_up=inside(mlp, blueprint.gate_up),
            down=down,
            norms=tuple(f"{path}.{name}" for name in children if any(word in name.lower() for word in NORM_WORDS)),
        )

    def sizes(self, model: PreTrainedModel, n_heads: int) -> Sizes:
        o, down = model.get_submodule(self.o), model.get_submodule(self.down)
        d_head = in_features(o) // n_heads
        if self.k is not None:
            n_kv = out_features(model.get_submodule(self.k)) // d_head
        elif self.packed is not None:
            n_kv = (out_features(model.get_submodule(self.packed[0])) // d_head - n_heads) // 2
        else:
            n_kv = n_heads
        if d_head * n_heads != in_features(o) or n_kv < 1 or n_heads % n_kv:
            raise ModelError(
                f"{self.o} reads {in_features(o)} features: {n_heads} heads over {n_kv} key/value heads do not fit.",
                "The config and the weights disagree.",
            )
        return Sizes(n_heads, n_kv, d_head, out_features(o), in_features(down))

    def ports(self, model: PreTrainedModel, sizes: Sizes) -> dict[str, Port]:
        """Ports of the sites that have one possible place."""
        ports = {
            "resid_pre": Port(self.block, "in"),
            "attn_in": Port(self.attention, "in"),
            "z": Port(self.o, "in", View(heads=sizes.n_heads)),
            "mlp_in": Port(self.mlp or self.up or self.down, "in"),
            "mlp_post": Port(self.down, "in"),
            "resid_post": Port(self.block, "out"),
        }
        return ports | self._projection_ports(sizes) | self._neuron_ports(sizes)

    def _projection_ports(self, sizes: Sizes) -> dict[str, Port]:
        heads = {"q": sizes.n_heads, "k": sizes.n_kv_heads, "v": sizes.n_kv_heads}
        if self.packed is None:
            named = {"q": self.q, "k": self.k, "v": self.v}
            return {
                site: Port(path, "out", View(heads=heads[site])) for site, path in named.items() if path is not None
            }
        path, layout = self.packed
        if layout == "per_head":
            return {site: Port(path, "out", View(heads=n, third=i)) for i, (site, n) in enumerate(heads.items())}
        ports, start = {}, 0
        for site, n in heads.items():
            stop = start + n * sizes.d_head
            ports[site] = Port(path, "out", View(parts=(start, stop), heads=n))
            start = stop
        return ports

    def _neuron_ports(self, sizes: Sizes) -> dict[str, Port]:
        if self.gate_up is not None:
            halves = {"mlp_pre": (0, sizes.d_mlp), "mlp_up": (sizes.d_mlp, 2 * sizes.d_mlp)}
            return {site: Port(self.gate_up, "out", View(parts=half)) for site, half in halves.items()}
        if self.gate is not None and self.up is not None:
            return {"mlp_pre": Port(self.gate, "out"), "mlp_up": Port(self.up, "out")}
        return {} if self.up is None else {"mlp_pre": Port(self.up, "out")}

    def attention_writes(self) -> tuple[Port, ...]:
        return (Port(self.o, "out"), *(Port(norm, "out") for norm in self.norms))

    def mlp_writes(self) -> tuple[Port, ...]:
        return (Port(self.down, "out"), *(Port(norm, "out") for norm in self.norms))

    def mids(self) -> tuple[Port, ...]:
        # The block keeps its own reference to the tensor that enters the second norm, to add the MLP's write to it.
        reads = [*self.norms, *([self.mlp] if self.mlp else [])]
        return tuple(Port(path, "in", in_place=True) for path in reads)
