"""Llama: rotary positions, RMSNorm, gated MLP, grouped queries."""

from hooks.architectures.base import GROUPED, SMALL, Architecture

ARCHITECTURE = Architecture(
    family="llama",
    tiny={"llama": GROUPED, "llama-multi-query": {**SMALL, "num_key_value_heads": 1, "intermediate_size": 48}},
)
