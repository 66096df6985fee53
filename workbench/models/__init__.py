"""Models by name: aliases, where to obtain them, how a GGUF becomes a folder that opens quickly."""

from workbench.models.aliases import ALIASES, DEFAULT, FALLBACK
from workbench.models.listing import ModelEntry, list_models
from workbench.models.opening import open_named, open_resolved
from workbench.models.resolve import ResolvedModel, resolve

__all__ = [
    "ALIASES",
    "DEFAULT",
    "FALLBACK",
    "ModelEntry",
    "ResolvedModel",
    "list_models",
    "open_named",
    "open_resolved",
    "resolve",
]
