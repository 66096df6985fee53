"""Phi: parallel blocks that share one norm, rotation on part of each head."""

from hooks.architectures.base import SMALL, Architecture

ARCHITECTURE = Architecture(
    family="phi",
    tiny={"phi": {**SMALL, "intermediate_size": 48}},
)
