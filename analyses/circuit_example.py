"""A circuit of two edges that every model with an MLP has: what analyses of circuits show as an example."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

EXAMPLE: Mapping[str, Any] = MappingProxyType(
    {
        "nodes": ["embed", "L0.mlp_out", "logits"],
        "edges": [
            {"source": "embed", "target": "L0.mlp_out", "channel": "in", "score": 0.5},
            {"source": "L0.mlp_out", "target": "logits", "channel": "in", "score": 0.4},
        ],
        "size": 2,
        "method": "by hand",
    }
)
