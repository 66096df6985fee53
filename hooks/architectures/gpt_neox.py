"""GPT-NeoX (Pythia): parallel or sequential blocks, rotation on part of each head, q, k, v fused per head."""

from hooks.architectures.base import SMALL, Architecture

ARCHITECTURE = Architecture(
    family="gpt_neox",
    tiny={
        "gpt-neox-parallel": {**SMALL, "intermediate_size": 48, "use_parallel_residual": True},
        "gpt-neox-sequential": {**SMALL, "intermediate_size": 48, "use_parallel_residual": False},
    },
)
