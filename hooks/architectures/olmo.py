"""OLMo 1: LayerNorm without weights."""

from hooks.architectures.base import GROUPED, Architecture

ARCHITECTURE = Architecture(
    family="olmo",
    tiny={"olmo": GROUPED},
)
