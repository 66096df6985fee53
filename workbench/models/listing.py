"""What models there are: the aliases, the folders that were converted from files, what was fetched from the hub."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import CachedFileInfo, constants, scan_cache_dir
from huggingface_hub.errors import CacheNotFound

from hooks.spec import Spec
from workbench.models.aliases import ALIASES
from workbench.models.convert import read_record
from workbench.models.resolve import alias_folder, models_folder
from workbench.settings import Settings


class ModelEntry(Spec):
    """One line of `workbench models`. bytes: on disk where installed, else what would be fetched."""

    name: str
    about: str
    source: str
    licence: str
    installed: bool
    bytes: int
    folder: str = ""
    warning: str = ""


def list_models(settings: Settings) -> list[ModelEntry]:
    """The aliases in order, then converted folders that belong to none of them, then the hub's models that are here."""
    entries = [_alias_entry(name, settings) for name in ALIASES]
    listed = {entry.folder for entry in entries}
    for folder in sorted(models_folder(settings).glob("*/")):
        record = read_record(folder)
        if record is not None and str(folder) not in listed:
            entries.append(
                ModelEntry(
                    name=record.name,
                    about=f"converted from {record.source}",
                    source=record.source,
                    licence=record.licence,
                    installed=True,
                    bytes=folder_bytes(folder),
                    folder=str(folder),
                    warning=record.warning,
                )
            )
    return [*entries, *_hub_entries()]


def _hub_entries() -> list[ModelEntry]:
    """The models in the local copy of the hub."""
    try:
        repositories = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except CacheNotFound:
        return []
    return [
        ModelEntry(
            name=repo.repo_id,
            about="fetched from the hub",
            source=f"hub {repo.repo_id}",
            licence="see the hub",
            installed=True,
            bytes=repo.size_on_disk,
            folder=str(repo.repo_path),
        )
        for repo in sorted(repositories, key=lambda repo: repo.repo_id)
        if repo.repo_type == "model" and any(_is_model(revision.files) for revision in repo.revisions)
    ]


def _is_model(files: Iterable[CachedFileInfo]) -> bool:
    names = {file.file_name for file in files}
    return "config.json" in names and any(name.endswith(".safetensors") for name in names)


def _alias_entry(name: str, settings: Settings) -> ModelEntry:
    alias = ALIASES[name]
    folder = alias_folder(alias, settings)
    installed = folder.is_dir()
    record = read_record(folder) if installed else None
    return ModelEntry(
        name=name,
        about=alias.about,
        source=alias.source,
        licence=alias.licence,
        installed=installed,
        bytes=folder_bytes(folder) if installed else alias.megabytes * 1_000_000,
        folder=str(folder) if installed else "",
        warning=record.warning if record else "",
    )


def folder_bytes(folder: Path) -> int:
    """The bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
