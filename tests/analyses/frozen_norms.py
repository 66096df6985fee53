"""Norms of a plain model that divide by what they divided by on some prompt; written out from their definitions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def frozen_norms(model: nn.Module, ids: list[int]) -> Iterator[None]:
    """While open, every norm of the stream has the scales that it has on `ids`, which are constants."""
    norms = [module for module in model.modules() if "Norm" in type(module).__name__]
    scales: dict[nn.Module, Tensor] = {}

    def inner(norm: nn.Module, x: Tensor) -> Tensor:
        return x - x.mean(-1, keepdim=True) if isinstance(norm, nn.LayerNorm) else x

    def note(norm: nn.Module, args: Any) -> None:
        eps = norm.eps if isinstance(norm, nn.LayerNorm) else norm.variance_epsilon
        scales[norm] = torch.rsqrt((inner(norm, args[0]) ** 2).mean(-1, keepdim=True) + eps).detach()

    with ExitStack() as stack:
        for norm in norms:
            stack.callback(norm.register_forward_pre_hook(note).remove)
        with torch.no_grad():
            model(input_ids=torch.tensor([ids]), use_cache=False)

    def held(norm: nn.Module, x: Tensor) -> Tensor:
        scaled = norm.weight * inner(norm, x) * scales[norm]
        return scaled + norm.bias if isinstance(norm, nn.LayerNorm) else scaled

    for norm in norms:
        norm.forward = partial(held, norm)
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward
