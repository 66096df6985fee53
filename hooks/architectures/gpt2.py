"""GPT-2: learned positions, LayerNorm, a fused projection in three blocks."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="gpt2",
    tiny={"gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 64, "n_positions": 64}},
)
