"""The files of a model: which of them hold its weights, which class reads them, what is refused and why."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch

from hooks.errors import ModelError
from hooks.pruning import folded, is_pruned

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SAFE, PICKLE = "model.safetensors", "pytorch_model.bin"
PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
ADAPTER_CONFIG = "adapter_config.json"
BITSANDBYTES = "bitsandbytes"
PACKAGES = {
    BITSANDBYTES: "bitsandbytes",
    "gptq": "optimum gptqmodel",
    "awq": "gptqmodel",
    "compressed-tensors": "compressed-tensors",
    "torchao": "torchao",
    "hqq": "hqq",
    "quanto": "optimum-quanto",
    "aqlm": "aqlm",
    "eetq": "kernels",
    "mxfp4": "triton kernels",
    "quark": "amd-quark",
    "vptq": "vptq",
    "spqr": "spqr_quant",
    "auto-round": "auto-round",
    "bitnet": "accelerate",
    "fp8": "accelerate",
}
"""What each method of quantisation needs installed (transformers' quantizers, version 5)."""
LISTED = 3


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model on disk, not read yet. files: what holds its weights. gguf: the file's name where it is one."""

    name: str
    folder: Path
    files: tuple[Path, ...]
    config: Any
    gguf: str = ""

    @property
    def quantisation(self) -> str:
        """The method by which the stored weights are quantised, such as "bitsandbytes"; empty where they are not."""
        settings = getattr(self.config, "quantization_config", None)
        if not settings or self.gguf:
            return ""
        given: dict[str, Any] = settings if isinstance(settings, dict) else settings.to_dict()
        method = given.get("quant_method") or BITSANDBYTES  # Its early checkpoints only say load_in_8bit.
        return str(getattr(method, "value", method))


def folder_checkpoint(folder: Path, name: str, *, allow_pickle: bool = False) -> Checkpoint:
    """The checkpoint that `save_pretrained` wrote. Raises ModelError for a folder that is not a model or is damaged."""
    files = weight_files(folder, name, allow_pickle=allow_pickle)
    return Checkpoint(name, folder, files, read_config(folder, name))


def gguf_checkpoint(path: Path, name: str) -> Checkpoint:
    """The checkpoint in a GGUF file. Raises ModelError for a file that is missing, damaged or of another kind."""
    if not path.is_file():
        raise ModelError(f"there is no file '{path}'.", "Check the path.")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelError(
                f"'{path.name}' is not a GGUF file: its first bytes are wrong.", "The file is damaged or foreign."
            )
    return Checkpoint(name, path.parent, (path,), read_config(path.parent, name, gguf_file=path.name), path.name)


def weight_files(folder: Path, name: str, *, allow_pickle: bool = False) -> tuple[Path, ...]:
    """The files of a model folder that hold its weights: one file, or the shards of an index.

    Raises ModelError: no config, an adapter, missing shards, no weights, or pickled weights that are not allowed.
    """
    if not (folder / "config.json").is_file():
        if (folder / ADAPTER_CONFIG).is_file():
            raise ModelError(f"{name} is an adapter, not a model.", f"Open it on its base: BASE+{name}")
        raise ModelError(f"{name} is not a model: it has no config.json.", "Give a folder saved by save_pretrained.")
    for kind in (SAFE, PICKLE) if allow_pickle else (SAFE,):
        if (folder / kind).is_file():
            return (folder / kind,)
        if (folder / f"{kind}.index.json").is_file():
            return _shards(folder, f"{kind}.index.json", name)
    raise _no_weights(folder, name)


def _shards(folder: Path, index: str, name: str) -> tuple[Path, ...]:
    try:
        listed = sorted(set(json.loads((folder / index).read_text("utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise ModelError(f"{name} is damaged: {index} is not an index of weights.", "Fetch it again.") from error
    shards = [folder / shard for shard in listed]
    missing = [shard.name for shard in shards if shard.parent != folder or not shard.is_file()]
    if missing:
        raise ModelError(
            f"{name} is incomplete: {len(missing)} of its {len(shards)} weight files are missing ({missing[0]}).",
            "Fetch it again.",
        )
    return tuple(shards)


def _no_weights(folder: Path, name: str) -> ModelError:
    held = sorted(path.name for path in folder.iterdir() if path.is_file())
    pickles = [file for file in held if file.endswith(PICKLED)]
    if pickles:
        return pickled(f"{name} ({pickles[0]})")
    foreign = [file for file in held if file.endswith(".safetensors")]
    if foreign:
        return ModelError(
            f"{name} has no {SAFE}; {foreign[0]} is not a name that transformers reads.",
            f"Rename it to {SAFE} if it holds the model's weights.",
        )
    return ModelError(f"{name} has no weights: there is no .safetensors file in it.", "Fetch the model again.")


def pickled(name: str) -> ModelError:
    """The refusal of pickled weights, with the reason and the ways out."""
    return ModelError(
        f"{name} holds pickled weights, and opening a pickle can run any code that is inside it.",
        "Convert them to safetensors (`save_pretrained` writes it) and open that folder; or let PyTorch's weights-only "
        "reader open them: --allow-pickle-weights-only.",
    )


def read_config(folder: Path, name: str, **options: Any) -> Any:
    """The model's config. Raises ModelError where it cannot be read."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, **options)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"the config of {name} cannot be read: {short(error)}", "Is it a model folder?") from error


def model_class(config: Any) -> Any:
    """The class that `config.architectures` names first, else the causal language model of its type, else the bare one.

    Only classes that transformers itself ships count: code that a folder brings is never run.
    """
    import transformers
    from transformers import AutoModel, AutoModelForCausalLM, PreTrainedModel

    named = getattr(transformers, (config.architectures or [""])[0], None)
    if isinstance(named, type) and issubclass(named, PreTrainedModel) and named is not PreTrainedModel:
        return named
    return AutoModelForCausalLM if type(config) in AutoModelForCausalLM._model_mapping else AutoModel


def read_model(
    checkpoint: Checkpoint, dtype: torch.dtype | str, device_map: str | dict[str, torch.device] | None = None
) -> tuple[PreTrainedModel, tuple[str, ...]]:
    """The model with eager attention, in evaluation mode, and what a reader of its numbers must know of its weights.

    dtype: of the weights, "auto" for the stored one; quantised weights stay as they are. Raises ModelError.
    """
    import transformers
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

    method = checkpoint.quantisation
    if method and method not in AUTO_QUANTIZATION_CONFIG_MAPPING and method != BITSANDBYTES:
        # transformers would skip it with a log line and read the packed weights as they are.
        raise ModelError(
            f"the weights of '{checkpoint.name}' are quantised by '{method}', which transformers "
            f"{transformers.__version__} does not read.",
            f"It reads {', '.join(PACKAGES)} and others.",
        )
    where: Path | None = checkpoint.folder
    options: dict[str, Any] = {"dtype": dtype, "device_map": device_map, "attn_implementation": "eager"}
    notes: tuple[str, ...] = ()
    if checkpoint.gguf:
        options["gguf_file"] = checkpoint.gguf
    elif is_pruned(checkpoint.files):
        options["state_dict"], note = folded(checkpoint.files)
        options["config"], where, notes = checkpoint.config, None, (note,)
    else:
        options["use_safetensors"] = all(file.suffix == ".safetensors" for file in checkpoint.files)
    model, report = _read(checkpoint, where, options)
    return model.eval(), (*notes, *_random_weights(report))


def _read(checkpoint: Checkpoint, where: Path | None, options: dict[str, Any]) -> tuple[PreTrainedModel, Any]:
    name, kind = checkpoint.name, model_class(checkpoint.config)
    try:
        model, report = kind.from_pretrained(where, output_loading_info=True, **options)
    except (UnpicklingError, EOFError) as error:
        hint = "The file is damaged, or holds more than weights; do not trust it."
        raise ModelError(f"'{name}' cannot be opened: {short(error)}", hint) from error
    except ImportError as error:
        raise _missing_package(checkpoint, error) from error
    except (OSError, ValueError, KeyError, RuntimeError, IndexError) as error:
        hint = "The files are damaged or of an unknown kind."
        if checkpoint.quantisation:
            hint = f"Its weights are quantised by {checkpoint.quantisation}; that may need another device or package."
        raise ModelError(f"'{name}' cannot be opened: {short(error)}", hint) from error
    except Exception as error:
        # safetensors and gguf raise their own classes, which share no base but Exception.
        if type(error).__module__.split(".")[0] not in ("safetensors", "safetensors_rust", "gguf", "builtins"):
            raise
        raise ModelError(f"'{name}' cannot be opened: {short(error)}", "The files are damaged.") from error
    return model, report


def _missing_package(checkpoint: Checkpoint, error: ImportError) -> ModelError:
    method = checkpoint.quantisation
    if not method:
        return ModelError(f"'{checkpoint.name}' needs a package that is not here: {short(error)}", "Install it.")
    packages = PACKAGES.get(method, method)
    return ModelError(
        f"the weights of '{checkpoint.name}' are quantised by {method}, and what reads them is not installed: "
        f"{short(error)}",
        f"pip install {packages}",
    )


def _random_weights(report: Any) -> tuple[str, ...]:
    """The warning for weights that the checkpoint lacks: transformers fills them with random numbers."""
    missing = sorted(report["missing_keys"])
    if not missing:
        return ()
    more = f" and {len(missing) - LISTED} more" if len(missing) > LISTED else ""
    return (f"not in the checkpoint, so random: {', '.join(missing[:LISTED])}{more}",)


def short(error: Exception) -> str:
    """The first line of what a library said, at most 200 characters."""
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__)[:200]
