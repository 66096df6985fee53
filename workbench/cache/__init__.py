"""The store of captured activations: one immutable HDF5 file per model, tokens and plan."""

from workbench.cache.read import StoredActivations
from workbench.cache.store import Store

__all__ = ["Store", "StoredActivations"]
