"""What is kept: list, size, pin, evict."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from hooks.errors import StoreError
from workbench.cache import layout
from workbench.cache.read import DAMAGED, Damaged, check_all
from workbench.cache.write import replacing

log = logging.getLogger(__name__)
PINS = "pins.json"


@dataclass(frozen=True)
class Entry:
    """One stored capture: its key, bytes on disk, when it was last used (seconds since 1970), whether it is pinned."""

    key: str
    path: Path
    bytes: int
    used: float
    pinned: bool


def entries(folder: Path) -> list[Entry]:
    """The stored captures, longest unused first."""
    pinned = pins(folder)
    found = []
    for path in folder.glob(f"*{layout.SUFFIX}"):
        try:
            stat = path.stat()
        except FileNotFoundError:  # evicted by another process since it was listed
            continue
        key = path.name.removesuffix(layout.SUFFIX)
        found.append(Entry(key, path, stat.st_size, stat.st_mtime_ns / 1e9, key in pinned))
    return sorted(found, key=lambda entry: (entry.used, entry.key))


def size(folder: Path) -> int:
    """Bytes that the captures take on disk."""
    return sum(entry.bytes for entry in entries(folder))


def damaged(folder: Path) -> list[Path]:
    """Files that were set aside."""
    return sorted(folder.glob(f"*{DAMAGED}*"))


def pins(folder: Path) -> frozenset[str]:
    """Keys of the captures that are never evicted."""
    path = folder / PINS
    try:
        return frozenset(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return frozenset()
    except ValueError as error:
        raise StoreError(f"{path} is not JSON.", "Remove it; every capture is then unpinned.") from error


def pin(folder: Path, key: str, pinned: bool = True) -> None:
    """Keep the capture `key` whatever happens, or let it go again. Raises StoreError for an unknown key."""
    if pinned and not (folder / f"{key}{layout.SUFFIX}").exists():
        raise StoreError(f"there is no stored capture {key}.", "`workbench workspace list` shows them.")
    kept = sorted(pins(folder) | {key} if pinned else pins(folder) - {key})
    with replacing(folder / PINS) as part:
        part.write_text(json.dumps(kept), "utf-8")


def evict(folder: Path, limit_bytes: int, *, coming_bytes: int = 0) -> list[str]:
    """Remove the captures that were unused longest until what stays fits, with `coming_bytes` more; gives their keys.

    Pinned captures stay, and so does the newest, even where one alone is larger than the limit. Each capture is a file
    of its own, so removing it frees its bytes at once.
    """
    kept = entries(folder)
    total = sum(entry.bytes for entry in kept)
    removed = []
    for entry in kept[:-1]:
        if total + coming_bytes <= limit_bytes:
            break
        if not entry.pinned:
            entry.path.unlink(missing_ok=True)
            total -= entry.bytes
            removed.append(entry.key)
    if removed:
        log.info("removed %d stored captures to stay under the limit", len(removed))
    return removed


def delete(folder: Path, key: str) -> bool:
    """Remove one capture and its pin; False where there was none."""
    pin(folder, key, pinned=False)
    path = folder / f"{key}{layout.SUFFIX}"
    existed = path.exists()
    path.unlink(missing_ok=True)
    return existed


def verify(folder: Path) -> dict[str, str]:
    """What is wrong, by file name, after reading every stored byte against its checksum; broken files are set aside."""
    problems = {}
    for entry in entries(folder):
        try:
            check_all(entry.path)
        except Damaged as error:
            problems[entry.path.name] = error.message
    return problems
