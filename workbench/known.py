"""What is known of models without opening them: the summary of one that was opened before, and its tokenizer.

`WORKSPACE/models/<digest>.json` holds a summary with the identity of the folder that it describes: names, sizes and
times of its files, and the versions of the libraries. When any of these differ it counts as unknown.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from hooks.describe import versions
from hooks.errors import ModelError
from hooks.info import ModelInfo
from hooks.inputs import encode_inputs
from hooks.loading import load_processor, load_tokenizer
from hooks.prompts import PromptSet
from hooks.reference import ModelRef
from hooks.spec import digest
from hooks.tokens import TokenBatch, encode
from workbench import __version__
from workbench.cache.write import replacing
from workbench.images import Images
from workbench.models import ResolvedModel, resolve
from workbench.settings import Settings

Answer = TypeVar("Answer")
IMAGES = "images"
DESCRIBING = (".json", ".safetensors", ".bin", ".txt", ".model", ".jinja", ".tiktoken")


@cache
def _versions() -> dict[str, str]:
    """Versions of the libraries and of the workbench; they do not change while a process lives."""
    return versions() | {"workbench": __version__}


def folder_identity(*folders: Path) -> dict[str, Any]:
    """What folders look like from outside: name, bytes and time of each file that matters, library versions.

    Raises FileNotFoundError for a folder that is gone.
    """
    files = [path for folder in folders for path in sorted(folder.iterdir()) if _matters(path)]
    stats = [(path.name, path.stat()) for path in files]
    return {
        "files": [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats],
        "versions": _versions(),
    }


def _matters(path: Path) -> bool:
    return path.suffix in DESCRIBING and path.is_file()


class KnownModels:
    """Summaries of the models that were opened, and tokenizers, for a process that opens none."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.workspace_dir / "models"
        self._images = Images(settings.workspace_dir / IMAGES)
        self._lock = threading.Lock()
        self._loaded: dict[tuple[Path, str], tuple[dict[str, Any], Any]] = {}

    def _path(self, ref: ModelRef) -> Path:
        return self._folder / f"{digest([str(ref), self._settings.device])}.json"

    def save(self, ref: ModelRef, found: ResolvedModel, summary: dict[str, Any]) -> None:
        """Remember the summary of a model that was just opened from the folders in `found`. Raises StoreError."""
        record = {
            "model": str(ref),
            "folders": [str(folder) for folder in found.folders],
            "tokenizer": str(found.tokenizer or found.folder),
            "identity": folder_identity(*found.folders),
            "summary": summary,
        }
        with replacing(self._path(ref)) as part:
            part.write_text(json.dumps(record), "utf-8")

    def summary(self, ref: ModelRef) -> dict[str, Any] | None:
        """The summary, or None when the model was never opened or is not the same any more."""
        record = self._record(ref)
        return None if record is None else record["summary"]

    def _record(self, ref: ModelRef) -> dict[str, Any] | None:
        try:
            record: dict[str, Any] = json.loads(self._path(ref).read_text("utf-8"))
            valid = record["identity"] == folder_identity(*map(Path, record["folders"]))
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError):
            return None
        return record if valid else None

    def tokens(self, ref: ModelRef, inputs: PromptSet) -> TokenBatch:
        """The prompts as the model will get them, without the model.

        Raises InputError for the prompts, ModelError for a model that is unknown or not here yet.
        """
        record, inputs = self._record(ref), self._images.located(inputs)
        folder = Path(record["tokenizer"]) if record else self._found(ref)
        info = ModelInfo.model_validate(record["summary"]["info"]) if record else None
        with self._lock:
            if info is None:
                return encode(self._tokenizer(folder), inputs)
            processor = self._processor(Path(record["folders"][0]), info.source_input) if record else None
            return encode_inputs(self._tokenizer(folder), processor, info, inputs)

    def ask_tokenizer(self, ref: ModelRef, question: Callable[[Any, Path], Answer]) -> Answer:
        """What `question(tokenizer, folder)` gives, while nobody else encodes. Raises ModelError, also without one."""
        record = self._record(ref)
        folder = Path(record["tokenizer"]) if record else self._found(ref)
        with self._lock:
            tokenizer = self._tokenizer(folder)
            if tokenizer is None:
                raise no_tokenizer(ref)
            return question(tokenizer, folder)

    def _found(self, ref: ModelRef) -> Path:
        """The folder with the tokenizer of a model that was never opened."""
        found = resolve(ref, self._settings, _not_here(ref))
        return found.tokenizer or found.folder

    def _tokenizer(self, folder: Path) -> Any:
        return self._current(folder, "", lambda: load_tokenizer(folder))

    def _processor(self, folder: Path, name: str | None) -> Any:
        return None if name is None else self._current(folder, name, lambda: load_processor(folder, name))

    def _current(self, folder: Path, name: str, load: Callable[[], Any]) -> Any:
        """What a folder holds, loaded again when it has changed. Hold the lock: encoding is not reentrant."""
        identity = folder_identity(folder)
        kept = self._loaded.get((folder, name))
        if kept is None or kept[0] != identity:
            self._loaded[folder, name] = kept = (identity, load())
        return kept[1]


def no_tokenizer(ref: ModelRef) -> ModelError:
    """The refusal of a question about the tokenizer of a model that has none."""
    return ModelError(f"{ref} came without a tokenizer.", "Name a folder that has one, as MODEL?tokenizer=FOLDER.")


def _not_here(ref: ModelRef) -> Any:
    def refuse(sentence: str) -> None:
        raise ModelError(f"{ref} is not on this machine yet.", "Open it first: that fetches it.", step=sentence)

    return refuse
