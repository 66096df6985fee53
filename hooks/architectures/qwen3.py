"""Qwen3: norms on each query and key head, heads wider than the model divided by their number."""

from hooks.architectures.base import GROUPED, Architecture

ARCHITECTURE = Architecture(
    family="qwen3",
    tiny={"qwen3": {**GROUPED, "head_dim": 16}},
)
