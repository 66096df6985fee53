"""Which module of a block is what, as one observed forward pass shows it.

Names serve only where the pass cannot tell: queries and keys, whose values change by norm and rotation before attention
sees them, mixers, and attention in a family's own code.
"""

from __future__ import annotations

from dataclasses import dataclass

from hooks.attention_roles import AttentionRoles, seen_attention, unseen_attention
from hooks.look import Look, inside
from hooks.mlp_roles import ExpertRoles, MlpRoles, find_experts, find_mlp
from hooks.observe import Call

__all__ = ["AttentionRoles", "BlockRoles", "ExpertRoles", "MlpRoles", "find_roles"]


@dataclass(frozen=True, eq=False)
class BlockRoles:
    """A block: its call, the calls of everything inside it, and what they are. mixer: path of what is no attention."""

    call: Call
    inside: list[Call]
    attention: AttentionRoles | None
    cross: AttentionRoles | None
    mixer: str | None
    mlp: MlpRoles | None
    experts: ExpertRoles | None

    @property
    def path(self) -> str:
        return self.call.path


def find_roles(look: Look, call: Call, until: int) -> BlockRoles:
    """The roles in the block call `call`; `until`: order at which the next block begins."""
    prefix = f"{call.path}."
    within = [c for c in look.seen.calls[call.order + 1 : until] if c.path.startswith(prefix)]
    attended = [a for a in look.seen.attention if a.path.startswith(prefix) and call.order < a.order <= until]
    found = [seen_attention(look, a, within) for a in attended[:2]]
    if not attended and (path := look.named(call.path, look.blueprint.attention)):
        found = [roles] if (roles := unseen_attention(look, path, within)) else []
    mixer = look.named(call.path, look.blueprint.mixer)
    homes = [roles.home for roles in found] + ([mixer] if mixer else [])
    rest = [c for c in within if not any(inside(c.path, home) for home in homes)]
    experts = find_experts(look, rest)
    return BlockRoles(
        call=call,
        inside=within,
        attention=found[0] if found else None,
        cross=found[1] if len(found) > 1 else None,
        mixer=mixer,
        mlp=None if experts else find_mlp(look, call, rest),
        experts=experts,
    )
