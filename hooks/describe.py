"""What an opened model is, in values that print: its info, a batch to probe it with, its proof."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from transformers import PreTrainedModel

from hooks.attention import AttentionFacts
from hooks.choose import Blocks
from hooks.info import ModelInfo
from hooks.loading import Loaded
from hooks.projections import weight_of
from hooks.proof import Proof
from hooks.sites import SITES, Site
from hooks.tokens import TokenBatch, pad
from hooks.wiring import Sizes

PROBE_LENGTHS = (6, 4)
PROBE_SEED = 20
LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "h5py", "dash", "plotly")


def versions() -> dict[str, str]:
    """Versions of the libraries that numbers depend on, and of the workbench."""
    names = {library: library for library in LIBRARIES} | {"workbench": "mechanistic-workbench"}
    found = {}
    for label, distribution in names.items():
        try:
            found[label] = version(distribution)
        except PackageNotFoundError:
            # Run from a checkout that was not installed, or without the libraries of the app.
            continue
    return found


def probe(model: PreTrainedModel, tokenizer: Any) -> TokenBatch:
    """Two seeded random prompts of unequal length, so that padding is part of what is proved."""
    config = model.config.get_text_config()
    generator = torch.Generator().manual_seed(PROBE_SEED)
    vocabulary = weight_of(model.get_input_embeddings()).shape[0]
    limit = getattr(config, "max_position_embeddings", None) or max(PROBE_LENGTHS)
    lengths = [min(length, limit) for length in PROBE_LENGTHS]
    rows = [torch.randint(vocabulary, (length,), generator=generator).tolist() for length in lengths]
    return pad(tokenizer, rows)


def describe(loaded: Loaded, sizes: Sizes, blocks: Blocks, seen: Mapping[int, AttentionFacts]) -> ModelInfo:
    """The info of a loaded model whose wiring is chosen."""
    model, config = loaded.model, loaded.model.config.get_text_config()
    ports = blocks.wiring.ports
    norm = model.get_submodule(ports[Site("ln_final")].module) if Site("ln_final") in ports else None
    rotary = any("rotary" in name.rpartition(".")[2] for name, _ in model.named_modules())
    n_layers = len(blocks.wiring.layers)
    return ModelInfo(
        name=loaded.name,
        family=config.model_type,
        n_layers=n_layers,
        n_heads=sizes.n_heads,
        n_kv_heads=sizes.n_kv_heads,
        d_model=sizes.d_model,
        d_head=sizes.d_head,
        d_mlp=sizes.d_mlp,
        d_vocab=weight_of(model.get_output_embeddings()).shape[0],
        n_ctx=getattr(config, "max_position_embeddings", None),
        n_params=sum(parameter.numel() for parameter in model.parameters()),
        norm="sandwich" if blocks.sandwich else "pre",
        norm_kind="none" if norm is None else "RMSNorm" if "RMS" in type(norm).__name__ else "LayerNorm",
        positions="learned" if Site("pos_embed") in ports else "rotary" if rotary else "none",
        parallel=blocks.parallel,
        gated=blocks.wiring.gated,
        windows=tuple(seen[layer].window if layer in seen else None for layer in range(n_layers)),
        dtype=str(model.dtype).removeprefix("torch."),
        device=str(model.device),
    )


def site_rows(proof: Proof) -> list[dict[str, Any]]:
    """The proof as rows of plain JSON values, in the order of the vocabulary."""
    return [
        {
            "site": row.name,
            "axes": list(SITES[row.name].axes),
            "meaning": SITES[row.name].meaning,
            "readable": row.readable,
            "writable": row.writable,
            "error": row.error,
            "check": row.check,
            "reason": row.reason,
        }
        for row in proof.rows
    ]
