"""Granite: multipliers on the embedding, the scores, what is written to the stream, and the logits."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="granite",
    tiny={
        "granite": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 64,
            "max_position_embeddings": 64,
            "num_key_value_heads": 2,
            "intermediate_size": 48,
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.3,
            "attention_multiplier": 0.4,
            "logits_scaling": 2.0,
        }
    },
)
