"""What the proof looks at: the observed pass, the hooked run and what the unhooked model returned, on one batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hooks.observe import Call, Observation
from hooks.ports import Port
from hooks.run import Run
from hooks.sites import MAIN, Site
from hooks.tokens import TokenBatch
from hooks.wiring import LayerWiring, Wiring

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, eq=False)
class States:
    """What the unhooked model returned of one stack: hidden states, attentions, cross-attentions; None where none."""

    hidden: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    cross: tuple[Tensor, ...] | None = None


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the checks look at: the observed pass, the hooked run and the unhooked model's own outputs on one batch.

    kept: what several sites of a layer are checked with, by equation and place; offs: how far such pairs differ.
    """

    model: PreTrainedModel
    wiring: Wiring
    batch: TokenBatch
    seen: Observation
    run: Run
    reference: Any
    states: dict[str, States] = field(default_factory=dict)
    kept: dict[tuple[Any, ...], list[tuple[Tensor, Tensor]]] = field(default_factory=dict)
    offs: dict[tuple[int, int], tuple[float, Tensor, Tensor]] = field(default_factory=dict)

    @cached_property
    def dtype(self) -> torch.dtype:
        """The number type that the model's sums round in."""
        return self.model.dtype

    def off(self, ours: Tensor, theirs: Tensor) -> float:
        """The largest difference of a pair, taken once: sites that share an equation share its tensors."""
        pair = (id(ours), id(theirs))
        if pair not in self.offs:
            # With the tensors, so that no other ones get their ids.
            self.offs[pair] = (largest(ours, theirs), ours, theirs)
        return self.offs[pair][0]

    def at(self, site: Site, name: str | None = None) -> Tensor:
        """A captured site, or another one of the same layer."""
        return self.run.activations[site if name is None else self.beside(site, name)]

    def has(self, site: Site, *names: str) -> bool:
        return all(self.beside(site, name) in self.run.activations for name in names)

    @staticmethod
    def beside(site: Site, name: str) -> Site:
        return Site(name, site.layer, site.stack)

    def module(self, path: str) -> nn.Module:
        return self.model.get_submodule(path)

    def call(self, port: Port) -> Call:
        """The observed call whose edge a port is."""
        return self.seen.of(port.module)[port.call]

    def apply(self, path: str, x: Tensor) -> Tensor:
        with torch.inference_mode():
            output = self.module(path)(x)
        return output[0] if isinstance(output, tuple) else output

    def layer(self, site: Site) -> LayerWiring:
        return self.wiring.layer(site)

    def last(self, site: Site) -> bool:
        return site.layer == len(self.wiring.stacks[site.stack].layers) - 1


def reference_states(output: Any, wiring: Wiring, seen: Observation) -> dict[str, States]:
    """What an unhooked forward pass returned of each stack, where it begins with what enters the first block."""
    states = {}
    for name, stack in wiring.stacks.items():
        if wiring.feed.source is not None:
            prefix, cross = ("decoder_", output.get("cross_attentions")) if name == MAIN else ("encoder_", None)
            part: Any = output
        else:
            prefix, cross = "", None
            tower = "vision_model_output" if name == "vision" else "text_model_output"
            part = output.get(tower, output) if wiring.feed.task == "pairs" else output
        hidden, attentions = part.get(f"{prefix}hidden_states"), part.get(f"{prefix}attentions")
        depth, first = len(stack.layers), stack.layers[0]
        entered = seen.of(first.block)[first.call].given
        if hidden is not None and (entered is None or not same_values(hidden[0], entered)):
            hidden = None
        states[name] = States(
            hidden if hidden is not None and len(hidden) == depth + 1 else None,
            attentions if attentions is not None and len(attentions) == depth else None,
            cross if cross is not None and len(cross) == depth else None,
        )
    return states


def largest(a: Tensor, b: Tensor) -> float:
    """Largest absolute difference; infinite or NaN where one of them is not finite."""
    a, b = a.detach(), b.detach()
    # Most are the same tensor, which one comparison shows; an infinity is not the same as another one.
    if a.dtype == b.dtype and torch.equal(a, b) and isfinite(float(a.sum())):
        return 0.0
    return float((a.float() - b.float()).abs().max())


def same_values(one: Tensor | None, other: Tensor) -> bool:
    """Whether two tensors hold the same values, however their first axes are folded."""
    return one is not None and one.numel() == other.numel() and torch.equal(one.flatten(), other.flatten())
