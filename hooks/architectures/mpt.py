"""MPT: ALiBi, one fused projection, no biases, attention in its own code."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="mpt",
    tiny={
        "mpt": {"d_model": 32, "n_layers": 2, "n_heads": 4, "vocab_size": 64, "max_seq_len": 64, "expansion_ratio": 2}
    },
)
