"""StableLM: LayerNorm, rotation on part of each head; parallel blocks in some versions."""

from hooks.architectures.base import GROUPED, Architecture

ARCHITECTURE = Architecture(
    family="stablelm",
    tiny={"stablelm": GROUPED, "stablelm-parallel": {**GROUPED, "use_parallel_residual": True}},
)
