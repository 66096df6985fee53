"""A folder, a GGUF file or a hub name → a Hugging Face model in evaluation mode, its tokenizer, and hashes of both."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from hooks.adapters import adapter_files, apply_adapter
from hooks.checkpoint import Checkpoint, folder_checkpoint, gguf_checkpoint, read_model, short
from hooks.companion import companion_warning
from hooks.errors import ModelError
from hooks.hashing import hash_files, hash_state, hash_together, hash_tokenizer
from hooks.hub import snapshot
from hooks.pruning import masked

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Loaded", "from_memory", "hash_state", "hash_tokenizer", "load", "load_tokenizer", "pick_device"]

log = logging.getLogger(__name__)
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "*.model", "*.tiktoken")
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
PIXELS, AUDIO = ("pixel_values",), ("input_features", "input_values")
SPREAD = "auto-map"
"""The device that means: over all GPUs, each holding some of the layers."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """An opened model before it is instrumented. hash: of the weights; tokenizer_hash: of the tokenizer's definition.

    warnings: what a reader of this model's numbers must know about its weights. tokenizer: None where the model came
    without one. processor: the image processor or feature extractor of a model that takes pixels or sound, or None.
    in_float32: reads the same weights again, in float32; None where there are no files to read.
    """

    name: str
    model: PreTrainedModel
    tokenizer: Any
    hash: str
    tokenizer_hash: str
    source: str
    warnings: tuple[str, ...] = ()
    processor: Any = None
    in_float32: Callable[[], PreTrainedModel] | None = None


@dataclass(frozen=True)
class _Parts:
    """What is read to make a model: its checkpoint, and the adapter on it."""

    checkpoint: Checkpoint
    adapter: Path | None

    def model(self, dtype: torch.dtype | str, device: torch.device | None) -> tuple[PreTrainedModel, tuple[str, ...]]:
        """The model on `device` (None: over all GPUs), with what must be said of its weights."""
        quantised = bool(self.checkpoint.quantisation)
        place: Any = None
        if device is None:
            place = "auto"
        elif quantised:
            place = {"": device}
        model, notes = read_model(self.checkpoint, "auto" if quantised else dtype, place)
        if self.adapter is not None:
            model = apply_adapter(model, self.adapter, self.adapter.name, merge=not quantised)
        if place is None:
            cast(nn.Module, model).to(device)
        if quantised:
            notes = (*notes, f"{self.checkpoint.quantisation} weights are not the original model")
        return model, notes

    def in_float32(self) -> PreTrainedModel:
        """The same weights on the CPU in float32."""
        return self.model(torch.float32, torch.device("cpu"))[0]


def pick_device(device: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU. Raises ModelError for a device that is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
    except RuntimeError as error:
        raise ModelError(f"'{device}' is not a device.", f"Use auto, cpu, cuda or {SPREAD}.") from error
    if picked.type == "cuda" and not torch.cuda.is_available():
        raise ModelError("there is no CUDA device here.", "Use --device cpu or --device auto.")
    return picked


def _place(device: str) -> torch.device | None:
    """The one device, or None for all GPUs together. Raises ModelError where there are not several, or no accelerate.

    accelerate puts its own forward into each module and moves inputs inside it, so hooks on a module's edges see what
    the module is given and gives; they are attached after the model is spread.
    """
    if device != SPREAD:
        return pick_device(device)
    if torch.cuda.device_count() < 2:
        raise ModelError(
            f"{SPREAD} spreads a model over several GPUs, and there are {torch.cuda.device_count()} here.",
            "Use --device auto.",
        )
    if not find_spec("accelerate"):
        raise ModelError(f"{SPREAD} needs accelerate, which is not installed.", "pip install accelerate")
    return None


def load(
    source: str | Path,
    *,
    name: str = "",
    revision: str | None = None,
    adapter: Path | None = None,
    tokenizer: Path | None = None,
    device: str = "auto",
    dtype: torch.dtype | str = torch.float32,
    allow_pickle: bool = False,
    origin: str = "",
) -> Loaded:
    """Open a model with the class that its config names.

    adapter: the folder of a PEFT adapter to put on it. tokenizer: the folder of a tokenizer to use in place of the
    model's own. device: auto, cpu, cuda, cuda:1, auto-map. dtype: of the weights, "auto" for the stored one; quantised
    weights stay as they are. allow_pickle: read pickled weights with PyTorch's weights-only reader. origin: where the
    weights come from, in words; the path without it.
    Raises ModelError: no model there, damaged, pickled, gated, or a package that it needs is missing.
    """
    target = _place(device)
    where = Path(source).expanduser()
    if where.suffix == ".gguf":
        log.info("reading %s: dequantising takes about a second per 10 million parameters", where.name)
        checkpoint = gguf_checkpoint(where, name or where.stem)
    elif where.is_dir():
        checkpoint = folder_checkpoint(where, name or where.name, allow_pickle=allow_pickle)
    else:
        folder = _from_hub(str(source), revision, allow_pickle=allow_pickle)
        checkpoint = folder_checkpoint(folder, name or str(source), allow_pickle=allow_pickle)
        origin = origin or f"hub {source}@{revision or 'main'}"
    return _finish(
        _Parts(checkpoint, adapter), target, dtype, tokenizer, origin or str(where), allow_pickle=allow_pickle
    )


def _finish(
    parts: _Parts,
    target: torch.device | None,
    dtype: torch.dtype | str,
    companion: Path | None,
    origin: str,
    *,
    allow_pickle: bool,
) -> Loaded:
    checkpoint, weights = parts.checkpoint, hash_files(parts.checkpoint.files)
    if parts.adapter is not None:
        changing = adapter_files(parts.adapter, parts.adapter.name, allow_pickle=allow_pickle)
        weights = hash_together(weights, hash_files(changing))
        origin = f"{origin} + adapter {parts.adapter.name}, {'beside' if checkpoint.quantisation else 'merged'}"
    model, notes = parts.model(dtype, target)
    tokenizer, remarks = _tokenizers(checkpoint, companion)
    processor = _processor(model, checkpoint.folder)
    again = None if checkpoint.quantisation else parts.in_float32
    hashes = (weights, hash_tokenizer(tokenizer))
    return Loaded(checkpoint.name, model, tokenizer, *hashes, origin, (*notes, *remarks), processor, again)


def _tokenizers(checkpoint: Checkpoint, companion: Path | None) -> tuple[Any, tuple[str, ...]]:
    """The tokenizer to use, and the warning where the model's own disagrees with the companion."""
    if companion is None:
        return _tokenizer(checkpoint.folder, checkpoint.name, checkpoint.gguf), ()
    tokenizer = load_tokenizer(companion)
    if tokenizer is None:
        raise ModelError(f"there is no tokenizer in '{companion}'.", "Give the folder of the original model.")
    try:
        own = _tokenizer(checkpoint.folder, checkpoint.name, checkpoint.gguf)
    except ModelError as error:
        return tokenizer, (error.message,)
    return tokenizer, companion_warning(own, tokenizer)


