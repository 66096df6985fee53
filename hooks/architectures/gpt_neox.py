"""GPT-NeoX (Pythia): parallel or sequential blocks, rotation on part of each head, q, k, v fused per head."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="gpt_neox",
    tiny={
        "gpt-neox-parallel": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 64,
            "max_position_embeddings": 64,
            "intermediate_size": 48,
            "use_parallel_residual": True,
        },
        "gpt-neox-sequential": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 64,
            "max_position_embeddings": 64,
            "intermediate_size": 48,
            "use_parallel_residual": False,
        },
    },
)
