"""What families usually call their parts. Names here are guesses; what a forward pass shows (`hooks.roles`) and
`hooks.proof` decide.

A family with other names gets a blueprint in `hooks.architectures`, not a branch in code.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace


@dataclass(frozen=True)
class Blueprint:
    """Role → names of modules, in order of preference.

    attention: paths inside a block, for families whose attention does not pass through the shared function. q, k, v,
    packed: projections inside the attention module; what packs several is split as the forward pass shows. factors:
    names of config fields that multiply what is written to the residual stream, or the embedding.
    """

    attention: tuple[str, ...] = (
        "self_attn", "self_attention", "attn.attention", "attention.self", "attn", "attention",
        "layer.0.SelfAttention", "self_att.self_attention",
    )  # fmt: skip
    mixer: tuple[str, ...] = ("mamba", "mixer", "linear_attn", "conv", "temporal_block", "ssm", "short_conv")
    q: tuple[str, ...] = ("q_proj", "query", "q_lin", "q", "query_proj", "q_b_proj", "wq", "Wq", "project_q")
    k: tuple[str, ...] = ("k_proj", "key", "k_lin", "k", "key_proj", "wk", "Wk", "project_k")
    v: tuple[str, ...] = ("v_proj", "value", "v_lin", "v", "value_proj", "wv", "Wv", "kv_b_proj", "project_v")
    packed: tuple[str, ...] = ("c_attn", "qkv_proj", "query_key_value", "Wqkv", "qkv", "in_proj", "W_pack")
    o: tuple[str, ...] = (
        "o_proj", "out_proj", "c_proj", "dense", "out_lin", "o", "wo", "Wo", "output.dense", "attention_out",
    )  # fmt: skip
    pos_embed: tuple[str, ...] = ("wpe", "embed_positions", "position_embeddings", "position_embedding")
    residual_factor: tuple[str, ...] = ("residual_multiplier",)
    embed_factor: tuple[str, ...] = ("embedding_multiplier",)

    def with_names(self, **roles: tuple[str, ...]) -> Blueprint:
        """This blueprint with other names for some roles."""
        known = {field.name for field in fields(self)}
        if unknown := set(roles) - known:
            raise TypeError(f"unknown roles {sorted(unknown)}")
        return replace(self, **roles)


CONVENTIONS = Blueprint()


def first(names: Iterable[str], present: Iterable[str]) -> str | None:
    """The first of `names` that is in `present`."""
    there = set(present)
    return next((name for name in names if name in there), None)
