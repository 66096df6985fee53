"""Attach hooks for one run and detach them always.

A `Tap` belongs to one forward pass. It shows each wanted site to the reader and gives each addressed part to its edits,
edits first, so a captured value is the one the model went on with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from hooks import attention
from hooks.projections import head_writes
from hooks.schedule import Schedule
from hooks.sites import Site
from hooks.sources import PartContext, Sources
from hooks.wiring import Port, Wiring


class Tap:
    """One run's captures and edits. `seen`: how each layer's attention makes its scores."""

    def __init__(
        self, model: PreTrainedModel, wiring: Wiring, reads: frozenset[Site], schedule: Schedule, sources: Sources
    ) -> None:
        self._model, self._wiring, self._schedule, self._sources = model, wiring, schedule, sources
        self._reads = reads
        self._layer_of = {id(model.get_submodule(path)): layer for path, layer in wiring.attention.items()}
        self.captured: dict[Site, Tensor] = {}
        self.seen: dict[int, attention.AttentionFacts] = {}

    # -- what the attention function calls

    def attention(self, name: str, module: nn.Module, x: Tensor) -> Tensor:
        """See `hooks.attention.AttentionTap`."""
        layer = self._layer_of.get(id(module))
        if layer is None:
            return x
        site = Site(name, layer)
        edited = self._edited(site, x, lambda tensor: tensor) if site in self._schedule.edits else x
        self._keep(site, edited)
        return edited

    def facts(self, module: nn.Module, facts: attention.AttentionFacts) -> None:
        """See `hooks.attention.AttentionTap`."""
        if (layer := self._layer_of.get(id(module))) is not None:
            self.seen[layer] = facts

    # -- what module hooks call

    def see(self, site: Site, port: Port, tensor: Tensor) -> Tensor | None:
        """The tensor that the model should go on with, or None to leave it as it is."""

        def view(whole: Tensor) -> Tensor:
            return port.view.open(whole, self._rows(site))

        result = None
        if site in self._schedule.edits:
            tensor = self._edited(site, tensor, view, in_place=port.in_place)
            result = None if port.in_place else tensor
        self._keep(site, view(tensor))
        return result

    def _rows(self, site: Site) -> int:
        layer = site.layer if site.layer is not None else (-1 if site.name in ("embed", "pos_embed") else 1 << 30)
        return self._schedule.batch * (1 + self._schedule.worlds_before(layer))

    def _edited(self, site: Site, x: Tensor, view: Callable[[Tensor], Tensor], *, in_place: bool = False) -> Tensor:
        target = x if in_place else _copy(x, self._rows(site))
        shown = view(target)
        for placed in self._schedule.edits[site]:
            placed.apply(shown, lambda item: PartContext(item, self._sources, shown))
        return target

    def _keep(self, site: Site, value: Tensor) -> None:
        if site in self._reads:
            self.captured[site] = _copy(value, self._rows(site)).detach()
        if site.name == "z" and (derived := Site("head_out", site.layer)) in self._reads:
            projection = self._model.get_submodule(self._wiring.output_projection[site.layer or 0])
            self.captured[derived] = head_writes(projection, value).detach()

    # -- hooking

    def hook(self) -> list[RemovableHandle]:
        """Hooks for everything that this run reads or edits; the caller removes them."""
        handles = self._growth_hooks()
        wanted = self._reads | set(self._schedule.edits)
        wanted |= {Site("z", site.layer) for site in wanted if site.name == "head_out"}
        for site in sorted(wanted):
            port = self._wiring.ports.get(site)
            if port is not None:
                handles.append(self._hook_port(site, port))
        return handles

    def _hook_port(self, site: Site, port: Port) -> RemovableHandle:
        module = self._model.get_submodule(port.module)

        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
            edited = self.see(site, port, hidden_of(args, kwargs))
            return None if edited is None else with_hidden(args, kwargs, edited)

        def after(_: nn.Module, __: Any, output: Any) -> Any:
            edited = self.see(site, port, output[0] if isinstance(output, tuple) else output)
            if edited is None:
                return None
            return (edited, *output[1:]) if isinstance(output, tuple) else edited

        if port.side == "in":
            return module.register_forward_pre_hook(before, with_kwargs=True)
        return module.register_forward_hook(after)

    def _growth_hooks(self) -> list[RemovableHandle]:
        late = [start for start in self._schedule.joins if start >= 0]
        if not late:
            return []
        blocks = [self._model.get_submodule(path) for path in self._wiring.layers]
        return [
            block.register_forward_pre_hook(self._grow(layer), with_kwargs=True)
            for layer, block in enumerate(blocks)
            if layer >= min(late)
        ]

    def _grow(self, layer: int) -> Callable[..., tuple[Any, Any]]:
        batch, schedule = self._schedule.batch, self._schedule
        present = schedule.worlds_before(layer)
        began_with = batch * (1 + schedule.joins.get(-1, 0))

        def spread(value: Any) -> Any:
            """What every block is given beside the hidden states, repeated for the rows that joined."""
            if isinstance(value, Tensor) and value.ndim > 1 and value.shape[0] == began_with and began_with > 1:
                clean = value[:batch]
                return clean.repeat(1 + present, *[1] * (value.ndim - 1))
            if isinstance(value, tuple):
                return tuple(spread(item) for item in value)
            return value

        def grow(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
            hidden = hidden_of(args, kwargs)
            if joining := schedule.joins.get(layer, 0):
                hidden = torch.cat([hidden, hidden[:batch].repeat(joining, *[1] * (hidden.ndim - 1))])
            args, kwargs = with_hidden(tuple(map(spread, args)), {k: spread(v) for k, v in kwargs.items()}, hidden)
            return args, kwargs

        return grow


def hidden_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The hidden states among a module's inputs: the first argument, or the one called `hidden_states`."""
    return args[0] if args else kwargs["hidden_states"]


