"""A folder, a GGUF file or a hub name → a Hugging Face model in evaluation mode, its tokenizer, and hashes of both."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from hooks.errors import ModelError
from hooks.spec import canonical_json

log = logging.getLogger(__name__)
PICKLED = (".bin", ".pt", ".pth", ".ckpt")
DECODER_WORDS = ("CausalLM", "LMHead")
HASH_CHUNK = 1 << 24


@dataclass(frozen=True, eq=False)
class Loaded:
    """An opened model before it is instrumented. hash: of the weights; tokenizer_hash: of the tokenizer's definition.

    warnings: what a reader of this model's numbers must know about its weights.
    """

    name: str
    model: PreTrainedModel
    tokenizer: Any
    hash: str
    tokenizer_hash: str
    source: str
    warnings: tuple[str, ...] = ()


def pick_device(device: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU. Raises ModelError for a device that is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
    except RuntimeError as error:
        raise ModelError(f"'{device}' is not a device.", "Use auto, cpu or cuda.") from error
    if picked.type == "cuda" and not torch.cuda.is_available():
        raise ModelError("there is no CUDA device here.", "Use --device cpu or --device auto.")
    return picked


def load(
    source: str | Path,
    *,
    name: str = "",
    revision: str | None = None,
    device: str = "auto",
    dtype: torch.dtype = torch.float32,
) -> Loaded:
    """Open a model. Raises ModelError with what is wrong: no model there, damaged, pickled, or not a decoder."""
    where = Path(source).expanduser()
    target = pick_device(device)
    if where.is_dir():
        return _load_folder(where, name or where.name, target, dtype)
    if where.suffix == ".gguf":
        return _load_gguf(where, name or where.stem, target, dtype)
    return _load_hub(str(source), name or str(source), revision, target, dtype)


def load_tokenizer(folder: str | Path) -> Any:
    """The tokenizer of a model folder, without its weights. Raises ModelError."""
    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{Path(folder).name} has no tokenizer that can be read: {_short(error)}", "Prompts need one."
        ) from error


def _load_folder(folder: Path, name: str, device: torch.device, dtype: torch.dtype) -> Loaded:
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"'{folder}' is not a model: it has no config.json.", "Give a folder saved by save_pretrained."
        )
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickled = [path.name for path in sorted(folder.iterdir()) if path.suffix in PICKLED]
        reason = (
            f"its weights are pickled ({pickled[0]}), and unpickling runs code" if pickled else "it holds no weights"
        )
        raise ModelError(
            f"'{folder.name}' cannot be opened: {reason}.", "Convert it to safetensors with save_pretrained."
        )
    _require_decoder(_config(folder))
    model = _from_pretrained(folder, name, dtype=dtype, use_safetensors=True)
    return _finish(name, model, load_tokenizer(folder), device, hash_files(weights), str(folder))


def _load_gguf(path: Path, name: str, device: torch.device, dtype: torch.dtype) -> Loaded:
    if not path.is_file():
        raise ModelError(f"there is no file '{path}'.", "Check the path.")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelError(
                f"'{path.name}' is not a GGUF file: its first bytes are wrong.", "The file is damaged or foreign."
            )
    log.info("reading %s: dequantising takes about a second per 10 million parameters", path.name)
    model = _from_pretrained(path.parent, name, dtype=dtype, gguf_file=path.name)
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    return _finish(name, model, tokenizer, device, hash_files([path]), str(path))


def _load_hub(hub: str, name: str, revision: str | None, device: torch.device, dtype: torch.dtype) -> Loaded:
    looks_like_path = hub.startswith(("/", ".", "~")) or hub.count("/") > 1 or ".." in hub or "\\" in hub
    if looks_like_path:
        raise ModelError(f"there is no model at '{hub}'.", "Give an alias, a folder, a .gguf file or a hub name.")
    try:
        config = AutoConfig.from_pretrained(hub, revision=revision, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(hub, revision=revision, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"no model is called '{hub}': it is no alias and no folder, and the hub did not give it.",
            "`workbench models` lists the aliases; a hub name needs a network.",
        ) from error
    _require_decoder(config)
    model = _from_pretrained(hub, name, dtype=dtype, revision=revision, use_safetensors=True)
    return _finish(
        name, model, tokenizer, device, hash_state(model.state_dict().items()), f"hub {hub}@{revision or 'main'}"
    )


def _config(folder: Path) -> Any:
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"the config of '{folder.name}' cannot be read: {_short(error)}", "Is it a model folder?"
        ) from error


def _require_decoder(config: Any) -> None:
    named = config.architectures or []
    if config.is_encoder_decoder or (named and not any(word in name for name in named for word in DECODER_WORDS)):
        raise ModelError(
            f"{', '.join(named) or config.model_type} is not a decoder language model.",
            "This version opens decoders only.",
        )


def _from_pretrained(where: str | Path, name: str, **options: Any) -> PreTrainedModel:
    try:
        model = AutoModelForCausalLM.from_pretrained(
            where, attn_implementation="eager", trust_remote_code=False, **options
        )
    except (OSError, ValueError, KeyError, RuntimeError, EOFError, IndexError) as error:
        raise ModelError(
            f"'{name}' cannot be opened: {_short(error)}", "The files are damaged or of an unknown kind."
        ) from error
    except Exception as error:
        # safetensors and gguf raise their own classes, which share no base but Exception.
        if type(error).__module__.split(".")[0] not in ("safetensors", "safetensors_rust", "gguf", "builtins"):
            raise
        raise ModelError(f"'{name}' cannot be opened: {_short(error)}", "The files are damaged.") from error
    return model.eval()


def _finish(
    name: str, model: PreTrainedModel, tokenizer: Any, device: torch.device, weights: str, source: str
) -> Loaded:
    cast(nn.Module, model).to(device)
    return Loaded(name, model, tokenizer, weights, hash_tokenizer(tokenizer), source)


def _short(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__)[:200]


def hash_files(paths: Iterable[Path]) -> str:
    """SHA-256 over the names and contents of weight files."""
    total = hashlib.sha256()
    for path in paths:
        total.update(path.name.encode())
        with path.open("rb") as file:
            while block := file.read(HASH_CHUNK):
                total.update(block)
    return total.hexdigest()


def hash_state(items: Iterable[tuple[str, torch.Tensor]]) -> str:
    """SHA-256 over the names, types and values of a model's tensors."""
    total = hashlib.sha256()
    for key, tensor in sorted(items, key=lambda item: item[0]):
        total.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


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
