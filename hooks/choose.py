"""Which edge is what a block writes: where names leave several candidates, the residual equation decides.

A block adds what attention and the MLP write to the residual stream. One short forward with plain hooks shows every
candidate tensor; the right ones are those for which the sum holds exactly, in the order in which the model adds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hooks.errors import ModelError
from hooks.run import plain_forward
from hooks.sites import Site
from hooks.taps import hidden_of
from hooks.tokens import TokenBatch
from hooks.wiring import Port, Wiring


@dataclass(frozen=True)
class Blocks:
    """How blocks add: in parallel or not, and whether a norm stands between a sublayer and its write."""

    wiring: Wiring
    parallel: bool
    sandwich: bool


def choose_writes(model: PreTrainedModel, wiring: Wiring, batch: TokenBatch, device: torch.device | str) -> Blocks:
    """The wiring completed with attn_out, mlp_out and (in sequential blocks) resid_mid.

    Raises ModelError when no candidates satisfy the equation, as in blocks that norm after the sum.
    """
    seen = _watch(model, wiring, batch, device)
    ports, parallel = dict(wiring.ports), set()
    for layer in range(len(wiring.layers)):
        before, after = (seen[wiring.ports[Site(name, layer)]] for name in ("resid_pre", "resid_post"))
        chosen = _sequential(wiring, layer, before, after, seen) or _parallel(wiring, layer, before, after, seen)
        if chosen is None:
            raise ModelError(
                f"{wiring.layers[layer]} does not add its sublayers to the residual stream in a known way.",
                "Blocks that norm after the sum are not supported by this version.",
            )
        parallel.add("resid_mid" not in chosen)
        ports |= {Site(name, layer): port for name, port in chosen.items()}
    if len(parallel) > 1:
        raise ModelError(
            "some blocks are parallel and others are not.", "Such models are not supported by this version."
        )
    sandwich = ports[Site("attn_out", 0)].module != wiring.output_projection[0]
    return Blocks(replace(wiring, ports=ports), parallel.pop(), sandwich)


def _watch(model: PreTrainedModel, wiring: Wiring, batch: TokenBatch, device: torch.device | str) -> dict[Port, Tensor]:
    layered = [Site(name, layer) for name in ("resid_pre", "resid_post") for layer in range(len(wiring.layers))]
    wanted: Iterable[Port] = {
        *(wiring.ports[site] for site in layered),
        *(port for group in (wiring.writes_attn, wiring.writes_mlp, wiring.mids) for ports in group for port in ports),
    }
    seen: dict[Port, Tensor] = {}
    handles = [_record(model, port, seen, len(batch)) for port in wanted]
    try:
        plain_forward(model, batch, device=device)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _record(model: PreTrainedModel, port: Port, seen: dict[Port, Tensor], rows: int) -> Any:
    module = model.get_submodule(port.module)
    if port.side == "in":

        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen[port] = port.view.open(hidden_of(args, kwargs), rows).clone()

        return module.register_forward_pre_hook(before, with_kwargs=True)

    def after(_: nn.Module, __: Any, output: Any) -> None:
        seen[port] = port.view.open(output[0] if isinstance(output, tuple) else output, rows).clone()

    return module.register_forward_hook(after)


def _sequential(
    wiring: Wiring, layer: int, before: Tensor, after: Tensor, seen: dict[Port, Tensor]
) -> dict[str, Port] | None:
    for attn, mid in product(wiring.writes_attn[layer], wiring.mids[layer]):
        if attn in seen and mid in seen and torch.equal(before + seen[attn], seen[mid]):
            for mlp in wiring.writes_mlp[layer]:
                if mlp in seen and torch.equal(seen[mid] + seen[mlp], after):
                    return {"attn_out": attn, "resid_mid": mid, "mlp_out": mlp}
    return None


def _parallel(
    wiring: Wiring, layer: int, before: Tensor, after: Tensor, seen: dict[Port, Tensor]
) -> dict[str, Port] | None:
    for attn, mlp in product(wiring.writes_attn[layer], wiring.writes_mlp[layer]):
        if attn in seen and mlp in seen:
            a, m = seen[attn], seen[mlp]
            if any(torch.equal(total, after) for total in ((a + m) + before, (before + a) + m, (before + m) + a)):
                return {"attn_out": attn, "mlp_out": mlp}
    return None
