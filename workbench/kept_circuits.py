"""Circuits that users gave or edited, kept under the hash of their content, which is all that an address names.

`WORKSPACE/circuits/<sha256>.json` holds an imported circuit with its file's name, or the text of a long draft.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from analyses.circuit import Circuit
from analyses.circuit_notes import Annotations
from hooks.errors import InputError
from hooks.spec import Spec
from workbench.cache.write import replacing
from workbench.circuit_draft import Draft, parse_draft

KEPT = re.compile(r"kept:([0-9a-f]{64})")
HASH = re.compile(r"[0-9a-f]{64}")
LONGEST_TEXT = 800
"""Longer drafts are kept in the workspace: addresses are passed on in messages."""
LONGEST_NAME = 80


class GivenCircuit(Spec):
    """A circuit from a file. name: of the file, to show. notes: what a reader should know of how it was read."""

    name: str
    circuit: Circuit
    notes: tuple[str, ...] = ()


class KeptCircuits:
    """The folder of a workspace's circuits."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, given: GivenCircuit) -> str:
        """Keep a circuit; gives its hash. Raises StoreError for a full disk."""
        named = given.model_copy(update={"name": given.name[:LONGEST_NAME]})
        return self._put("circuit", named.model_dump(mode="json"))

    def get(self, key: str) -> GivenCircuit:
        """The circuit of a hash. Raises InputError for one that is not there."""
        return GivenCircuit.model_validate(self._get(key, "circuit"))

    def write_draft(self, draft: Draft) -> str:
        """The draft as an address holds it: its text, or the name under which a long one is kept. Raises StoreError."""
        text = draft.text()
        return text if len(text) <= LONGEST_TEXT else f"kept:{self._put('draft', text)}"

    def read_draft(self, text: str) -> Draft:
        """The draft of an address. Raises SpecError, InputError for one that is not there."""
        kept = KEPT.fullmatch(text)
        return parse_draft(text if kept is None else str(self._get(kept[1], "draft")))

    def notes(self, draft: str, given: str = "") -> Annotations:
        """What is written beside nodes in the draft of an address, over what the given circuit of a hash says.

        Raises SpecError for a damaged draft, InputError for what is not there.
        """
        return self.read_draft(draft).over(self.get(given).circuit if given else Annotations())

    def _put(self, kind: str, content: Any) -> str:
        text = json.dumps({kind: content}, sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()
        with replacing(self._folder / f"{key}.json") as part:
            part.write_text(text, "utf-8")
        return key

    def _get(self, key: str, kind: str) -> Any:
        path = self._folder / f"{key}.json"
        held = json.loads(path.read_text("utf-8")) if HASH.fullmatch(key) and path.is_file() else {}
        if kind not in held:
            raise InputError("this circuit is not in the workspace.", "Give the file again, or find the circuit anew.")
        return held[kind]
