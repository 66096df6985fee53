"""Starcoder2: grouped queries, LayerNorm, an MLP without gate."""

from hooks.architectures.base import GROUPED, Architecture

ARCHITECTURE = Architecture(
    family="starcoder2",
    tiny={"starcoder2": {**GROUPED, "sliding_window": None}},
)
