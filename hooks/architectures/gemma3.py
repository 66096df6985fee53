"""Gemma 3 (text): sandwich norms, query-key norms, five local layers to one global."""

from hooks.architectures.base import GROUPED, Architecture

ARCHITECTURE = Architecture(
    family="gemma3_text",
    tiny={
        "gemma3": {
            **GROUPED,
            "head_dim": 8,
            "sliding_window": 3,
            "layer_types": ["sliding_attention", "full_attention"],
        }
    },
)
