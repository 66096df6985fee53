"""Nodes, channels and edges of a circuit as a reader knows them."""

from __future__ import annotations

from analyses.circuit import EMBED, LOGITS
from hooks.sites import Part

CHANNELS = {"q": "query", "k": "key", "v": "value", "in": "input"}


def node_words(node: str) -> str:
    """Such as "head 3.5", "MLP 3", "attention 3", "embedding", "logits"."""
    if node in (EMBED, LOGITS):
        return "embedding" if node == EMBED else node
    part = Part.parse(node)
    name = {"z": "head", "mlp_out": "MLP", "attn_out": "attention"}[part.site.name]
    return f"{name} {part.site.layer}" + ("" if part.head is None else f".{part.head}")


def edge_words(source: str, target: str, channel: str) -> str:
    """Such as "MLP 0 → head 3.5, as query"."""
    heard = "" if channel == "in" else f", as {CHANNELS[channel]}"
    return f"{node_words(source)} → {node_words(target)}{heard}"
