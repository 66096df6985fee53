"""Half precision on a CPU: how far its logits are from float32, measured."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from hooks.feed import Feed
from hooks.loading import Loaded
from hooks.run import plain_forward
from hooks.tokens import TokenBatch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

HALF = (torch.bfloat16, torch.float16)
MOST_PARAMS = 1_000_000_000
"""A larger model is not measured: a second copy of it in float32 would take more than 4 GB."""


def half_precision_warning(loaded: Loaded, feed: Feed, batch: TokenBatch) -> tuple[str, ...]:
    """The warning for a model in half precision on a CPU, with the largest deviation on the first prompt of `batch`.

    The float32 model is read from the same files where there are any, so that what rounding did to the weights counts.
    """
    model = loaded.model
    if model.dtype not in HALF or model.device.type != "cpu":
        return ()
    kind = f"{str(model.dtype).removeprefix('torch.')} on a CPU"
    if sum(parameter.numel() for parameter in model.parameters()) > MOST_PARAMS:
        return (f"{kind}: how far logits are from float32 was not measured, the model is too large",)
    full = loaded.in_float32() if loaded.in_float32 is not None else _upcast(model)
    if full is None:
        return (f"{kind}: how far logits are from float32 was not measured, the model cannot be copied",)
    rough, exact = (_answers(each, feed, batch) for each in (model, full))
    what = "last hidden states" if feed.task == "features" else "logits"
    return (
        f"{kind}: {what} of {_words(feed, batch)} differ from float32 by up to {(rough - exact).abs().max():.2g} "
        f"(largest {exact.abs().max():.3g})",
    )


def _words(feed: Feed, batch: TokenBatch) -> str:
    return f"a {int(batch.mask[0].sum())}-token probe" if feed.text else "a random probe"


def _upcast(model: PreTrainedModel) -> PreTrainedModel | None:
    """A float32 copy, or None where PyTorch cannot copy the model: masked or parametrised weights are no leaves."""
    try:
        return cast("PreTrainedModel", cast(nn.Module, copy.deepcopy(model)).float())
    except RuntimeError:
        return None


def _answers(model: PreTrainedModel, feed: Feed, batch: TokenBatch) -> Tensor:
    """[pos d_vocab]: what the model answers to the first prompt, in float32."""
    output = plain_forward(model, feed, _cast(batch, model.dtype), device="cpu")
    return feed.answers(output, batch)[0].float()


def _cast(batch: TokenBatch, dtype: torch.dtype) -> TokenBatch:
    """The batch with its pixels or sounds in another number type."""
    inputs = {name: x.to(dtype) if x.is_floating_point() else x for name, x in batch.inputs.items()}
    return replace(batch, inputs=inputs, sides={name: _cast(side, dtype) for name, side in batch.sides.items()})
