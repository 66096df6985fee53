"""GPT-OSS: attention sinks, biased experts, every other layer local."""

from hooks.architectures.base import GROUPED, Architecture

ARCHITECTURE = Architecture(
    family="gpt_oss",
    tiny={
        "gpt-oss": {
            **GROUPED,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "head_dim": 8,
            "sliding_window": 3,
            "layer_types": ["sliding_attention", "full_attention"],
        }
    },
)
