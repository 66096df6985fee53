"""What an opened model is, in values that print: its info, a batch to probe it with, its proof."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Protocol

import torch

from hooks.attention import IMPLEMENTATION
from hooks.feed import VISION, embedding_rows, image_batch
from hooks.info import ModelInfo, Positions, StackInfo
from hooks.loading import Loaded
from hooks.observe import AttentionCall, Call, Observation
from hooks.ports import output_of
from hooks.proof import Proof
from hooks.sites import MAIN, SITES
from hooks.tokens import TokenBatch
from hooks.wiring import StackWiring, Wiring, config_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "h5py", "dash", "plotly")


def versions() -> dict[str, str]:
    """Versions of the libraries that numbers depend on, and of the workbench."""
    names = {library: library for library in LIBRARIES} | {"workbench": "mechanistic-workbench"}
    found = {}
    for label, distribution in names.items():
        try:
            found[label] = _version(distribution)
        except PackageNotFoundError:
            # Run from a checkout that was not installed, or without the libraries of the app.
            continue
    return found


@cache
def _version(distribution: str) -> str:
    """A distribution's version; it stays what it is while the process runs, and its metadata takes long to read."""
    return version(distribution)


def describe(loaded: Loaded, wiring: Wiring, batch: TokenBatch, seen: Observation) -> ModelInfo:
    """The info of a loaded model that was observed on `batch` and wired."""
    model, config = loaded.model, loaded.model.config
    main = _stack(model, wiring, wiring.main, seen)
    others = {name: _stack(model, wiring, stack, seen) for name, stack in wiring.stacks.items() if name != MAIN}
    labels = wiring.feed.task in ("classify", "token-classify", "image-classify")
    grid, prefix = _patches(model, wiring, seen)
    answers = wiring.feed.answers(seen.output, batch)
    fed = next((part.inputs for part in (batch, *batch.sides.values()) if part.inputs), {})
    pixels = next((tuple(values.shape[1:]) for values in fed.values()), None)
    return ModelInfo(
        **main.model_dump(),
        name=loaded.name,
        family=config.model_type,
        d_vocab=answers.shape[-1],
        n_params=sum(parameter.numel() for parameter in model.parameters()),
        dtype=str(model.dtype).removeprefix("torch."),
        device=str(model.device),
        task=wiring.feed.task,
        labels=tuple(str(name) for _, name in sorted(dict(config.id2label or {}).items())) if labels else (),
        stacks=others,
        n_embed=embedding_rows(model),
        filler=getattr(model.config.get_text_config(), "pad_token_id", None),
        decoder_start=getattr(config, "decoder_start_token_id", None) if config.is_encoder_decoder else None,
        pixels=pixels,
        source_input=next(iter(fed), None),
        grid=grid,
        prefix=prefix,
        reads_end=wiring.feed.task == "pairs" and _reads_end(wiring, seen),
    )


def sized(batch: TokenBatch, wiring: Wiring, seen: Observation) -> TokenBatch:
    """The probe with as many positions as the stacks that read no ids turned out to have."""

    def width(stack: str) -> int:
        first = wiring.stacks[stack].layers[0]
        given = seen.of(first.block)[first.call].given
        return 1 if given is None else given.shape[1]

    def grown(part: TokenBatch, stack: str) -> TokenBatch:
        if not part.inputs or stack not in wiring.stacks:
            return part
        (name, values), *_ = part.inputs.items()
        return image_batch(values, name, width(stack))

    whole = grown(batch, MAIN)
    return replace(whole, sides={name: grown(side, name) for name, side in batch.sides.items()})


def _stack(model: PreTrainedModel, wiring: Wiring, stack: StackWiring, seen: Observation) -> StackInfo:
    config, layers = config_of(model, stack.path), stack.layers
    attention = next((layer.attention for layer in layers if layer.attention is not None), None)
    mlp = next((layer.mlp for layer in layers if layer.mlp is not None), None)
    experts = next((layer.experts for layer in layers if layer.experts is not None), None)
    facts = {(call.path, call.number): call for call in seen.attention}
    called = [facts.get((a.path, a.call)) if (a := layer.attention) is not None else None for layer in layers]
    first = next((call for call in called if call is not None), None)
    norms = [step.norm is not None for layer in layers for step in layer.steps or ()]
    block = seen.of(layers[0].block)[layers[0].call]
    n_heads = attention.n_heads if attention else 0
    d_head = attention.d_head if attention else 0
    d_qk = None if first is None or first.q is None else first.q.shape[-1]
    return StackInfo(
        n_layers=len(layers),
        n_heads=n_heads,
        n_kv_heads=attention.n_kv_heads if attention else 0,
        d_model=0 if block.given is None else block.given.shape[-1],
        d_head=d_head,
        d_mlp=mlp.d_mlp if mlp else 0,
        n_experts=experts.n_experts if experts else 0,
        d_expert=experts.d_expert if experts else 0,
        norm="post" if norms and all(norms) else "sandwich" if _sandwich(stack) else "pre",
        norm_kind=_norm_kind(model, stack, seen),
        positions=_positions(model, stack, config),
        parallel=any(layer.parallel for layer in layers),
        gated=mlp.gated if mlp else experts is not None,
        causal=stack.causal,
        windows=tuple(_window(config, number, call) for number, call in enumerate(called)),
        n_ctx=_positions_limit(config),
        d_qk=d_qk if d_qk != d_head else None,
        n_positions=_fixed_positions(stack, block, wiring),
    )


