"""Tiny random models of every kind on disk, with tokenizers that fit them: what pages and doors are tried on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, PreTrainedModel

from hooks.tiny import CAUSAL, SPREAD, variants
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
}


def save_kind(variant: str, folder: Path, seed: int = 0, **changes: Any) -> Path:
    """The tiny model of a family's variant, its vocabulary that of a small tokenizer, saved in `folder`."""
    architecture = variants()[variant]
    tokenizer = TOKENIZERS[variant]() if variant in TOKENIZERS else None
    settings: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None}
    settings |= dict(architecture.tiny[variant])
    if tokenizer is not None:
        target = dict(settings["text_config"]) if "text_config" in settings else settings
        if target is not settings:
            settings["text_config"] = target
        target["vocab_size"] = len(tokenizer)
        if variant == "clip":
            target |= {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    if variant in ("bert-classifier", "vit"):
        settings |= LABELS
    torch.manual_seed(seed)
    config = AutoConfig.for_model(architecture.family, **(settings | changes))
    kind = getattr(transformers, architecture.classes.get(variant, CAUSAL))
    made = kind.from_config if hasattr(kind, "from_config") else kind._from_config
    model: PreTrainedModel = made(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0.0, SPREAD)
            else:
                parameter.add_(SPREAD * torch.randn_like(parameter))
    model.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return folder
