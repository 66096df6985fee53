"""Phi: parallel blocks that share one norm, rotation on part of each head."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="phi",
    tiny={
        "phi": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 64,
            "max_position_embeddings": 64,
            "intermediate_size": 48,
        },
    },
)
