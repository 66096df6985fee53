"""Starcoder2: grouped queries, LayerNorm, an MLP without gate."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="starcoder2",
    tiny={
        "starcoder2": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 64,
            "max_position_embeddings": 64,
            "num_key_value_heads": 2,
            "intermediate_size": 48,
            "sliding_window": None,
        }
    },
)
