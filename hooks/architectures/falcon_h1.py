"""Falcon-H1: attention and Mamba side by side in every block."""

from hooks.architectures.base import GROUPED, Architecture

ARCHITECTURE = Architecture(
    family="falcon_h1",
    tiny={
        "falcon-h1": {
            **GROUPED,
            "mamba_d_ssm": 32,
            "mamba_n_heads": 4,
            "mamba_d_head": 8,
            "mamba_n_groups": 1,
            "mamba_d_state": 8,
            "mamba_d_conv": 3,
            "mamba_chunk_size": 8,
        }
    },
)
