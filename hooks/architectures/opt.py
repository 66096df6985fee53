"""OPT: learned positions with an offset, an MLP that is not a module of its own."""

from hooks.architectures.base import SMALL, Architecture

ARCHITECTURE = Architecture(
    family="opt",
    tiny={"opt": {**SMALL, "ffn_dim": 48, "word_embed_proj_dim": 32}},
)
