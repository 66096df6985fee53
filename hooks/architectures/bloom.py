"""BLOOM: ALiBi, a norm after the embedding, attention in its own code."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="bloom",
    tiny={"bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": 64}},
)
