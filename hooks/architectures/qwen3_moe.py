"""Qwen3-MoE: query-key norms, routed experts without a shared one."""

from hooks.architectures.base import GROUPED, Architecture

ARCHITECTURE = Architecture(
    family="qwen3_moe",
    tiny={
        "qwen3-moe": {
            **GROUPED,
            "head_dim": 8,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
            "decoder_sparse_step": 1,
        }
    },
)
