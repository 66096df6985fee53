"""Direct paths from a sender to receivers: what is frozen between them, and what each receiver is handed.

Every other head between the two is frozen to its value in the unedited run, so that what the sender does reaches the
receivers through the residual stream (and, unless they are frozen too, through MLPs, which recompute) and through no
other head.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import torch

from analyses.bench import Bench
from analyses.memory import rows_within
from hooks.activations import Activations
from hooks.errors import SpecError
from hooks.interventions.freeze import Freeze
from hooks.interventions.patch import Patch
from hooks.plan import CapturePlan
from hooks.schedule import World
from hooks.sites import MAIN, Part, Site
from hooks.tokens import TokenBatch

READS = (
    "resid_pre", "attn_in", "q", "k", "v", "q_rot", "k_rot", "cross_q", "resid_mid", "mlp_in", "mlp_pre", "mlp_up",
    "resid_post",
)  # fmt: skip
"""Where a receiver can be handed something: the inputs of heads and MLPs, and the residual stream."""
MIXING = ("z", "mixer_out", "cross_z")
"""What moves information between positions, as it is frozen."""
OWN: dict[str, tuple[str, ...]] = {
    "z": ("attn_in", "q", "k", "v", "q_rot", "k_rot", "scores", "pattern", "z", "head_out", "attn_out"),
    "mixer_out": ("mixer_out",),
    "cross_z": ("cross_q", "cross_k", "cross_v", "cross_scores", "cross_pattern", "cross_z", "cross_head_out",
                "cross_attn_out"),
    "mlp_out": ("mlp_in", "mlp_pre", "mlp_up", "mlp_post", "router_logits", "router", "expert_post", "mlp_out"),
}  # fmt: skip
"""By what is frozen, the sites of the same sublayer: a sender there is not frozen itself."""


def check_ends(senders: Collection[Part], receivers: Collection[Part]) -> None:
    """Raises SpecError for a part of another stack, and for a receiver that is not an input."""
    for part in (*senders, *receivers):
        if part.site.stack != MAIN:
            raise SpecError(f"{part} is in another stack; paths are followed in the main one.", "Choose parts there.")
    for part in receivers:
        if part.site.name not in READS:
            raise SpecError(
                f"{part} is no input of a part, so nothing is received there.",
                f"A receiver is logits, or at one of {', '.join(READS)}, such as L5.q[head=2].",
            )


def downstream(sender: Part, receivers: Sequence[Part]) -> tuple[Part, ...]:
    """The receivers that come after the sender in the forward pass."""
    return tuple(receiver for receiver in receivers if sender.site < receiver.site)


def sending(sender: Part, last: Site, writable: Collection[Site], *, run: str, source: str, freeze_mlps: bool) -> World:
    """The edits of the run in which the sender sends: its value from `source`, what lies between frozen as on `run`.

    last: the site of the last receiver, or logits.
    """
    frozen = (*MIXING, *(("mlp_out",) if freeze_mlps else ()))
    between = (
        site
        for site in sorted(site for site in writable if site.name in frozen)
        if site.stack == MAIN
        and sender.site < site < last
        and not (site.layer == sender.site.layer and sender.site.name in OWN[site.name])
    )
    return (Patch(at=sender, source=source), *(Freeze(at=Part(site), source=run) for site in between))


def last_of(receivers: Sequence[Part]) -> Site:
    """The site of the receiver that comes last; the logits where there is none."""
    return max((part.site for part in receivers), default=Site("logits"))


def recorded(bench: Bench, batch: TokenBatch, worlds: Sequence[World], sites: Collection[Site]) -> list[Activations]:
    """What each world has at `sites`: for every world, activations of all prompts."""
    rows = rows_within(bench.budget_bytes, bench.model.info, batch, everywhere=False)
    prompts = max(1, rows // (1 + len(worlds)))
    found = [bench.record(batch.rows(first, first + prompts), worlds, sites) for first in range(0, len(batch), prompts)]
    return [
        Activations({site: torch.cat([part[site][1 + number] for part in found]) for site in sites}, batch)
        for number in range(len(worlds))
    ]


def in_turns(bench: Bench, batch: TokenBatch, count: int, sites: Collection[Site]) -> Iterator[slice]:
    """Shares of `count` worlds whose recordings at `sites` fit the byte budget."""
    rows = rows_within(bench.budget_bytes, bench.model.info, batch, everywhere=False)
    each = max(1, CapturePlan(sites=frozenset(sites)).bytes(bench.model.info, batch))
    share = max(1, min(rows // len(batch) - 1, bench.budget_bytes // each))
    return (slice(start, min(start + share, count)) for start in range(0, count, share))


def is_output(part: Part, n_layers: int) -> bool:
    """Whether a part is the whole of what the final norm reads: what reaches it has reached the logits."""
    return not part.slices and part.site == Site("resid_post", n_layers - 1)