def _window(config: Any, layer: int, call: AttentionCall | None) -> int | None:
    """Keys that a layer's attention may look back; in attention of a family's own code, as its config says."""
    if call is not None:
        return call.facts.window
    kinds = getattr(config, "attention_layers", None) or ()
    return int(config.window_size) if layer < len(kinds) and kinds[layer] == "local" else None


def _reads_end(wiring: Wiring, seen: Observation) -> bool:
    """Whether a text is summed up by its last position, padding or not: the probe's second text is a padded one."""
    norm = wiring.main.final_norm
    final = None if norm is None else seen.of(norm.module)[norm.call].gave
    if final is None:
        return False
    end = final[:, -1]
    return any(c.given is not None and c.given.shape == end.shape and c.given.equal(end) for c in seen.calls)


def _fixed_positions(stack: StackWiring, block: Call, wiring: Wiring) -> int | None:
    """How many positions a stack of pixels or sound has; None for text."""
    reads = wiring.feed.text if stack.name == MAIN else wiring.feed.source == "input_ids"
    return None if reads or block.given is None else block.given.shape[1]


def _sandwich(stack: StackWiring) -> bool:
    """Whether a norm stands between a sublayer and what it writes."""
    return any(layer.attention is not None and layer.writes in layer.norms for layer in stack.layers)


def _norm_kind(model: PreTrainedModel, stack: StackWiring, seen: Observation) -> str:
    paths = [stack.final_norm.module] if stack.final_norm is not None else list(stack.layers[0].norms)
    if not paths:
        return "none"
    # By what it does, whatever it is called: a LayerNorm takes the mean away, so of a constant only its bias is left.
    call = seen.of(paths[0])[0]
    norm = model.get_submodule(paths[0])
    assert call.given is not None
    bias = getattr(norm, "bias", None)
    with torch.inference_mode():
        gave = output_of(norm(torch.ones_like(call.given)))
        assert gave is not None
        rest = gave if bias is None else gave - bias
    return "LayerNorm" if float(rest.abs().max()) < 1e-3 else "RMSNorm"


def _positions(model: PreTrainedModel, stack: StackWiring, config: Any) -> Positions:
    if stack.start.pos_embed is not None:
        return "learned"
    home = stack.path.rpartition(".")[0]
    names = {name.rpartition(".")[2] for name, _ in (model.get_submodule(home) if home else model).named_modules()}
    if getattr(config, "alibi", False) or config.model_type in ("bloom", "mpt"):
        return "alibi"
    if any("relative_attention_bias" in name or "rel_embeddings" in name for name in names):
        return "relative"
    if any("rotary" in name for name in names) or getattr(config, "rotary_dim", None):
        return "rotary"
    tables = [name for name, _ in model.named_parameters() if "position" in name]
    tables += [name for name, _ in model.named_buffers() if "pos_enc" in name]
    return "learned" if tables else "none"


def _positions_limit(config: Any) -> int | None:
    for name in ("max_position_embeddings", "max_source_positions"):
        if (limit := getattr(config, name, None)) is not None:
            return int(limit)
    return None


def _patches(model: PreTrainedModel, wiring: Wiring, seen: Observation) -> tuple[tuple[int, int] | None, int]:
    """Rows and columns of an image's patches, and how many tokens come before them."""
    name = VISION if VISION in wiring.stacks else MAIN if wiring.feed.main == "pixel_values" else None
    if name is None:
        return None, 0
    stack = wiring.stacks[name]
    config = config_of(model, stack.path)
    sizes = [
        (value, value) if isinstance(value, int) else tuple(value) for value in (config.image_size, config.patch_size)
    ]
    grid = (sizes[0][0] // sizes[1][0], sizes[0][1] // sizes[1][1])
    block = seen.of(stack.layers[0].block)[0]
    width = 0 if block.given is None else block.given.shape[1]
    return (grid, width - grid[0] * grid[1]) if width >= grid[0] * grid[1] else (None, 0)


class Described(Protocol):
    """What a summary tells of an opened model."""

    name: str
    info: ModelInfo
    proof: Proof
    hash: str
    tokenizer_hash: str
    tokenizer: Any
    source: str

    @property
    def warnings(self) -> tuple[str, ...]: ...


def summary_of(model: Described) -> dict[str, Any]:
    """Sizes, proof and provenance of an opened model as plain JSON values."""
    return {
        "name": model.name,
        "info": model.info.model_dump(mode="json"),
        "parity": {
            "exact": model.proof.exact,
            "error": model.proof.parity,
            "identity": model.proof.identity,
            "reference": "the unhooked model with eager attention",
        },
        "sites": site_rows(model.proof),
        "hash": model.hash,
        "tokenizer_hash": model.tokenizer_hash,
        "tokenizer": type(model.tokenizer).__name__ if model.tokenizer is not None else "none",
        "source": model.source,
        "attention": IMPLEMENTATION,
        "versions": versions(),
        "warnings": list(model.warnings),
    }


def site_rows(proof: Proof) -> list[dict[str, Any]]:
    """The proof as rows of plain JSON values, in the order of the vocabulary."""
    return [
        {
            "site": row.name,
            "stack": row.stack,
            "layers": None if row.layers is None else list(row.layers),
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
