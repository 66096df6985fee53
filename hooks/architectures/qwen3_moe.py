"""Qwen3-MoE: query-key norms, routed experts without a shared one."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="qwen3_moe",
    tiny={
        "qwen3-moe": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 64,
            "max_position_embeddings": 64,
            "num_key_value_heads": 2,
            "intermediate_size": 48,
            "head_dim": 8,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
            "decoder_sparse_step": 1,
        }
    },
)
