"""PEFT adapters: a small set of weights that changes a base model, applied when it opens."""

from __future__ import annotations

import json
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hooks.checkpoint import ADAPTER_CONFIG, short
from hooks.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SAFE, PICKLE = "adapter_model.safetensors", "adapter_model.bin"


def adapter_files(folder: Path, name: str, *, allow_pickle: bool = False) -> tuple[Path, ...]:
    """The files of an adapter that change numbers: its config and its weights.

    Raises ModelError for a folder that is no adapter, and for pickled weights that are not allowed.
    """
    config, weights = folder / ADAPTER_CONFIG, folder / SAFE
    if not config.is_file():
        raise ModelError(
            f"'{name}' is not an adapter: there is no {ADAPTER_CONFIG} in it.", "Give a folder that PEFT saved."
        )
    if weights.is_file():
        return (config, weights)
    if not (folder / PICKLE).is_file():
        raise ModelError(f"the adapter '{name}' has no weights: there is no {SAFE} in it.", "Fetch it again.")
    if not allow_pickle:
        raise ModelError(
            f"the adapter '{name}' holds pickled weights ({PICKLE}), and opening a pickle can run any code that is in "
            "it.",
            "Save it again with PEFT, which writes safetensors; or --allow-pickle-weights-only.",
        )
    return (config, folder / PICKLE)


def apply_adapter(model: PreTrainedModel, folder: Path, name: str, *, merge: bool) -> PreTrainedModel:
    """The base model with the adapter on it, through PEFT; `model` itself is changed.

    merge: add the adapter's product to the weights, as PEFT's `merge_and_unload` does, so that the modules are the
    base's own. Without it (quantised weights, which cannot be added to) the adapter's layers stay inside the model.
    Raises ModelError: PEFT missing, an adapter of another model, or one that changes the prompt and not the weights.
    """
    if not find_spec("peft"):
        raise ModelError("adapters need PEFT, which is not installed.", "pip install 'mechanistic-workbench[peft]'")
    # Only who opens an adapter pays for the import.
    from peft import PeftConfig, PeftModel

    try:
        config = PeftConfig.from_pretrained(str(folder))
        if config.is_prompt_learning:
            raise ModelError(
                f"the adapter '{name}' is of the kind {config.peft_type.value}: it puts trained vectors before the "
                "prompt, and positions would no longer be the prompt's.",
                "Open an adapter that changes weights, such as LoRA.",
            )
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            adapted: Any = PeftModel.from_pretrained(model, str(folder), config=config)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, json.JSONDecodeError) as error:
        raise ModelError(
            f"the adapter '{name}' does not go onto this model: {short(error)}", "Is this the model it was trained on?"
        ) from error
    missing = [str(warning.message) for warning in said if "missing adapter keys" in str(warning.message)]
    if missing:
        raise ModelError(
            f"the adapter '{name}' lacks weights that its config promises: {missing[0][:200]}",
            "Is this the model it was trained on?",
        )
    whole: PreTrainedModel = adapted.merge_and_unload(safe_merge=True) if merge else adapted.get_base_model()
    return whole.eval()