def _from_hub(hub: str, revision: str | None, *, allow_pickle: bool) -> Path:
    looks_like_path = hub.startswith(("/", ".", "~")) or hub.count("/") > 1 or ".." in hub or "\\" in hub
    if looks_like_path:
        raise ModelError(f"there is no model at '{hub}'.", "Give an alias, a folder, a .gguf file or a hub name.")
    return snapshot(hub, revision, allow_pickle=allow_pickle)


def from_memory(model: nn.Module, tokenizer: Any = None, *, name: str = "in memory") -> Loaded:
    """A model that is already loaded, as it is: with its mode and device, its masks and its adapters.

    PEFT's wrapper is opened as the model inside it, whose adapters stay active. Raises ModelError for any other module.
    """
    from transformers import PreTrainedModel

    unwrap = getattr(model, "get_base_model", None)
    inner = unwrap() if callable(unwrap) else model
    if not isinstance(inner, PreTrainedModel):
        raise ModelError(f"a {type(model).__name__} is not a model of transformers.", "Give a PreTrainedModel.")
    note = masked(inner)
    weights, words = hash_state(inner.state_dict().items()), (note,) if note else ()
    return Loaded(name, inner, tokenizer, weights, hash_tokenizer(tokenizer), "in memory", words)


def load_tokenizer(folder: str | Path) -> Any:
    """The tokenizer of a model folder, without its weights; None where the folder has none. Raises ModelError."""
    return _tokenizer(Path(folder), Path(folder).name)


def _tokenizer(folder: Path, name: str, gguf: str = "") -> Any:
    if not gguf and not _has_any(folder, TOKENIZER_FILES):
        return None
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, gguf_file=gguf or None)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(
            f"the tokenizer of {name} cannot be read: {short(error)}", "Give another with --tokenizer FOLDER."
        ) from error


def _has_any(folder: Path, patterns: Iterable[str]) -> bool:
    return any(True for pattern in patterns for _ in folder.glob(pattern))


def _processor(model: PreTrainedModel, folder: Path) -> Any:
    """What turns an image or a sound into this model's input; None for a model of text, and where no file says."""
    takes = inspect.signature(model.forward).parameters
    return load_processor(folder, next((name for name in (*PIXELS, *AUDIO) if name in takes), None))


def load_processor(folder: Path, name: str | None) -> Any:
    """What makes the input called `name` of an image or a sound, as the folder's files say; None where none does.

    Raises ModelError for files that cannot be read.
    """
    if name is None or not _has_any(folder, PROCESSOR_FILES):
        return None
    from transformers import AutoFeatureExtractor, AutoImageProcessor

    kind: Any = AutoImageProcessor if name in PIXELS else AutoFeatureExtractor
    try:
        return kind.from_pretrained(folder)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(f"the image or sound processor of {folder.name} cannot be read: {short(error)}") from error
