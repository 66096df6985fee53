"""SmolLM3: some layers without rotation."""

from hooks.architectures.base import GROUPED, Architecture

ARCHITECTURE = Architecture(
    family="smollm3",
    tiny={"smollm3": {**GROUPED, "no_rope_layers": [1, 0]}},
)
