"""Mistral: a sliding window in every layer."""

from hooks.architectures.base import GROUPED, Architecture

ARCHITECTURE = Architecture(
    family="mistral",
    tiny={"mistral": {**GROUPED, "sliding_window": 3}},
)
