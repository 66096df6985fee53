"""The matrix that a projection multiplies with, whatever form its weight is kept in."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hooks.errors import ModelError

PLAIN = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def is_plain(module: nn.Module) -> bool:
    """Whether `module.weight` is the matrix itself: not quantised, not packed, not with an adapter beside it."""
    weight = getattr(module, "weight", None)
    # A subclass of Tensor, such as torchao's, claims the number type of what it dequantises to.
    if not isinstance(weight, Tensor) or type(weight) not in (Tensor, nn.Parameter) or weight.dtype not in PLAIN:
        return False
    widths = (getattr(module, "out_features", None), getattr(module, "in_features", None))
    linear = all(isinstance(width, int) for width in widths)
    return not linear or (tuple(weight.shape) == widths and not any(True for _ in module.children()))


def dense_weight(module: nn.Module) -> Tensor:
    """[out, in]: the matrix of a linear map, found by what it does to unit vectors, less its bias.

    Works for every form of storage (bitsandbytes, GPTQ, AWQ, FP8, LoRA beside its base), in the number type in which
    the module answers. Raises ModelError for a module that is no linear map of known width.
    """
    width = getattr(module, "in_features", None)
    if not isinstance(width, int):
        raise ModelError(
            f"the weight of a {type(module).__name__} is not a matrix of numbers.",
            "Its activations can be read; its weights cannot.",
        )
    place = next((tensor for tensor in (*module.parameters(), *module.buffers())), torch.empty(0))
    kind = next((t.dtype for t in (*module.parameters(), *module.buffers()) if t.dtype in PLAIN), torch.float32)
    units = torch.eye(width, dtype=kind, device=place.device)
    try:
        with torch.no_grad():
            # Not `module(units)`: a run that asks for the matrix has hooks on the module.
            answers = module.forward(units) - module.forward(torch.zeros_like(units[:1]))
    except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        raise ModelError(
            f"the weight of a {type(module).__name__} cannot be dequantised: {str(error).splitlines()[0][:200]}",
            "Its activations can be read; its weights cannot.",
        ) from error
    return answers.T
