"""Tables that users gave: checked once, then kept under the hash of their content.

`WORKSPACE/data/<sha256>.json` holds the file's name, its kind and its text. A page's address carries the hash alone,
never a path, so that no address reaches another file.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from analyses.tables import Table, TableKind, read_table
from hooks.errors import InputError
from hooks.spec import Spec
from workbench.cache.write import replacing

HASH = re.compile(r"[0-9a-f]{64}")
LONGEST_NAME = 80


class KeptTable(Spec):
    """A table as it was given. name: of the file, to show."""

    name: str
    kind: TableKind
    text: str

    def read(self) -> Table:
        """Its columns and rows. Raises InputError."""
        return read_table(self.text, self.kind)


class Tables:
    """The tables of one workspace."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, name: str, kind: TableKind, content: str | bytes) -> str:
        """Keep a table; gives its hash. Raises InputError for one that cannot be read."""
        read_table(content, kind)
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        key = hashlib.sha256(f"{kind}\n{text}".encode()).hexdigest()
        kept = KeptTable(name=name[:LONGEST_NAME], kind=kind, text=text)
        with replacing(self._folder / f"{key}.json") as part:
            part.write_text(kept.model_dump_json(), "utf-8")
        return key

    def get(self, key: str) -> KeptTable:
        """The table of a hash. Raises InputError for one that is not there."""
        path = self._folder / f"{key}.json"
        if not HASH.fullmatch(key) or not path.is_file():
            raise InputError("this table is not in the workspace.", "Give the file again.")
        return KeptTable.model_validate(json.loads(path.read_text("utf-8")))
