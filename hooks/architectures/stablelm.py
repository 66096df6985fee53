"""StableLM: LayerNorm, rotation on part of each head; parallel blocks in some versions."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="stablelm",
    tiny={
        "stablelm": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 64,
            "max_position_embeddings": 64,
            "num_key_value_heads": 2,
            "intermediate_size": 48,
        },
        "stablelm-parallel": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 64,
            "max_position_embeddings": 64,
            "num_key_value_heads": 2,
            "intermediate_size": 48,
            "use_parallel_residual": True,
        },
    },
)
