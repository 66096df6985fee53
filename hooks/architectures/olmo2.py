"""OLMo 2: norms after the sublayers only, and over all of q and k."""

from hooks.architectures.base import GROUPED, Architecture

ARCHITECTURE = Architecture(
    family="olmo2",
    tiny={"olmo2": GROUPED},
)
