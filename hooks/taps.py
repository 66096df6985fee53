"""Attach hooks for one run and detach them always.

A `Tap` belongs to one forward pass. It shows each wanted site to the reader and gives each addressed part to its edits,
edits first, so a captured value is the one the model went on with.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from hooks import attention
from hooks.observe import Recorder
from hooks.ports import WHOLE, Port, View, hidden_of, named, output_of, with_hidden, with_output
from hooks.projections import head_writes
from hooks.reads import Reads
from hooks.rereading import Rereading, inner_sites
from hooks.schedule import Schedule
from hooks.sites import Site
from hooks.sources import PartContext, Sources
from hooks.wiring import Wiring

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# The internal fields: the public setters also walk sub-configs, which are held one by one.
SWITCHES = ("_attn_implementation_internal", "_experts_implementation_internal")


class Apart(Protocol):
    """What sets the copies of keys and values apart that query heads share: see `hooks.gradients`."""

    def split(self, site: Site, x: Tensor) -> Tensor:
        """`x` [batch head pos d], the site's keys or values once per query head, with a graph for each copy."""


class Tap:
    """One run's captures and edits. `seen`: how the attention of each (stack, layer) makes its scores."""

    def __init__(
        self,
        model: PreTrainedModel,
        wiring: Wiring,
        reads: frozenset[Site],
        schedule: Schedule,
        sources: Sources,
        rereads: Reads | None = None,
        start: int = 0,
        apart: Apart | None = None,
    ) -> None:
        self._wiring, self._schedule, self._sources = wiring, schedule, sources
        self._reads, self._apart = reads | inner_sites(schedule, rereads), apart
        self._modules: dict[str, nn.Module] = {"": model}
        self._paths = {id(self._module(path)): path for path, _ in wiring.attention}
        self._layer_of_experts = {
            id(self._module(layer.experts.holder)): (stack, number)
            for stack, wired in wiring.stacks.items()
            for number, layer in enumerate(wired.layers)
            if layer.experts is not None and layer.experts.holder is not None
        }
        self._calls: dict[str, int] = defaultdict(int)
        self.captured: dict[Site, Tensor] = {}
        self._again = None if rereads is None else Rereading(rereads, schedule, sources, self.captured, start)
        self.seen: dict[tuple[str, int], attention.AttentionFacts] = {}

    # -- what the attention function and the experts function call

    def facts(self, module: nn.Module, facts: attention.AttentionFacts) -> None:
        """See `hooks.attention.AttentionTap`."""
        if (path := self._paths.get(id(module))) is not None:
            self._calls[path] += 1
            stack, layer, cross = self._wiring.attention[path, self._calls[path] - 1]
            if not cross:
                self.seen[stack, layer] = facts

    def attention(self, name: str, module: nn.Module, x: Tensor) -> Tensor:
        """See `hooks.attention.AttentionTap`."""
        path = self._paths.get(id(module))
        if path is None or name in ("value", "mixed"):
            return x
        stack, layer, cross = self._wiring.attention[path, self._calls[path] - 1]
        if cross and name not in ("scores", "pattern"):
            return x
        return self._shown(Site(f"cross_{name}" if cross else name, layer, stack), x)

    def each(self, name: str, module: nn.Module, x: Tensor) -> Tensor:
        """See `hooks.attention.AttentionTap`."""
        path = self._paths.get(id(module))
        if self._apart is None or path is None:
            return x
        stack, layer, cross = self._wiring.attention[path, self._calls[path] - 1]
        return x if cross else self._apart.split(Site(name, layer, stack), x)

    def experts(self, name: str, module: nn.Module, x: Tensor) -> Tensor:
        """`x` [token expert …], perhaps edited: site `name` of the layer whose experts `module` holds."""
        place = self._layer_of_experts.get(id(module))
        if place is None:
            return x
        site = Site(name, place[1], place[0])
        return self._shown(site, x.unflatten(0, (self._rows(site), -1))).flatten(0, 1)

    def _shown(self, site: Site, x: Tensor) -> Tensor:
        edited = self._edited(site, x, WHOLE) if site in self._schedule.edits else x
        self._keep(site, edited)
        return edited

    # -- what module hooks call

    def see(self, site: Site, port: Port, tensor: Tensor) -> Tensor | None:
        """The tensor that the model should go on with, or None to leave it as it is."""
        result = None
        if site in self._schedule.edits:
            tensor = self._edited(site, tensor, port.view, in_place=port.in_place)
            result = None if port.in_place else tensor
        if site in self._reads or _derived(site) in self._reads:
            self._keep(site, port.view.open(tensor, self._rows(site)))
        return result

    def _rows(self, site: Site) -> int:
        if not self._schedule.joins:
            return self._schedule.batch
        layer = site.layer if site.layer is not None else (-1 if site.name in ("embed", "pos_embed") else 1 << 30)
        return self._schedule.batch * (1 + self._schedule.worlds_before(layer))

    def _edited(self, site: Site, x: Tensor, view: View, *, in_place: bool = False) -> Tensor:
        rows = self._rows(site)
        target = x if in_place else _copy(x, rows)
        shown = view.open(target, rows)
        direct = view.scale == 1.0 and view.slots is None
        value = shown if direct else shown.clone()
        for placed in self._schedule.edits[site]:
            placed.apply(value, lambda item: PartContext(item, self._sources, value, self._again))
        if not direct:
            view.write(target, value, rows)
        return target

    def _keep(self, site: Site, value: Tensor) -> None:
        value = value.detach()
        if site in self._reads:
            self.captured[site] = _copy(value, self._rows(site))
        if (writes := _derived(site)) in self._reads:
            roles = self._wiring.attention_of(site)
            if writes is not None and roles is not None and roles.o is not None:
                with torch.no_grad():
                    self.captured[writes] = head_writes(self._module(roles.o), value)

    # -- hooking

    def _module(self, path: str) -> nn.Module:
        """The module at a path, looked up from the one that holds it, which holds others that are asked for."""
        if path not in self._modules:
            home, _, name = path.rpartition(".")
            self._modules[path] = getattr(self._module(home), name)
        return self._modules[path]

    def hook(self) -> list[RemovableHandle]:
        """Hooks for everything that this run reads or edits; the caller removes them."""
        handles = self._growth_hooks()
        wanted = self._reads | set(self._schedule.edits)
        wanted |= {
            Site(site.name.replace("head_out", "z"), site.layer, site.stack)
            for site in wanted
            if site.name.endswith("head_out")
        }
        for site in sorted(wanted):
            port = self._wiring.ports.get(site)
            if port is not None:
                handles.append(self._hook_port(site, port))
        return handles

    def _hook_port(self, site: Site, port: Port) -> RemovableHandle:
        module, calls = self._module(port.module), count()

        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
            given = hidden_of(args, kwargs)
            if next(calls) != port.call or given is None:
                return None
            edited = self.see(site, port, given)
            return None if edited is None else with_hidden(args, kwargs, edited)

        def after(_: nn.Module, __: Any, output: Any) -> Any:
            gave = output_of(output, port.item)
            if next(calls) != port.call or gave is None:
                return None
            edited = self.see(site, port, gave)
            return None if edited is None else with_output(output, edited, port.item)

        if port.side == "in":
            return module.register_forward_pre_hook(before, with_kwargs=True)
        return module.register_forward_hook(after)

    def _growth_hooks(self) -> list[RemovableHandle]:
        late = [start for start in self._schedule.joins if start >= 0]
        if not late:
            return []
        blocks = [self._module(layer.block) for layer in self._wiring.main.layers]
        return [
            block.register_forward_pre_hook(self._grow(layer), with_kwargs=True)
            for layer, block in enumerate(blocks)
            if layer >= min(late)
        ]

    def _grow(self, layer: int) -> Callable[..., tuple[Any, Any]]:
        batch, schedule = self._schedule.batch, self._schedule
        present = schedule.worlds_before(layer)
        began_with = batch * (1 + schedule.joins.get(-1, 0))

        def spread(place: str, value: Any) -> Any:
            """What every block is given beside the hidden states, repeated for the rows that joined."""
            # The length alone does not tell rows: as many heads, or positions, may come first in another tensor.
            by_row = place in self._wiring.by_row and isinstance(value, Tensor)
            if by_row and value.shape[0] == began_with and began_with > 1:
                clean = value[:batch]
                return clean.repeat(1 + present, *[1] * (value.ndim - 1))
            if isinstance(value, tuple):
                return tuple(spread(f"{place}.{number}", item) for number, item in enumerate(value))
            return value

        def grow(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
            hidden = hidden_of(args, kwargs)
            assert hidden is not None
            if joining := schedule.joins.get(layer, 0):
                hidden = torch.cat([hidden, hidden[:batch].repeat(joining, *[1] * (hidden.ndim - 1))])
            given = {place: spread(place, value) for place, value in named(args, kwargs)}
            spread_args = tuple(given.pop(str(number)) for number in range(len(args)))
            return with_hidden(spread_args, given, hidden)

        return grow


def _derived(site: Site) -> Site | None:
    """What is computed from a site in passing: each head's write from z."""
    name = {"z": "head_out", "cross_z": "cross_head_out"}.get(site.name)
    return None if name is None else Site(name, site.layer, site.stack)


def _copy(x: Tensor, rows: int) -> Tensor:
    """A copy with the strides of `x`, so that arithmetic on it rounds alike; a shared first row goes to all `rows`."""
    if x.shape[0] == 1 and rows > 1 and x.ndim > 2:
        x = x.expand(rows, *x.shape[1:])
    if 0 in x.stride():
        return x.clone(memory_format=torch.contiguous_format)
    if torch.is_grad_enabled():
        return x.clone()
    copy = torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device)
    return copy.copy_(x)


