"""Runs in which parts are watched and handed other values by whoever knows what each edge carries.

Three things here are about how a forward pass is arranged, and none about circuits. Watchers see a site of all rows and
may answer with another value. Where several query heads share a key/value head, a layer's attention can take its rows
once per member of the group, so that each query head has keys and values of its own: the model's own attention runs on
them, rotation, norms of keys and mask included. And a run can begin at a layer, from a stream that is given: the layers
before it see one prompt alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any

import torch
from pydantic import PrivateAttr
from torch import Tensor, nn
from transformers import PreTrainedModel

from hooks.errors import SiteMissing
from hooks.held_norms import HeldNorms
from hooks.interventions.base import EditContext, Intervention
from hooks.ports import hidden_of, named, with_hidden
from hooks.proof import TOLERANCE
from hooks.run import forward
from hooks.schedule import Placed, Schedule
from hooks.sites import Part, Site
from hooks.tokens import TokenBatch
from hooks.wiring import Wiring

Watcher = Callable[[Tensor], Tensor | None]
"""Told a site's value in all rows; its answer, if any, takes the value's place. It may write into the value."""


class Watch(Intervention):
    """Tells a watcher what a site is."""

    kind: str = "watch"
    _told: Watcher | None = PrivateAttr(default=None)

    def edit(self, x: Tensor, ctx: EditContext) -> Tensor:
        assert self._told is not None
        answer = self._told(x)
        return x if answer is None else answer


class EdgeRuns:
    """Watched runs of one model."""

    def __init__(
        self,
        model: PreTrainedModel,
        wiring: Wiring,
        probe: TokenBatch,
        lock: threading.Lock,
        device: torch.device,
    ) -> None:
        self._model, self._wiring, self._probe, self._lock, self._device = model, wiring, probe, lock, device

    def run(
        self,
        batch: TokenBatch,
        watchers: Mapping[Site, Watcher],
        *,
        apart: Collection[int] = (),
        begin: tuple[int, Tensor] | None = None,
        logits_at: Tensor | None = None,
        norms: HeldNorms | None = None,
    ) -> Tensor:
        """Logits [row pos d_vocab] of a run in which `watchers` see, and may replace, what is at their sites.

        apart: layers whose query heads each have keys and values of their own; there q, k and v come with
        [group * row …], the rows once per member of a group, and z with the rows again. begin: a layer and the stream
        [row pos d_model] that it reads; layers before it are not watched. norms: at other scales than the
        run's own.
        """
        with self._lock:
            return self._run(batch, watchers, apart, begin, logits_at, norms)

    def _run(
        self,
        batch: TokenBatch,
        watchers: Mapping[Site, Watcher],
        apart: Collection[int] = (),
        begin: tuple[int, Tensor] | None = None,
        logits_at: Tensor | None = None,
        norms: HeldNorms | None = None,
    ) -> Tensor:
        schedule = Schedule(len(batch), {site: (_placed(site, told, batch),) for site, told in watchers.items()})
        with ExitStack() as stack:
            for layer in apart:
                stack.enter_context(self._members_apart(layer, len(batch)))
            if begin is not None:
                stack.enter_context(self._from(*begin, len(batch)))
            if norms is not None:
                stack.enter_context(norms.applied(self._model))
            run = forward(self._model, self._wiring, batch, schedule=schedule, logits_at=logits_at, device=self._device)
        return run.logits

    @cached_property
    def keeps_apart(self) -> bool:
        """Whether query heads can have keys and values of their own; tried once, with the keys that they share."""
        layers = self._wiring.main.layers
        rows = len(self._probe)

        def told(x: Tensor) -> None:
            if x.shape[0] % rows or x.shape[0] == rows:
                raise ValueError(f"{x.shape[0]} rows are not those of several members")

        group = [
            number
            for number, layer in enumerate(layers)
            if layer.attention is not None and layer.attention.n_heads > layer.attention.n_kv_heads > 0
        ]
        watchers = {Site(name, layer): told for name in ("q", "k", "v") for layer in group}
        return bool(group) and self._agrees(lambda: self._run(self._probe, watchers, group))

    @cached_property
    def begins(self) -> bool:
        """Whether a run can begin at a layer; tried once, at the last one from the stream of a whole run."""
        last = len(self._wiring.main.layers) - 1
        if last < 1 or len(self._wiring.stacks) > 1:
            return False
        kept: dict[str, Tensor] = {}

        def again() -> Tensor:
            self._run(self._probe, {Site("resid_pre", last): lambda x: kept.update(stream=x.clone())})
            return self._run(self._probe, {}, begin=(last, kept["stream"]))

        return self._agrees(again)

    def _agrees(self, arranged: Callable[[], Tensor]) -> bool:
        """Whether an arranged run of the probe gives its logits."""
        try:
            with self._lock:
                plain, found = self._run(self._probe, {}).float(), arranged().float()
        except (RuntimeError, IndexError, ValueError, TypeError, SiteMissing):
            # A family whose blocks take rows in a form that is not known here.
            return False
        real = self._probe.mask.to(plain.device) if plain.shape[1] == self._probe.mask.shape[1] else slice(None)
        limit = TOLERANCE[self._model.dtype] * max(1.0, float(plain.abs().max()))
        return found.shape == plain.shape and float((found - plain)[real].abs().max()) <= 10 * limit

    @contextmanager
    def _members_apart(self, layer: int, rows: int) -> Iterator[None]:
        """While open, the attention of a layer takes its rows once per member of a group of query heads."""
        wired = self._wiring.main.layers[layer].attention
        port = self._wiring.ports.get(Site("z", layer))
        if wired is None or wired.o is None or port is None or port.module != wired.o or port.side != "in":
            raise SiteMissing(
                f"the query heads of layer {layer} cannot be given keys of their own.", 'Use "keys": "kv_head".'
            )
        group = wired.n_heads // wired.n_kv_heads

        def spread(value: Any) -> Any:
            if isinstance(value, Tensor) and value.ndim > 1 and value.shape[0] == rows:
                return value.repeat(group, *[1] * (value.ndim - 1))
            return tuple(map(spread, value)) if isinstance(value, tuple) else value

        def widen(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
            return tuple(map(spread, args)), {name: spread(value) for name, value in kwargs.items()}

        def own(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
            given = hidden_of(args, kwargs)
            assert given is not None
            apart = given.unflatten(0, (group, -1)).unflatten(-1, (wired.n_kv_heads, group, -1))
            mine = torch.stack([apart[member, ..., member, :] for member in range(group)], dim=-2)
            return with_hidden(args, kwargs, mine.flatten(-3))

        with ExitStack() as stack:
            stack.callback(self._before(wired.path, widen).remove)
            stack.callback(self._before(wired.o, own).remove)
            yield

    @contextmanager
    def _from(self, begin: int, stream: Tensor, rows: int) -> Iterator[None]:
        """While open, the blocks before `begin` see the first row alone, and block `begin` reads `stream`."""
        by_row = self._wiring.by_row

        def first(place: str, value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(first(f"{place}.{number}", item) for number, item in enumerate(value))
            return value[:1] if isinstance(value, Tensor) and place in by_row and value.shape[0] == rows else value

        def early(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
            hidden = hidden_of(args, kwargs)
            assert hidden is not None
            given = {place: first(place, value) for place, value in named(args, kwargs)}
            shown = tuple(given.pop(str(number)) for number in range(len(args)))
            return with_hidden(shown, given, hidden[:1])

        def late(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
            return with_hidden(args, kwargs, stream)

        with ExitStack() as stack:
            for number, layer in enumerate(self._wiring.main.layers[: begin + 1]):
                stack.callback(self._before(layer.block, early if number < begin else late).remove)
            yield

    def _before(self, path: str, hook: Callable[..., tuple[Any, Any]]) -> Any:
        return self._model.get_submodule(path).register_forward_pre_hook(hook, with_kwargs=True)


def _placed(site: Site, told: Watcher, batch: TokenBatch) -> Placed:
    """A watcher of all rows, however many there are."""
    watch = Watch(at=Part(site))
    watch._told = told
    return Placed(watch, slice(None), slice(0, len(batch)), (slice(None),) * (len(site.axes) - 1))
