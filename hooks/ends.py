"""The parts of a model outside its blocks: embeddings, the final norm, the unembedding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hooks.choose import is_norm
from hooks.conventions import Blueprint
from hooks.look import equal, inside
from hooks.observe import Call, Observation
from hooks.ports import Port, View
from hooks.projections import is_projection

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CLOSE = 1e-5


@dataclass(frozen=True)
class Start:
    """How a stack begins. norm: of the sum of embeddings, where there is one; others: further terms of that sum."""

    embed: Port | None
    pos_embed: Port | None
    others: tuple[Port, ...] = ()
    norm: Port | None = None


def start_of(
    seen: Observation, first: Call, since: int, blueprint: Blueprint, rows: int, factors: Sequence[float]
) -> Start:
    """What is added to give the first residual stream: token embeddings, positions, and what else there is.

    since: order of the call after which the stack begins, since another stack may run before it. Where the terms cannot
    be told apart, the output of the module that joins them is `embed`.
    """
    target = first.given
    assert target is not None
    early = [c for c in seen.calls if since < c.order < first.order and _wide(c.gave, target)]
    tables = [c for c in early if isinstance(c.module, nn.Embedding) or _named(c, blueprint.pos_embed)]
    token = next((c for c in tables if not _named(c, blueprint.pos_embed)), None)
    position = next((c for c in tables if _named(c, blueprint.pos_embed)), None)
    others = [c for c in tables if c is not token and c is not position]
    norms = [c for c in early if is_norm(c.module) and _equal(c.gave, target)]
    if token is not None:
        for factor, norm in product(factors, (None, *norms)):
            terms = [View(scale=factor).open(token.gave, rows)]  # type: ignore[arg-type]
            terms += [View().open(c.gave, rows) for c in (position, *others) if c is not None]  # type: ignore[arg-type]
            if any(term.shape[-2:] != terms[0].shape[-2:] for term in terms):
                continue
            total = sum(terms[1:], start=terms[0])
            reached = target if norm is None else norm.given
            if (
                reached is not None
                and total.shape == reached.shape
                and torch.allclose(total, reached, rtol=CLOSE, atol=CLOSE)
            ):
                return Start(
                    Port(token.path, "out", View(scale=factor), call=token.number),
                    None if position is None else Port(position.path, "out", call=position.number),
                    tuple(Port(c.path, "out", call=c.number) for c in others),
                    None if norm is None else Port(norm.path, "out", call=norm.number),
                )
    whole = [c for c in early if _equal(c.gave, target)]
    return Start(Port(whole[-1].path, "out", call=whole[-1].number) if whole else None, None)


def final_norm(seen: Observation, last: Call, blocks: Sequence[str]) -> Port | None:
    """The norm that reads the last block's output, whole: None in models that norm inside their blocks."""
    for call in seen.calls[last.order + 1 :]:
        outside = not any(inside(call.path, block) for block in blocks)
        if outside and is_norm(call.module) and _equal(call.given, last.gave):
            return Port(call.path, "out", call=call.number)
    return None


def unembedding(model: PreTrainedModel, seen: Observation, logits: Tensor | None) -> str | None:
    """Path of the projection that gives the logits at every position, None where there is none."""
    if logits is None or logits.ndim != 3:
        return None
    head = model.get_output_embeddings()
    for call in reversed(seen.calls):
        wide = call.gave is not None and call.gave.shape == logits.shape
        if wide and is_projection(call.module) and (head is None or call.module is head):
            return call.path
    return None


def _named(call: Call, names: tuple[str, ...]) -> bool:
    return call.path.rpartition(".")[2] in names


def _wide(x: Tensor | None, target: Tensor) -> bool:
    return x is not None and x.is_floating_point() and x.shape[-1] == target.shape[-1]


def _equal(one: Tensor | None, other: Tensor | None) -> bool:
    return one is not None and other is not None and equal(one, other)
