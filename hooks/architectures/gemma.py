"""Gemma 1: multi-query, wide heads, an embedding scaled by the root of its width."""

from hooks.architectures.base import SMALL, Architecture

ARCHITECTURE = Architecture(
    family="gemma",
    tiny={"gemma": {**SMALL, "num_key_value_heads": 1, "intermediate_size": 48, "head_dim": 16}},
)