def with_hidden(
    args: tuple[Any, ...], kwargs: dict[str, Any], hidden: Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The same inputs with other hidden states."""
    return ((hidden, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden})


def _copy(x: Tensor, rows: int) -> Tensor:
    """A copy with the strides of `x`, so that arithmetic on it rounds alike; a shared first row goes to all `rows`."""
    if x.shape[0] == 1 and rows > 1 and x.ndim > 2:
        x = x.expand(rows, *x.shape[1:])
    if 0 in x.stride():
        return x.clone(memory_format=torch.contiguous_format)
    copy = torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device)
    return copy.copy_(x)


@contextmanager
def answers_at(unembed: nn.Module, positions: Tensor | None) -> Iterator[None]:
    """While open, the unembedding sees only one position per row: `positions` [batch], repeated for joined worlds."""
    if positions is None:
        yield
        return

    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        hidden = hidden_of(args, kwargs)
        at = positions.to(hidden.device).repeat(hidden.shape[0] // len(positions))
        return with_hidden(args, kwargs, hidden[torch.arange(len(hidden), device=hidden.device), at][:, None])

    handle = unembed.register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def attached(model: PreTrainedModel, tap: Tap | None) -> Iterator[None]:
    """While open, `model` is in evaluation mode and shows itself to `tap`; with no tap it runs its own eager attention.

    Afterwards, also after an exception, no hook, mode or switch of ours remains.
    """
    training = [module for module in model.modules() if module.training]
    configs: dict[int, Any] = {id(m.config): m.config for m in model.modules() if hasattr(m, "config")}
    switched = [
        (config, config._attn_implementation) for config in configs.values() if hasattr(config, "_attn_implementation")
    ]
    handles: list[RemovableHandle] = []
    active = attention.ACTIVE.set(tap)
    try:
        for module in training:
            module.training = False
        for config, _ in switched:
            # The internal field: the public setter also walks sub-configs, which we already hold one by one.
            config._attn_implementation_internal = "eager" if tap is None else attention.NAME
        if tap is not None:
            handles = tap.hook()
        yield
    finally:
        attention.ACTIVE.reset(active)
        for handle in handles:
            handle.remove()
        for config, implementation in switched:
            config._attn_implementation_internal = implementation
        for module in training:
            module.training = True
