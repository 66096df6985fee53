"""GPT-Neo: learned positions, every other layer local, attention in its own code."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="gpt_neo",
    tiny={
        "gpt-neo": {
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "vocab_size": 64,
            "max_position_embeddings": 64,
            "intermediate_size": 48,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 3,
        }
    },
)
