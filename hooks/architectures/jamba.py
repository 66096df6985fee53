"""Jamba: attention in some layers, Mamba in the others, experts in some."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="jamba",
    tiny={
        "jamba": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 64,
            "max_position_embeddings": 64,
            "num_key_value_heads": 2,
            "intermediate_size": 48,
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
