"""Which modules of a block are its MLP's or its experts'.

W_out is the last projection that gives the residual's width; the gate is the branch that the activation reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from hooks.look import Look, common
from hooks.observe import Call
from hooks.ports import Port, View
from hooks.projections import in_features, is_projection, out_features


@dataclass(frozen=True, eq=False)
class MlpRoles:
    """A dense MLP: path of the module that holds it (or of its first projection), of W_out and of the activation."""

    path: str
    down: str
    activation: str | None
    d_mlp: int
    gated: bool
    ports: dict[str, Port]


@dataclass(frozen=True, eq=False)
class ExpertRoles:
    """A mixture of experts: path of the whole, and of the module that holds all experts' weights.

    d_expert: neurons of one expert. shared: whether it passes through the workbench's experts function.
    """

    path: str
    holder: str
    n_experts: int
    d_expert: int
    shared: bool
    ports: dict[str, Port]


def find_mlp(look: Look, block: Call, rest: list[Call]) -> MlpRoles | None:
    """The dense MLP among the calls of a block that are not attention's."""
    calls = look.projections(rest)
    width = None if block.given is None else block.given.shape[-1]
    down = next((c for c in reversed(calls) if out_features(c.module) == width), None)
    if down is None:
        return None
    d_mlp = in_features(down.module)
    wide = (d_mlp, 2 * d_mlp)
    reading = [c for c in calls if c.order < down.order and in_features(c.module) == width]
    ups = [c for c in reading if out_features(c.module) in wide][-2:]
    if not ups:
        return None
    if not look.same(ups[0].given, ups[-1].given):
        ups = ups[-1:]  # one MLP after the other, not the two branches of a gated one
    later = [c for c in rest if ups[0].order < c.order and c.given is not None and c.given.shape[-1] == d_mlp]
    ports, activation = _neurons(look, ups, [c for c in later if not is_projection(c.module)], d_mlp)
    ports["mlp_post"] = Port(down.path, "in", call=down.number)
    home = common([c.path for c in (*ups, down)])
    read = next((c for c in rest if c.path == home and look.same(c.given, ups[0].given)), None)
    holder = ups[0] if read is None else read
    if read is not None or len(ups) == 1:
        ports["mlp_in"] = Port(holder.path, "in", call=holder.number)
    return MlpRoles(holder.path, down.path, activation, d_mlp, "mlp_up" in ports, ports)


def _neurons(look: Look, ups: list[Call], plain: list[Call], d_mlp: int) -> tuple[dict[str, Port], str | None]:
    """mlp_pre is what the activation reads; in a gated MLP the other branch is mlp_up."""
    branches: list[tuple[Port, Tensor]] = []
    for call in ups:
        assert call.gave is not None
        width = call.gave.shape[-1]
        for start in range(0, width, d_mlp):
            view = View() if width == d_mlp else View(parts=(start, start + d_mlp))
            branches.append((Port(call.path, "out", view, call=call.number), view.open(call.gave, look.rows)))
    for call in plain:
        for n, (port, value) in enumerate(branches):
            if look.same(call.given, value):
                others = [branch for m, (branch, _) in enumerate(branches) if m != n]
                return {"mlp_pre": port, **({"mlp_up": others[-1]} if others else {})}, call.path
    if len(branches) == 1:
        return {"mlp_pre": branches[0][0]}, None
    gate = next((port for port, _ in branches if "gate" in port.module.rpartition(".")[2]), branches[0][0])
    return {"mlp_pre": gate, "mlp_up": next(port for port, _ in branches if port != gate)}, None


def find_experts(look: Look, rest: list[Call]) -> ExpertRoles | None:
    """The module that holds all experts' weights; the router beside it gives one score per expert."""
    holder = next((c for c in rest if _holds_experts(c.module)), None)
    if holder is None:
        return None
    home = holder.path.rpartition(".")[0]
    # [expert d_mlp d_model], or the last two the other way round.
    weight = cast(Tensor, holder.module.down_proj)
    n_experts, d_model = weight.shape[0], 1 if holder.given is None else holder.given.shape[-1]
    around = next((c for c in rest if c.path == home), None)
    scores = [c for c in rest if c.path.startswith(f"{home}.") and c.order < holder.order]
    router = next((c for c in scores if c.gave is not None and c.gave.shape[-1] == n_experts), None)
    ports = {}
    if around is not None:
        ports["mlp_in"] = Port(home, "in", call=around.number)
    if router is not None:
        ports["router_logits"] = Port(router.path, "out", call=router.number)
    # Only what the library routes through its experts interface has this.
    shared = hasattr(holder.module, "is_transposed")
    return ExpertRoles(home, holder.path, n_experts, weight[0].numel() // d_model, shared, ports)


def _holds_experts(module: nn.Module) -> bool:
    weight = getattr(module, "down_proj", None)
    return isinstance(weight, Tensor) and weight.ndim == 3
