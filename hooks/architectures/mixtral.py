"""Mixtral: Mistral with a mixture of experts in every layer."""

from hooks.architectures.base import GROUPED, Architecture

ARCHITECTURE = Architecture(
    family="mixtral",
    tiny={"mixtral": {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None}},
)
