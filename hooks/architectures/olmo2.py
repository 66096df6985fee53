"""OLMo 2: norms after the sublayers only, and over all of q and k."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="olmo2",
    tiny={
        "olmo2": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 64,
            "max_position_embeddings": 64,
            "num_key_value_heads": 2,
            "intermediate_size": 48,
        }
    },
)
