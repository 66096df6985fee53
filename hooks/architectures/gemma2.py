"""Gemma 2: sandwich norms, soft-capped scores and logits, every other layer local."""

from hooks.architectures.base import GROUPED, Architecture

ARCHITECTURE = Architecture(
    family="gemma2",
    tiny={"gemma2": {**GROUPED, "head_dim": 8, "sliding_window": 3}},
)
