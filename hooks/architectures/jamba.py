"""Jamba: attention in some layers, Mamba in the others, experts in some."""

from hooks.architectures.base import GROUPED, Architecture

ARCHITECTURE = Architecture(
    family="jamba",
    tiny={
        "jamba": {
            **GROUPED,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "expert_layer_period": 2,
            "expert_layer_offset": 0,
            "mamba_d_state": 4,
            "mamba_d_conv": 3,
            "mamba_expand": 2,
            "use_mamba_kernels": False,
        }
    },
)
