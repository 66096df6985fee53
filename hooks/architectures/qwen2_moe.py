"""Qwen2-MoE: routed experts beside a shared expert with a gate."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="qwen2_moe",
    tiny={
        "qwen2-moe": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 64,
            "max_position_embeddings": 64,
            "num_key_value_heads": 2,
            "intermediate_size": 48,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
            "shared_expert_intermediate_size": 24,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [0],
        }
    },
)
