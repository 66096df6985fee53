"""Tiny random models of every kind on disk, with tokenizers that fit them: what pages and doors are tried on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hooks.tiny import build_with, settings_of, variants
from tests.hooks.small_tokenizers import byte_level, unigram, word_end_bpe, wordpiece

CLASSES = ("unbalanced", "balanced", "neither")
LABELS: dict[str, Any] = {
    "num_labels": len(CLASSES),
    "id2label": dict(enumerate(CLASSES)),
    "label2id": {label: number for number, label in enumerate(CLASSES)},
}
TOKENIZERS: dict[str, Callable[[], Any]] = {
    "bert": wordpiece,
    "bert-classifier": wordpiece,
    "bert-features": wordpiece,
    "t5": unigram,
    "clip": word_end_bpe,
    "mixtral": byte_level,
    "jamba": byte_level,
    "mamba": byte_level,
    "gpt2": byte_level,
    "whisper": byte_level,
    "bart": byte_level,
}


def save_kind(variant: str, folder: Path, seed: int = 0, **changes: Any) -> Path:
    """The tiny model of a family's variant, its vocabulary that of a small tokenizer, saved in `folder`."""
    architecture = variants()[variant]
    tokenizer = TOKENIZERS[variant]() if variant in TOKENIZERS else None
    settings = settings_of(architecture.tiny[variant])
    if tokenizer is not None:
        target = dict(settings["text_config"]) if "text_config" in settings else settings
        if target is not settings:
            settings["text_config"] = target
        target["vocab_size"] = len(tokenizer)
        if variant == "clip":
            target |= {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    if variant in ("bert-classifier", "vit"):
        settings |= LABELS
    build_with(variant, settings | changes, seed).save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return folder
