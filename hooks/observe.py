"""Watch one forward pass of a model that is not understood yet: every module's input and output, every attention call.

What the pass shows decides which module is what (`hooks.roles`) and how a block adds (`hooks.choose`): the output
projection is the module that reads z, the values are what the pattern is multiplied with, whatever they are called.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hooks.attention import AttentionFacts
from hooks.ports import first_axes, hidden_of, named, output_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# So many tensors are between the first and the last module that reads one: q, k and v all read the norm's output.
RECENT = 4
# Bytes in the widest register of a kernel, which may begin otherwise where memory is not aligned to it.
ALIGNED = 64


@dataclass(eq=False)
class Call:
    """One call of a module. order: place among all calls, by when they began. first_axes: see `hooks.ports`.

    given, gave: copies; layout: how the first lay in memory. A module that holds no other has no first_axes.
    """

    path: str
    module: nn.Module
    number: int
    order: int
    given: Tensor | None = None
    gave: Tensor | None = None
    items: tuple[Any, ...] = ()
    first_axes: Mapping[str, int] = field(default_factory=dict)
    layout: tuple[int, ...] = ()


@dataclass(eq=False)
class AttentionCall:
    """One call of the attention function: shapes [batch pos head d]; pattern [batch head q_pos k_pos]."""

    path: str
    number: int
    order: int
    facts: AttentionFacts
    q: Tensor | None = None
    k: Tensor | None = None
    v: Tensor | None = None
    z: Tensor | None = None
    pattern: Tensor | None = None


@dataclass(eq=False)
class Observation:
    """What one forward pass showed. calls: in order; by_path: the same by module. output: the model's own."""

    calls: list[Call] = field(default_factory=list)
    by_path: dict[str, list[Call]] = field(default_factory=lambda: defaultdict(list))
    attention: list[AttentionCall] = field(default_factory=list)
    output: Any = None

    def of(self, path: str) -> list[Call]:
        """The calls of one module, first to last."""
        return self.by_path.get(path, [])


class Recorder:
    """Plays the part of a run: the attention function and the modules show it what they compute."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._paths = {id(module): path for path, module in model.named_modules()}
        self.seen = Observation()
        self._copies: deque[tuple[Tensor, Tensor]] = deque(maxlen=RECENT)

    def _copy(self, x: Tensor) -> Tensor:
        """A copy of `x`: a recent one, where modules share a tensor that none of them altered since."""
        for known, copy in self._copies:
            if known is x and torch.equal(x, copy):
                return copy
        self._copies.append((x, x.clone()))
        return self._copies[-1][1]

    def attention(self, name: str, module: nn.Module, x: Tensor) -> Tensor:
        """See `hooks.attention.AttentionTap`."""
        call = self.seen.attention[-1]
        field_of = {"q_rot": "q", "k_rot": "k", "pattern": "pattern", "value": "v", "mixed": "z"}
        if name in field_of:
            setattr(call, field_of[name], x.clone())
        return x

    def each(self, name: str, module: nn.Module, x: Tensor) -> Tensor:
        """See `hooks.attention.AttentionTap`."""
        return x

    def facts(self, module: nn.Module, facts: AttentionFacts) -> None:
        """See `hooks.attention.AttentionTap`."""
        path = self._paths.get(id(module), "")
        number = sum(call.path == path for call in self.seen.attention)
        self.seen.attention.append(AttentionCall(path, number, len(self.seen.calls), facts))

    def experts(self, name: str, module: nn.Module, x: Tensor) -> Tensor:
        """See `hooks.experts.ExpertsTap`."""
        return x

    def before(self, path: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given, earlier = hidden_of(args, kwargs), self.seen.by_path[path]
        call = Call(path, module, len(earlier), len(self.seen.calls), None if given is None else self._copy(given))
        # Asked for of blocks, which hold other modules.
        if module._modules:
            call.first_axes = dict(axis for place, value in named(args, kwargs) for axis in first_axes(value, place))
        call.layout = () if given is None else layout(given)
        earlier.append(call)
        self.seen.calls.append(call)

    def after(self, path: str, output: Any) -> None:
        # The call that is closing is the newest one of its module that has no output yet.
        call = next(c for c in reversed(self.seen.of(path)) if c.gave is None and not c.items)
        gave = output_of(output)
        call.gave = None if gave is None else self._copy(gave)
        call.items = tuple(output) if isinstance(output, (tuple, list)) else (output,)


def layout(x: Tensor) -> tuple[int, ...]:
    """How a tensor lies in memory, as far as the order in which kernels add may depend on it."""
    return (*x.stride(), x.data_ptr() % ALIGNED)


@contextmanager
def recording(model: PreTrainedModel, recorder: Recorder) -> Iterator[None]:
    """While open, every module of `model` shows its calls to `recorder`."""
    handles = []
    try:
        for path, module in model.named_modules():
            if not path:
                continue

            def before(module: nn.Module, args: Any, kwargs: Any, path: str = path) -> None:
                recorder.before(path, module, args, kwargs)

            def after(_: nn.Module, __: Any, output: Any, path: str = path) -> None:
                recorder.after(path, output)

            handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
            handles.append(module.register_forward_hook(after))
        yield
    finally:
        for handle in handles:
            handle.remove()
