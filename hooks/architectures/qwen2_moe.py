"""Qwen2-MoE: routed experts beside a shared expert with a gate."""

from hooks.architectures.base import GROUPED, Architecture

ARCHITECTURE = Architecture(
    family="qwen2_moe",
    tiny={
        "qwen2-moe": {
            **GROUPED,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
            "shared_expert_intermediate_size": 24,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [0],
        }
    },
)
