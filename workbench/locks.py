"""Who uses a workspace folder: lock files that the system frees when their process dies."""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from pathlib import Path

from filelock import FileLock, Timeout

from hooks.errors import StoreError

OLD_SECONDS = 60.0


class Locks:
    """One lock file per workspace object; with `exclusive`, one more for the app."""

    def __init__(self, folder: Path, exclusive: bool) -> None:
        self.owner = uuid.uuid4().hex
        self._folder = folder / "owners"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._app = FileLock(folder / "app.lock", timeout=0) if exclusive else None
            self._record = folder / "app.json"
            if self._app is not None:
                self._app.acquire()
                self._record.write_text(json.dumps({"pid": os.getpid()}), "utf-8")
            self._own = FileLock(self._folder / f"{self.owner}.lock", timeout=0)
            self._own.acquire()
            self._remove_old()
        except Timeout as error:
            raise StoreError(
                f"the workspace {folder} is in use by process {self._other()}.",
                "Close the other app, or choose another folder with --workspace.",
            ) from error
        except OSError as error:
            raise StoreError(
                f"the workspace {folder} cannot be used: {error.strerror or error}.",
                "Choose a folder that can be written, with --workspace.",
            ) from error

    def _remove_old(self) -> None:
        """Remove the lock files of processes that were killed; young ones may be about to be locked."""
        for path in self._folder.glob("*.lock"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > OLD_SECONDS:
                    self.is_alive(path.stem)

    def _other(self) -> str:
        try:
            return str(json.loads(self._record.read_text("utf-8"))["pid"])
        except (OSError, ValueError, KeyError):
            return "unknown"

    def is_alive(self, owner: str) -> bool:
        """Whether the workspace object called `owner` is still in use, in whatever process."""
        if owner == self.owner:
            return True
        path = self._folder / f"{owner}.lock"
        if not path.exists():
            return False
        try:
            with FileLock(path, timeout=0):
                pass
        except Timeout:
            return True
        path.unlink(missing_ok=True)
        return False

    def release(self) -> None:
        """Let go of the folder."""
        self._own.release()
        (self._folder / f"{self.owner}.lock").unlink(missing_ok=True)
        if self._app is not None:
            self._app.release()
