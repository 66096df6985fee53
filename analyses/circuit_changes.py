"""What an edit of a circuit changes: the readers that may read something else than they did before it."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from analyses.circuit import Graph
from hooks.edge_layout import Layout
from hooks.sites import Part


class Changes:
    """Edits of circuits of one graph; `layout` says where its readers are in the forward pass."""

    def __init__(self, graph: Graph, layout: Layout) -> None:
        self._graph, self._layout = graph, layout
        self._inputs = _inputs(graph)

    def stale(
        self, before: Bool[Tensor, "writer reader"], after: Bool[Tensor, "writer reader"]
    ) -> Bool[Tensor, " reader"]:
        """The readers that keep other edges after an edit, and all that hear over kept edges what comes of them."""
        changed = (before != after).any(0)
        turned = self._layout.disagreeing(before[None]) ^ self._layout.disagreeing(after[None])
        for reader in self._layout.readers:
            # Attention takes its rows once per member of a group, or no longer: what is handed to it changes form.
            if reader.site.layer in turned and reader.site.name in ("q", "k", "v"):
                changed[reader.numbers] = True
        found, kept = changed.numpy().copy(), after.numpy()
        for writer, own in enumerate(self._inputs):
            if found[own].any():
                found |= kept[writer]
        return torch.from_numpy(found)


def _inputs(graph: Graph) -> list[np.ndarray]:
    """The readers that enter what each writer writes. Heads of a group share their keys and values."""
    found: list[list[int]] = [[] for _ in graph.writers]
    for place, (reader, writer) in enumerate(zip(graph.readers, graph.targets, strict=True)):
        layer = Part.parse(reader.target).site.layer
        if layer is not None:
            merged = graph.keys == "kv_head" and reader.channel in ("k", "v") and layer not in graph.whole
            for head in range(graph.info.group if merged else 1):
                found[writer + head].append(place)
    return [np.array(own, dtype=int) for own in found]
