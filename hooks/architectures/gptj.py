"""GPT-J: parallel blocks that share one norm, rotation of neighbouring pairs on part of each head."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="gptj",
    tiny={"gptj": {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 64, "n_positions": 64, "rotary_dim": 4}},
)
