"""Mamba: a state-space mixer in every block, no attention."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="mamba",
    tiny={
        "mamba": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "vocab_size": 64,
            "state_size": 4,
            "expand": 2,
            "conv_kernel": 3,
        }
    },
)
