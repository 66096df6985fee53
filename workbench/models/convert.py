"""Convert a GGUF file, once, into a safetensors folder that opens quickly."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError

from hooks.errors import ModelError, StoreError
from hooks.spec import Spec
from workbench.models.fetch import Step, file_hash, need_space

RECORD = "workbench.json"
UNQUANTISED = ("ALL_F32", "MOSTLY_F16", "MOSTLY_BF16")
# One GGUF weight of 4 to 5 bits becomes 32; a safetensors copy beside its temporary one never exists.
GROWTH = 7


class Record(Spec):
    """What `workbench.json` in a converted folder says of where the weights come from."""

    version: int = 1
    name: str
    source: str
    sha256: str
    quantisation: str = ""
    licence: str = ""
    warning: str = ""


def read_record(folder: Path) -> Record | None:
    """The record in a model folder, or None where the workbench did not make the folder."""
    path = folder / RECORD
    return Record.model_validate(json.loads(path.read_text("utf-8"))) if path.is_file() else None


def write_record(folder: Path, record: Record) -> None:
    """Write `workbench.json` into the folder."""
    (folder / RECORD).write_text(json.dumps(record.model_dump(), indent=1) + "\n", "utf-8")


def converted_folder(models: Path, filename: str, sha256: str) -> Path:
    """Where the conversion of a GGUF lives: by content, with the file's name in front for people."""
    slug = re.sub(r"[^\w.-]+", "-", Path(filename).stem)[:60].strip(".-") or "model"
    return models / f"{slug}-{sha256[:16]}"


def describe_gguf(path: Path, *, name: str, source: str, licence: str = "") -> Record:
    """The record of a sound GGUF file: its hash, its quantisation, the warning that goes with it. Raises ModelError."""
    kind = check_gguf(path)
    warning = "" if kind in UNQUANTISED else f"{kind} weights are not the original model"
    digest = file_hash(path)
    return Record(name=name, source=source, sha256=digest, quantisation=kind, licence=licence, warning=warning)


def convert(path: Path, folder: Path, record: Record, step: Step) -> None:
    """Make `folder`, in float32 safetensors, out of a GGUF file; written aside and renamed. Hold its lock.

    Raises ModelError for an architecture that transformers cannot read from GGUF, StoreError when the disk is full.
    """
    need_space(folder.parent, path.stat().st_size * GROWTH / 1e6)
    step(f"converting {path.name} to safetensors, once; this takes about half a minute")
    aside = folder.with_name(folder.name + ".part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        model, tokenizer = _load(path)
        _clear_quantisation(model)
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        write_record(aside, record)
        os.replace(aside, folder)
    except (OSError, SafetensorError) as error:
        hint = "Free some space, or set WORKBENCH_CACHE to another folder."
        raise StoreError(f"{folder} could not be written: {error}", hint) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _load(path: Path) -> tuple[Any, Any]:
    """Model and tokenizer out of a GGUF file. Raises ModelError."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    except (ValueError, KeyError, IndexError, NotImplementedError) as error:
        raise ModelError(
            f"{path.name} cannot be read as a language model: {str(error).splitlines()[0][:200]}",
            "The architecture may be one that transformers does not read from GGUF; use its safetensors folder.",
        ) from error
    return model, tokenizer


def _clear_quantisation(model: Any) -> None:
    """Mark a model that came from GGUF as plain.

    transformers 5.24 refuses to save it ("quantized with gguf"), although the weights are ordinary float32 by now.
    """
    model.is_quantized = False
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config


def check_gguf(path: Path) -> str:
    """The quantisation of a sound GGUF file, such as "Q4_1". Raises ModelError for a damaged or foreign file."""
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelError(f"{path.name} is not a GGUF file: its first bytes are wrong.", "Fetch the file again.")
    try:
        reader = gguf.GGUFReader(path)
        kind = reader.fields["general.file_type"].contents() if "general.file_type" in reader.fields else None
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        message = f"{path.name} is damaged: it ends early or its header is wrong."
        raise ModelError(message, "Fetch the file again.") from error
    if kind not in set(gguf.LlamaFileType):
        return "quantised"
    name = gguf.LlamaFileType(kind).name
    return name if name in UNQUANTISED else name.removeprefix("MOSTLY_")


@contextmanager
def locked(folder: Path, step: Step) -> Iterator[None]:
    """Hold the lock for making `folder`; says so when another process is making it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{folder}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        step("waiting for another process that is preparing the same model")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
