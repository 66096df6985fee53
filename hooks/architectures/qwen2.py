"""Qwen2: Llama with biases on q, k and v."""

from hooks.architectures.base import GROUPED, Architecture

ARCHITECTURE = Architecture(
    family="qwen2",
    tiny={"qwen2": GROUPED},
)
