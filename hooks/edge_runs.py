"""Runs in which parts are watched and handed other values by whoever knows what each edge carries.

Four things here are about how a forward pass is arranged, and none about circuits. Watchers see a site of all rows and
may answer with another value. Where several query heads share a key/value head, a layer's attention can take its rows
once per member of the group, so that each query head has keys and values of its own: the model's own attention runs on
them, rotation, norms of keys and mask included. A run may hold the last positions alone,
behind the keys and values of those before them. And attention and MLPs that would give what they gave before can be
left out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from pydantic import PrivateAttr
from torch import Tensor, nn

from hooks.errors import SiteMissing
from hooks.held_norms import HeldNorms
from hooks.interventions.base import EditContext, Intervention
from hooks.ports import hidden_of, with_hidden
from hooks.prefix import past_of
from hooks.proof import TOLERANCE
from hooks.run import forward
from hooks.schedule import Placed, Schedule, Window
from hooks.sites import Part, Site
from hooks.tokens import TokenBatch
from hooks.wiring import Wiring

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel

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
        window: Window | None = None,
        gave: dict[str, Any] | None = None,
        still: Collection[Site] = (),
        logits_at: Tensor | None = None,
        norms: HeldNorms | None = None,
    ) -> Tensor:
        """Logits [row pos d_vocab] of a run in which `watchers` see, and may replace, what is at their sites.

        apart: layers whose query heads each have keys and values of their own; there q, k and v come with
        [group * row …], the rows once per member of a group, and z with the rows again. window: of the positions
        that run. logits_at: absolute positions. gave: where it is kept what the modules of attention and MLPs gave, by
        path; those of the sites `still` do not run but give that again, and nothing inside them is watched. norms: at
        other scales than the run's own.
        """
        with self._lock:
            return self._run(batch, watchers, apart, window, gave, still, logits_at, norms)

    def _run(
        self,
        batch: TokenBatch,
        watchers: Mapping[Site, Watcher],
        apart: Collection[int] = (),
        window: Window | None = None,
        gave: dict[str, Any] | None = None,
        still: Collection[Site] = (),
        logits_at: Tensor | None = None,
        norms: HeldNorms | None = None,
    ) -> Tensor:
        schedule = Schedule(len(batch), {site: (_placed(site, told, batch),) for site, told in watchers.items()})
        with ExitStack() as stack:
            for layer in apart:
                stack.enter_context(self._members_apart(layer, len(batch)))
            if gave is not None:
                stack.enter_context(self._keeping(gave, still))
            if norms is not None:
                stack.enter_context(norms.applied(self._model))
            at = logits_at if logits_at is None or window is None else logits_at - window.start
            run = forward(self._model, self._wiring, batch, schedule=schedule, logits_at=at, window=window,
                          device=self._device)  # fmt: skip
        return run.logits

    def behind(self, batch: TokenBatch, start: int, past: Cache) -> Window:
        """The positions of some prompts from `start` on; `past`: their keys and values, as `Worlds.past` gives them.

        A run may hold the prompts several times over.
        """
        return Window(batch, 0, start, past_of(past, start, slice(0, len(batch))))

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
    def stills(self) -> bool:
        """Whether attention and MLPs can give what they gave before; tried once, with all of them."""
        blocks = [layer.block for layer in self._wiring.main.layers]
        if len(set(blocks)) < len(blocks):
            return False
        gave: dict[str, Any] = {}

        def again() -> Tensor:
            self._run(self._probe, {}, gave=gave)
            return self._run(self._probe, {}, gave=gave, still=self._parts())

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

    def _parts(self) -> list[Site]:
        """Every attention and MLP, by what it writes."""
        layers = range(len(self._wiring.main.layers))
        return [Site(name, layer) for layer in layers for name in ("attn_out", "mlp_out")]

    def _homes(self, site: Site) -> list[str]:
        """The modules, none inside another, in which the part that writes a site is computed."""
        assert site.layer is not None
        layer = self._wiring.main.layers[site.layer]
        if site.name != "mlp_out":
            paths = [layer.attention.path] if layer.attention is not None else []
        elif layer.mlp is not None:
            paths = [layer.mlp.path, layer.mlp.down]
        else:
            paths = [layer.experts.path] if layer.experts is not None else []
        paths = list(dict.fromkeys(paths))
        return [path for path in paths if not any(path.startswith(f"{other}.") for other in paths)]

    @contextmanager
    def _keeping(self, gave: dict[str, Any], still: Collection[Site]) -> Iterator[None]:
        """While open, modules of parts tell what they give; those of the sites `still` give what they gave before."""
        quiet = {path for site in still for path in self._homes(site)}

        def told(path: str) -> Callable[..., None]:
            return lambda _, __, output: gave.update({path: _copied(output)})

        with ExitStack() as stack:
            for path in (path for site in self._parts() for path in self._homes(site)):
                module = self._model.get_submodule(path)
                if path in quiet and path in gave:
                    stack.enter_context(_silent(module, gave[path]))
                else:
                    stack.callback(module.register_forward_hook(told(path)).remove)
            yield

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

    def _before(self, path: str, hook: Callable[..., tuple[Any, Any]]) -> Any:
        return self._model.get_submodule(path).register_forward_pre_hook(hook, with_kwargs=True)


@contextmanager
def _silent(module: nn.Module, output: Any) -> Iterator[None]:
    """While open, a module does nothing and gives `output`."""
    before = vars(module).get("forward")
    module.forward = lambda *_, **__: _copied(output)
    try:
        yield
    finally:
        if before is None:
            del module.forward
        else:
            module.forward = before


def _copied(output: Any) -> Any:
    """The tensors of an output as they are now: what a module gives may be written into later."""
    if isinstance(output, Tensor):
        return output.clone()
    return tuple(map(_copied, output)) if type(output) is tuple else output


def _placed(site: Site, told: Watcher, batch: TokenBatch) -> Placed:
    """A watcher of all rows, however many there are."""
    watch = Watch(at=Part(site))
    watch._told = told
    return Placed(watch, slice(None), slice(0, len(batch)), (slice(None),) * (len(site.axes) - 1))
