"""DeepSeek-V3: latent attention, a dense first layer, then routed and shared experts."""

from hooks.architectures.base import SMALL, Architecture

ARCHITECTURE = Architecture(
    family="deepseek_v3",
    tiny={
        "deepseek-v3": {
            **SMALL,
            "num_key_value_heads": 4,
            "intermediate_size": 48,
            "moe_intermediate_size": 24,
            "n_routed_experts": 4,
            "n_shared_experts": 1,
            "num_experts_per_tok": 2,
            "n_group": 2,
            "topk_group": 1,
            "first_k_dense_replace": 1,
            "q_lora_rank": 16,
            "kv_lora_rank": 16,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 4,
            "v_head_dim": 6,
        }
    },
)
