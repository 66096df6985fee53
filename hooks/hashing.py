"""SHA-256 of what a number depends on: weight files, a model's tensors, a tokenizer."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from hooks.spec import canonical_json

CHUNK = 1 << 24


def hash_files(paths: Iterable[Path]) -> str:
    """SHA-256 over the names and contents of files."""
    total = hashlib.sha256()
    for path in paths:
        total.update(path.name.encode())
        with path.open("rb") as file:
            while block := file.read(CHUNK):
                total.update(block)
    return total.hexdigest()


def hash_state(items: Iterable[tuple[str, Any]]) -> str:
    """SHA-256 over the names, types and values of a model's tensors, in any order."""
    total = hashlib.sha256()
    for key, value in sorted(items, key=lambda item: item[0]):
        if type(value) in (torch.Tensor, torch.nn.Parameter) and not value.is_quantized:
            total.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
            total.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        else:
            total.update(f"{key} {type(value).__name__}".encode())
            total.update(_serialised(value))
    return total.hexdigest()


def _serialised(value: Any) -> bytes:
    """A quantised tensor, or what a quantised module keeps beside its tensors, as torch would save it."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def hash_together(*hashes: str) -> str:
    """SHA-256 of several hashes in their order: of a model and the adapter on it."""
    return hashlib.sha256("+".join(hashes).encode()).hexdigest()


def hash_tokenizer(tokenizer: Any) -> str:
    """SHA-256 of a fast tokenizer's definition, or of a slow one's vocabulary; empty without a tokenizer."""
    if tokenizer is None:
        return ""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    text = backend.to_str() if backend is not None else canonical_json(tokenizer.get_vocab())
    settings = json.dumps(
        {name: str(getattr(tokenizer, name, None)) for name in ("bos_token", "eos_token", "pad_token")}
    )
    return hashlib.sha256((text + settings).encode()).hexdigest()
