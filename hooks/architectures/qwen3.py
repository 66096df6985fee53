"""Qwen3: norms on each query and key head, heads wider than the model divided by their number."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="qwen3",
    tiny={
        "qwen3": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 64,
            "max_position_embeddings": 64,
            "num_key_value_heads": 2,
            "intermediate_size": 48,
            "head_dim": 16,
        },
    },
)
