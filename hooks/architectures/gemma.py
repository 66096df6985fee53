"""Gemma 1: multi-query, wide heads, an embedding scaled by the root of its width."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="gemma",
    tiny={
        "gemma": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 64,
            "max_position_embeddings": 64,
            "num_key_value_heads": 1,
            "intermediate_size": 48,
            "head_dim": 16,
        }
    },
)
