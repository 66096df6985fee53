"""ALBERT: one block, called once per layer."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="albert",
    tiny={
        "albert": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 64,
            "max_position_embeddings": 64,
            "intermediate_size": 48,
            "embedding_size": 16,
        }
    },
    classes={"albert": "AlbertForMaskedLM"},
)
