"""Phi 3: fused projections of q, k, v and of gate and up."""

from hooks.architectures.base import GROUPED, Architecture

ARCHITECTURE = Architecture(
    family="phi3",
    tiny={"phi3": GROUPED},
)
