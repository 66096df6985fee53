"""Touching: every site written with its own value, so that the graph of the logits shows what is computed from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import PrivateAttr
from torch import Tensor

from hooks.interventions.base import EditContext, Intervention
from hooks.sites import Site


class Touched(Intervention):
    """Writes a part's own value; in a run that keeps the graph, by a step that can be found in it again."""

    kind: str = "touched"
    _step: Any = PrivateAttr(default=None)

    def edit(self, x: Tensor, ctx: EditContext) -> Tensor:
        if not torch.is_grad_enabled():
            return x.clone()
        # In a model whose weights are frozen nothing has a graph before the first part that is touched.
        value = x.clone() if x.requires_grad else x + x.new_zeros((), requires_grad=True)
        self._step = value.grad_fn
        return value

    @property
    def step(self) -> Any:
        """The node of the graph that stands for what was written, None where nothing was."""
        return self._step


def inert(logits: Tensor, touched: Mapping[Site, Touched]) -> set[Site]:
    """Sites that no logit is computed from: what was written there is not among what the logits' graph leads back to.

    A site that the run did not come to is one of them.
    """
    # The nodes themselves, not their ids: Python gives the id of one that it has let go to another.
    found: set[Any] = set() if logits.grad_fn is None else {logits.grad_fn}
    waiting = list(found)
    while waiting:
        for parent, _ in waiting.pop().next_functions:
            if parent is not None and parent not in found:
                found.add(parent)
                waiting.append(parent)
    return {site for site, edit in touched.items() if edit.step not in found}
