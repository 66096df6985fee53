"""Granite: multipliers on the embedding, the scores, what is written to the stream, and the logits."""

from hooks.architectures.base import GROUPED, Architecture

ARCHITECTURE = Architecture(
    family="granite",
    tiny={
        "granite": {
            **GROUPED,
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.3,
            "attention_multiplier": 0.4,
            "logits_scaling": 2.0,
        }
    },
)
