"""Results on disk: one folder each, with cards for the list, notes, and a bin that gives back what was deleted.

A result's folder holds `result.json` (the experiment, what each grid is, the provenance), `grids.h5` (the numbers),
`card.json` (what the list shows) and `note.json` (what the user said about it).
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import uuid
from pathlib import Path
from typing import Any

from analyses.analysis import sentence
from analyses.experiment import Experiment
from analyses.result import Provenance, Result
from hooks.errors import StoreError
from hooks.spec import Spec
from workbench.cache.read import Gone
from workbench.cache.write import cannot_write, replacing
from workbench.grids import StoredGrids, headline, write_grids

log = logging.getLogger(__name__)
RESULT, GRIDS, CARD, NOTE = "result.json", "grids.h5", "card.json", "note.json"
BIN = "bin"
ID = re.compile(r"^[0-9a-f]{8,64}$")


class ResultCard(Spec):
    """What a list shows of a result. created: ISO time; seconds: how long it took; saved: kept by the user; deleted: in
    the bin, from where `restore` brings it back."""

    id: str
    sentence: str
    analysis: str
    model: str
    created: str
    seconds: float
    headline: str
    note: str = ""
    saved: bool = False
    deleted: bool = False


class Note(Spec):
    """What the user said about a result."""

    note: str = ""
    saved: bool = False


def write_folder(result: Result, folder: Path) -> None:
    """Write a result into `folder`; an older version there is replaced, everything else in it stays.

    `result.json` is removed first and written last, so a folder that has it is whole. Raises StoreError when the disk
    is full or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RESULT).unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        write_grids(folder / GRIDS, result.grids.values())
        _write_json(folder / CARD, _card(result).model_dump(mode="json"))
        _write_json(folder / RESULT, _described(result))
    except StoreError:
        for name in (GRIDS, CARD):
            (folder / name).unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()
        raise


def read_folder(folder: Path) -> Result:
    """The result in a folder; each grid's numbers are read when asked for. Raises StoreError."""
    try:
        spec = _read_json(folder / RESULT)
        experiment = Experiment.model_validate(spec["experiment"])
        provenance = Provenance.model_validate(spec["provenance"])
        return Result(experiment, StoredGrids(folder / GRIDS), provenance, spec.get("circuit"))
    except FileNotFoundError as error:
        raise Gone(f"{folder} holds no result: there is no {RESULT}.", "Give the folder of a result.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{folder / RESULT} is damaged or foreign.", "Run the experiment again.") from error


def _described(result: Result) -> dict[str, Any]:
    """The result's JSON form, with the numbers left to grids.h5."""
    return {
        "experiment": result.experiment.to_json(),
        "id": result.id,
        "grids": [
            {
                "name": grid.name,
                "dims": list(grid.dims),
                "coords": {dim: list(labels) for dim, labels in grid.coords.items()},
                "unit": grid.unit,
                "baseline": grid.baseline,
                "about": grid.about,
                "values_in": f"{GRIDS}:/grids/{grid.name}/values",
            }
            for grid in result.grids.values()
        ],
        "circuit": result.circuit,
        "provenance": result.provenance.model_dump(mode="json"),
    }


def _card(result: Result) -> ResultCard:
    first = next(iter(result.grids.values()), None)
    return ResultCard(
        id=result.id,
        sentence=sentence(result.experiment),
        analysis=result.experiment.analysis,
        model=str(result.experiment.model),
        created=result.provenance.started,
        seconds=result.provenance.seconds,
        headline=headline(first) if first is not None else "",
        note=result.experiment.note,
    )


def _write_json(path: Path, value: Any) -> None:
    with replacing(path) as part:
        part.write_text(json.dumps(value, ensure_ascii=True, allow_nan=False, indent=1) + "\n", "ascii")


def _read_json(path: Path) -> Any:
    # Not pydantic's own parser: that one refuses half of a surrogate pair, which Python's writes and reads.
    return json.loads(path.read_text("ascii"))


class Results:
    """The result folders of a workspace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / BIN
        self.warnings: list[str] = []
        self.bin.mkdir(parents=True, exist_ok=True)

    def path(self, result_id: str) -> Path:
        """The folder of a result. Raises StoreError for a text that is no id."""
        if not ID.match(result_id):
            raise StoreError(f"'{result_id}' is not the id of a result.", "Ids are hexadecimal digits.")
        return self.folder / result_id

    def has(self, result_id: str) -> bool:
        """Whether the result is there and not deleted."""
        folder = self.path(result_id)
        return (folder / RESULT).is_file() and (folder / GRIDS).is_file()

    def put(self, result: Result) -> None:
        """Keep a result; a deleted one of the same id is replaced by it. Raises StoreError."""
        write_folder(result, self.path(result.id))
        shutil.rmtree(self.bin / result.id, ignore_errors=True)

    def get(self, result_id: str) -> Result | None:
        """The result, or None. A damaged folder is set aside, named in `warnings`, and counts as absent."""
        folder = self.path(result_id)
        if not folder.is_dir():
            return None
        try:
            return read_folder(folder)
        except Gone:
            return None
        except StoreError as error:
            aside = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}.damaged")
            os.replace(folder, aside)
            self.warnings.append(f"{error.message} The result was set aside as {aside.name}.")
            log.warning("%s %s", error.message, f"It was renamed to {aside.name}.")
            return None

    def cards(self, *, deleted: bool = False) -> list[ResultCard]:
        """The results, newest first; with `deleted`, those in the bin instead."""
        place = self.bin if deleted else self.folder
        found = [card for folder in place.iterdir() if ID.match(folder.name) and (card := self._card(folder, deleted))]
        return sorted(found, key=lambda card: card.created, reverse=True)

    def _card(self, folder: Path, deleted: bool) -> ResultCard | None:
        try:
            card = ResultCard.model_validate(_read_json(folder / CARD))
            note = _note(folder)
        except (OSError, ValueError) as error:
            log.warning("%s cannot be listed: %s", folder.name, type(error).__name__)
            return None
        shown = {"deleted": deleted, **(note.model_dump() if note else {})}
        return card.model_copy(update=shown)

    def keep(self, result_id: str, note: str | None = None) -> None:
        """Mark a result as saved, with a note; None leaves the note. Raises StoreError when it is not there."""
        folder = self._existing(self.path(result_id))
        before = _note(folder) or Note()
        _write_json(folder / NOTE, Note(note=before.note if note is None else note, saved=True).model_dump())

    def delete(self, result_id: str) -> None:
        """Move a result to the bin. Raises StoreError when it is not there."""
        folder = self._existing(self.path(result_id))
        shutil.rmtree(self.bin / result_id, ignore_errors=True)
        os.replace(folder, self.bin / result_id)

    def restore(self, result_id: str) -> None:
        """Bring a deleted result back. Raises StoreError when it is not in the bin."""
        target = self.path(result_id)
        folder = self._existing(self.bin / result_id)
        if target.exists():
            shutil.rmtree(folder)
        else:
            os.replace(folder, target)

    def empty_bin(self) -> int:
        """Remove deleted results for good; gives how many."""
        folders = [folder for folder in self.bin.iterdir() if folder.is_dir()]
        for folder in folders:
            shutil.rmtree(folder)
        return len(folders)

    @staticmethod
    def _existing(folder: Path) -> Path:
        if not folder.is_dir():
            raise StoreError(f"there is no result {folder.name}.", "The list of results shows what there is.")
        return folder


def _note(folder: Path) -> Note | None:
    try:
        return Note.model_validate(_read_json(folder / NOTE))
    except FileNotFoundError:
        return None
