"""GPT-OSS: attention sinks, biased experts, every other layer local."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="gpt_oss",
    tiny={
        "gpt-oss": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 64,
            "max_position_embeddings": 64,
            "num_key_value_heads": 2,
            "intermediate_size": 48,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "head_dim": 8,
            "sliding_window": 3,
            "layer_types": ["sliding_attention", "full_attention"],
        }
    },
)
