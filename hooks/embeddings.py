"""How large a model's token embeddings are: the measure of the noise that causal tracing adds."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from hooks.errors import InputError
from hooks.sites import Site
from hooks.wiring import Wiring

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ROWS = 4096
# Taken once per model, since weights never change: a pass over the whole vocabulary is as long as a short forward.
_KNOWN: WeakKeyDictionary[nn.Module, Tensor] = WeakKeyDictionary()


def embedding_sd(model: PreTrainedModel, wiring: Wiring) -> Tensor:
    """Standard deviation over all entries of the token embeddings, as the model adds them (after any scale), float32.

    Raises InputError for a model that reads no tokens, or adds something else than a table's rows.
    """
    port = wiring.ports.get(Site("embed"))
    table = None if port is None else model.get_submodule(port.module)
    if port is None or not isinstance(table, nn.Embedding):
        raise InputError(
            "this model has no token embeddings to measure noise by.", 'Give its standard deviation, such as "sd": 0.1.'
        )
    if table not in _KNOWN:
        _KNOWN[table] = port.view.scale * _spread(table)
    return _KNOWN[table]


def _spread(table: nn.Embedding) -> Tensor:
    """Standard deviation of a table's rows, some at a time; no number is fetched from the device."""
    device, count = table.weight.device, table.num_embeddings
    # Inference mode would make a tensor that a later run with gradients could not use.
    with torch.inference_mode(mode=False), torch.no_grad():
        total = torch.zeros(2, dtype=torch.float64, device=device)
        for start in range(0, count, ROWS):
            # `forward` itself: a call would show these rows to the hooks of the run that asks.
            rows = table.forward(torch.arange(start, min(start + ROWS, count), device=device)).double()
            total += torch.stack([rows.sum(), rows.square().sum()])
        mean, square = total / (count * table.embedding_dim)
        return (square - mean.square()).sqrt().float()