@contextmanager
def answers_at(unembed: nn.Module | None, positions: Tensor | None) -> Iterator[None]:
    """While open, the unembedding sees only one position per row: `positions` [batch], repeated for joined worlds."""
    if positions is None or unembed is None:
        yield
        return

    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        hidden = hidden_of(args, kwargs)
        assert hidden is not None
        at = positions.to(hidden.device).repeat(hidden.shape[0] // len(positions))
        return with_hidden(args, kwargs, hidden[torch.arange(len(hidden), device=hidden.device), at][:, None])

    handle = unembed.register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def attached(model: PreTrainedModel, tap: Tap | Recorder | None) -> Iterator[None]:
    """While open, `model` is in evaluation mode and shows itself to `tap`; with no tap it runs its own eager attention.

    Afterwards, also after an exception, no hook, mode or switch of ours remains.
    """
    modules = list(model.modules())
    training = [module for module in modules if module.training]
    # Looked up among its own attributes: a module that has none would search its parameters, buffers and children.
    configs: dict[int, Any] = {id(m.config): m.config for m in modules if "config" in vars(m)}
    switched = [
        (config, field, getattr(config, field))
        for config in configs.values()
        for field in SWITCHES
        if hasattr(config, field)
    ]
    handles: list[RemovableHandle] = []
    active = attention.ACTIVE.set(tap)
    try:
        for module in training:
            module.training = False
        for config, field, _ in switched:
            setattr(config, field, "eager" if tap is None else attention.NAME)
        if isinstance(tap, Tap):
            handles = tap.hook()
        yield
    finally:
        attention.ACTIVE.reset(active)
        for handle in handles:
            handle.remove()
        for config, field, implementation in switched:
            setattr(config, field, implementation)
        for module in training:
            module.training = True
