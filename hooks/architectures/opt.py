"""OPT: learned positions with an offset, an MLP that is not a module of its own."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="opt",
    tiny={
        "opt": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 64,
            "max_position_embeddings": 64,
            "ffn_dim": 48,
            "word_embed_proj_dim": 32,
        },
    },
)
