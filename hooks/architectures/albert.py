"""ALBERT: one block, called once per layer."""

from hooks.architectures.base import SMALL, Architecture

ARCHITECTURE = Architecture(
    family="albert",
    tiny={"albert": {**SMALL, "intermediate_size": 48, "embedding_size": 16}},
    classes={"albert": "AlbertForMaskedLM"},
)
