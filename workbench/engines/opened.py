"""The models that an engine keeps open: the least recently used one goes when there are too many."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hooks.model import Instrumented
from hooks.reference import ModelRef
from workbench.known import KnownModels, folder_identity
from workbench.models import open_resolved, resolve
from workbench.settings import Settings

log = logging.getLogger(__name__)
MOST_OPEN = 2
BYTES_PER_VALUE = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True, eq=False)
class _Opened:
    model: Instrumented
    folders: tuple[Path, ...]
    identity: dict[str, Any]
    summary: dict[str, Any]

    def is_current(self) -> bool:
        """Whether the folders are still as they were when the model was opened."""
        return all(folder.is_dir() for folder in self.folders) and self.identity == folder_identity(*self.folders)

    @property
    def bytes(self) -> int:
        return self.model.info.n_params * BYTES_PER_VALUE.get(self.model.info.dtype, 4)


class OpenModels:
    """Opened models by name. limit_bytes: weights that may be in memory together; one model may always be open."""

    def __init__(
        self, settings: Settings, known: KnownModels, *, most: int = MOST_OPEN, limit_bytes: int | None = None
    ) -> None:
        self._settings, self._known = settings, known
        self._most = most
        self._limit = _half_of_memory() if limit_bytes is None else limit_bytes
        self._opened: OrderedDict[str, _Opened] = OrderedDict()

    def get(self, ref: ModelRef, step: Callable[[str], None]) -> tuple[Instrumented, bool]:
        """The model, and whether it was open already. `step` is told what takes time. Raises ModelError, StoreError.

        A model whose folder has changed since is opened again.
        """
        name = str(ref)
        kept = self._opened.get(name)
        if kept is not None and kept.is_current():
            self._opened.move_to_end(name)
            return kept.model, True
        self._opened.pop(name, None)
        opened = self._open(ref, step)
        self._make_room(opened.bytes)
        self._opened[name] = opened
        return opened.model, False

    def summary(self, ref: ModelRef) -> dict[str, Any]:
        """The summary of an open model."""
        return self._opened[str(ref)].summary

    def names(self) -> tuple[str, ...]:
        """The open models, least recently used first."""
        return tuple(self._opened)

    def models(self) -> tuple[Instrumented, ...]:
        """The open models themselves."""
        return tuple(entry.model for entry in self._opened.values())

    def _open(self, ref: ModelRef, step: Callable[[str], None]) -> _Opened:
        resolved = resolve(ref, self._settings, step)
        step(f"opening {ref} and proving its sites")
        identity = folder_identity(*resolved.folders)
        model = open_resolved(resolved, self._settings)
        summary = model.summary() | {"folder": str(resolved.folder)}
        self._known.save(ref, resolved, summary)
        return _Opened(model, resolved.folders, identity, summary)

    def _make_room(self, coming: int) -> None:
        while self._opened:
            kept = sum(entry.bytes for entry in self._opened.values())
            if len(self._opened) < self._most and kept + coming <= self._limit:
                return
            name, _ = self._opened.popitem(last=False)
            log.info("closed %s to make room", name)


def _half_of_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
