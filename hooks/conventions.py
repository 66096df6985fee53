"""What families usually call their parts. Names here are guesses; `hooks.proof` decides.

Each table lists, for one role, the module names seen so far, in order of preference. A family with other names gets a
blueprint in `hooks.architectures`, not a branch in code.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace


@dataclass(frozen=True)
class Blueprint:
    """Role → candidate module names, relative to a block (or, for the model's own parts, to the decoder).

    packed: names of fused query-key-value projections with how the three lie in the output: "blocks" (all of q, then k,
    then v) or "per_head" (q, k, v of head 0, then of head 1 …).
    """

    attention: tuple[str, ...] = ("self_attn", "attn", "attention", "self_attention")
    q: tuple[str, ...] = ("q_proj",)
    k: tuple[str, ...] = ("k_proj",)
    v: tuple[str, ...] = ("v_proj",)
    packed: tuple[tuple[str, str], ...] = (
        ("c_attn", "blocks"),
        ("qkv_proj", "blocks"),
        ("query_key_value", "per_head"),
    )
    o: tuple[str, ...] = ("o_proj", "out_proj", "c_proj", "dense")
    mlp: tuple[str, ...] = ("mlp", "feed_forward", "ffn")
    gate: tuple[str, ...] = ("gate_proj",)
    up: tuple[str, ...] = ("up_proj", "c_fc", "fc1", "fc_in", "dense_h_to_4h")
    gate_up: tuple[str, ...] = ("gate_up_proj",)
    down: tuple[str, ...] = ("down_proj", "c_proj", "fc2", "fc_out", "dense_4h_to_h")
    pos_embed: tuple[str, ...] = ("wpe", "embed_positions")
    final_norm: tuple[str, ...] = ("norm", "ln_f", "final_layer_norm", "final_layernorm")

    def with_names(self, **roles: tuple[str, ...]) -> Blueprint:
        """This blueprint with other names for some roles."""
        known = {field.name for field in fields(self)}
        if unknown := set(roles) - known:
            raise TypeError(f"unknown roles {sorted(unknown)}")
        return replace(self, **roles)  # type: ignore[arg-type]


CONVENTIONS = Blueprint()


def first(names: Iterable[str], present: Iterable[str]) -> str | None:
    """The first of `names` that is in `present`."""
    there = set(present)
    return next((name for name in names if name in there), None)
