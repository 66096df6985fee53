"""Cohere: parallel blocks, LayerNorm without bias, scaled logits."""

from hooks.architectures.base import GROUPED, Architecture

ARCHITECTURE = Architecture(
    family="cohere",
    tiny={"cohere": {**GROUPED, "logit_scale": 0.25}},
)
