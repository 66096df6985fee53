"""Test sets that users gave: read once to see that they can be, then kept under the hash of their content.

`WORKSPACE/tests/<sha256>.json` holds the file's name, whether it is JSON lines, and its text. A page's address carries
the hash alone, never a path.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from analyses.evaluation_files import ItemSet, read_test_set
from hooks.errors import InputError
from hooks.spec import Spec
from workbench.cache.write import replacing
from workbench.tables import HASH, LONGEST_NAME

MOST_BYTES = 20_000_000


class KeptTestSet(Spec):
    """A test set as it was given. name: of the file, to show. json_lines: False for one text."""

    name: str
    json_lines: bool
    text: str

    def read(self, *, every_answer: bool = False) -> ItemSet:
        """Its items. every_answer: see `analyses.evaluation_files.read_test_set`. Raises InputError."""
        return read_test_set(self.text, json_lines=self.json_lines, every_answer=every_answer)


class TestFiles:
    """The test sets of one workspace."""

    __test__ = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, name: str, content: str | bytes, *, json_lines: bool) -> str:
        """Keep a test set; gives its hash. Raises InputError for one that cannot be read."""
        if len(content) > MOST_BYTES:
            raise InputError(f"the file is larger than {MOST_BYTES // 10**6} MB.", "Give a part of it.")
        try:
            text = content if isinstance(content, str) else content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{name} is not text in UTF-8.", "Convert it.") from error
        kept = KeptTestSet(name=name[:LONGEST_NAME], json_lines=json_lines, text=text)
        kept.read()
        key = hashlib.sha256(f"{json_lines}\n{text}".encode()).hexdigest()
        with replacing(self._folder / f"{key}.json") as part:
            part.write_text(kept.model_dump_json(), "utf-8")
        return key

    def get(self, key: str) -> KeptTestSet:
        """The test set of a hash. Raises InputError for one that is not there."""
        path = self._folder / f"{key}.json"
        if not HASH.fullmatch(key) or not path.is_file():
            raise InputError("this test set is not in the workspace.", "Give the file again.")
        return KeptTestSet.model_validate(json.loads(path.read_text("utf-8")))
