"""Falcon-H1: attention and Mamba side by side in every block."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="falcon_h1",
    tiny={
        "falcon-h1": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 64,
            "max_position_embeddings": 64,
            "num_key_value_heads": 2,
            "intermediate_size": 48,
            "mamba_d_ssm": 32,
            "mamba_n_heads": 4,
            "mamba_d_head": 8,
            "mamba_n_groups": 1,
            "mamba_d_state": 8,
            "mamba_d_conv": 3,
            "mamba_chunk_size": 8,
        }
    },
)
