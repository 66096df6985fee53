"""Mixtral: Mistral with a mixture of experts in every layer."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="mixtral",
    tiny={
        "mixtral": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 64,
            "max_position_embeddings": 64,
            "num_key_value_heads": 2,
            "intermediate_size": 48,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "sliding_window": None,
        }
    },
)
