"""Where a site can be seen: an edge of a module, and how the site lies in the tensor on that edge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

Side = Literal["in", "out"]


@dataclass(frozen=True)
class View:
    """How a site lies in a tensor whose last axis is features.

    parts: (start, stop) on the last axis, None for all. heads: split the last axis into this many heads (or groups).
    slots: each group holds this many slots in turn; `taken` says which of them are the site's. within: (start, stop) of
    each head's features. scale: the model multiplies by this before it adds.
    """

    parts: tuple[int, int] | None = None
    heads: int | None = None
    slots: int | None = None
    taken: tuple[int, int] | None = None
    within: tuple[int, int] | None = None
    scale: float = 1.0

    def open(self, x: Tensor, batch: int) -> Tensor:
        """The site inside `x`: a view of it, or a copy where it is scaled or gathered.

        `x` may have batch and position folded into one axis, or lack the batch axis where all rows share it. Latents of
        keys and values come with an axis for the one head that they are kept as.
        """
        if x.ndim == 2:
            x = x.unflatten(0, (batch, -1)) if x.shape[0] % batch == 0 else x[None]
        if x.ndim == 4 and self.heads is not None:
            x = x.squeeze(1)
        if self.parts is not None:
            x = x[..., self.parts[0] : self.parts[1]]
        if self.slots is not None:
            x = x.unflatten(-1, (self.heads or 1, self.slots, -1))
            x = x[..., (self.taken or (0, 1))[0] : (self.taken or (0, 1))[1], :].flatten(-3, -2)
        elif self.heads is not None:
            x = x.unflatten(-1, (self.heads, -1))
        if self.within is not None:
            x = x[..., self.within[0] : self.within[1]]
        return x if self.scale == 1.0 else x * self.scale

    def write(self, x: Tensor, value: Tensor, batch: int) -> None:
        """Put the site's new `value` into `x`; what did not change keeps its bits."""
        plain = replace(self, scale=1.0)
        if self.slots is None and self.scale == 1.0:
            plain.open(x, batch).copy_(value)
            return
        raw = value if self.scale == 1.0 else self._unscaled(x, value, batch)
        if self.slots is None:
            plain.open(x, batch).copy_(raw)
            return
        whole = x.unflatten(0, (batch, -1)) if x.ndim == 2 else x
        groups, (start, stop) = self.heads or 1, self.taken or (0, 1)
        whole = whole.unflatten(-1, (groups, self.slots, -1))
        whole[..., start:stop, :].copy_(raw.unflatten(-2, (groups, stop - start)))

    def _unscaled(self, x: Tensor, value: Tensor, batch: int) -> Tensor:
        """`value` before the model's factor, where it changed; elsewhere what `x` holds, since x·s/s may round."""
        held, old = replace(self, scale=1.0).open(x, batch), self.open(x, batch)
        if torch.is_grad_enabled():
            return held + (value - old) / self.scale
        return torch.where(value != old, value / self.scale, held)


WHOLE = View()


@dataclass(frozen=True)
class Port:
    """A module's edge and the view of a site there.

    call: which call of the module in one forward pass, since some models share one module among layers. item: place of
    the tensor where an edge carries several. in_place: the edge is read again later, so edits write into it.
    """

    module: str
    side: Side
    view: View = WHOLE
    in_place: bool = False
    call: int = 0
    item: int = 0

    def __str__(self) -> str:
        return f"{self.side}put of {self.module}" + (f", call {self.call}" if self.call else "")


def first_axes(value: Any, place: str) -> Iterator[tuple[str, int]]:
    """Length of the first axis of each tensor in an argument, by its place: the argument's, then that in a tuple."""
    if isinstance(value, Tensor) and value.ndim > 1:
        yield place, value.shape[0]
    elif isinstance(value, tuple):
        for number, item in enumerate(value):
            yield from first_axes(item, f"{place}.{number}")


def named(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[str, Any]]:
    """Arguments by place: the number of one, or its name."""
    return [*((str(number), value) for number, value in enumerate(args)), *kwargs.items()]


def hidden_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """The tensor that a module reads: its first argument, the one called `hidden_states`, or the first there is."""
    if args and isinstance(args[0], Tensor):
        return args[0]
    if isinstance(kwargs.get("hidden_states"), Tensor):
        return kwargs["hidden_states"]
    return next((value for value in kwargs.values() if isinstance(value, Tensor)), None)


def with_hidden(
    args: tuple[Any, ...], kwargs: dict[str, Any], hidden: Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The same inputs with another tensor where `hidden_of` found one."""
    if args and isinstance(args[0], Tensor):
        return (hidden, *args[1:]), kwargs
    if isinstance(kwargs.get("hidden_states"), Tensor):
        return args, {**kwargs, "hidden_states": hidden}
    name = next(name for name, value in kwargs.items() if isinstance(value, Tensor))
    return args, {**kwargs, name: hidden}


def output_of(output: Any, item: int = 0) -> Tensor | None:
    """The tensor that a module gives: its output, or one of several."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, (tuple, list)) and len(output) > item and isinstance(output[item], Tensor):
        return output[item]
    return None


def with_output(output: Any, tensor: Tensor, item: int = 0) -> Any:
    """The same output with another tensor in its place."""
    if isinstance(output, Tensor):
        return tensor
    return type(output)([*output[:item], tensor, *output[item + 1 :]])
