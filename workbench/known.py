"""What is known of models without opening them: the summary of one that was opened before, and its tokenizer.

`WORKSPACE/models/<digest>.json` holds a summary with the identity of the folder that it describes: names, sizes and
times of its files, and the versions of the libraries. When any of these differ it counts as unknown.
"""

from __future__ import annotations

import json
import threading
from functools import cache
from pathlib import Path
from typing import Any

from hooks.describe import versions
from hooks.errors import ModelError
from hooks.info import ModelInfo
from hooks.loading import load_tokenizer
from hooks.prompts import PromptSet
from hooks.reference import ModelRef
from hooks.spec import digest
from hooks.tokens import TokenBatch, encode
from workbench import __version__
from workbench.cache.write import replacing
from workbench.models import resolve
from workbench.settings import Settings

DESCRIBING = (".json", ".safetensors", ".txt", ".model", ".jinja")


@cache
def _versions() -> dict[str, str]:
    """Versions of the libraries and of the workbench; they do not change while a process lives."""
    return versions() | {"workbench": __version__}


def folder_identity(folder: Path) -> dict[str, Any]:
    """What a model folder looks like from outside: name, bytes and time of each file that matters, library versions."""
    files = sorted(path for path in folder.iterdir() if path.suffix in DESCRIBING and path.is_file())
    stats = [(path.name, path.stat()) for path in files]
    return {
        "files": [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats],
        "versions": _versions(),
    }


class KnownModels:
    """Summaries of the models that were opened, and tokenizers, for a process that opens none."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.workspace_dir / "models"
        self._lock = threading.Lock()
        self._tokenizers: dict[Path, tuple[dict[str, Any], Any]] = {}

    def _path(self, ref: ModelRef) -> Path:
        return self._folder / f"{digest([str(ref), self._settings.device])}.json"

    def save(self, ref: ModelRef, folder: Path, summary: dict[str, Any]) -> None:
        """Remember the summary of a model that was just opened from `folder`. Raises StoreError."""
        record = {"model": str(ref), "folder": str(folder), "identity": folder_identity(folder), "summary": summary}
        with replacing(self._path(ref)) as part:
            part.write_text(json.dumps(record), "utf-8")

    def summary(self, ref: ModelRef) -> dict[str, Any] | None:
        """The summary, or None when the model was never opened or is not the same any more."""
        record = self._record(ref)
        return None if record is None else record["summary"]

    def _record(self, ref: ModelRef) -> dict[str, Any] | None:
        try:
            record: dict[str, Any] = json.loads(self._path(ref).read_text("utf-8"))
            valid = record["identity"] == folder_identity(Path(record["folder"]))
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError):
            return None
        return record if valid else None

    def tokens(self, ref: ModelRef, inputs: PromptSet) -> TokenBatch:
        """The prompts as the model will get them, without the model.

        Raises InputError for the prompts, ModelError for a model that is unknown or not here yet.
        """
        record = self._record(ref)
        folder = Path(record["folder"]) if record else resolve(ref, self._settings, _not_here(ref)).folder
        info = ModelInfo.model_validate(record["summary"]["info"]) if record else None
        limits: dict[str, int | None] = {}
        if info is not None:
            limits = {
                "n_ctx": info.n_ctx if info.positions == "learned" else None,
                "n_embed": info.d_vocab,
                "trained": info.n_ctx,
            }
        with self._lock:
            return encode(self._tokenizer(folder), inputs, **limits)

    def _tokenizer(self, folder: Path) -> Any:
        """The tokenizer of a folder, loaded again when that has changed. Hold the lock: encoding is not reentrant."""
        identity = folder_identity(folder)
        kept = self._tokenizers.get(folder)
        if kept is None or kept[0] != identity:
            self._tokenizers[folder] = kept = (identity, load_tokenizer(folder))
        return kept[1]


def _not_here(ref: ModelRef) -> Any:
    def refuse(sentence: str) -> None:
        raise ModelError(f"{ref} is not on this machine yet.", "Open it first: that fetches it.", step=sentence)

    return refuse
