"""Prompt sets for a model from a task or a user's own file, as every door gets them."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from analyses.datasets import task_named
from analyses.tables import MOST_BYTES, Columns, Table, guess, inputs_from, kind_of_file, read_table
from analyses.tasks.base import TaskInputs
from hooks.errors import InputError
from hooks.loading import load_tokenizer
from hooks.prompts import PromptSet
from hooks.reference import ModelRef
from workbench.models import resolve
from workbench.settings import Settings

KEPT = 8


def task_inputs(name: str, ref: ModelRef, settings: Settings, n: int, seed: int, variant: str) -> TaskInputs:
    """A task's prompt sets for the tokenizer of the model that `ref` names. Raises InputError, ModelError."""
    task, found = task_named(name), resolve(ref, settings)
    return task.make(load_tokenizer(found.tokenizer or found.folder), n, seed, variant)


class RecentTasks:
    """What tasks gave lately, by tokenizer: pages ask again at every step of a job. Hold the tokenizer's lock."""

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[Any, OrderedDict[tuple[object, ...], TaskInputs]] = WeakKeyDictionary()

    def make(self, tokenizer: Any, name: str, n: int, seed: int, variant: str) -> TaskInputs:
        """A task's prompt sets, made anew only where they are not among the last few. Raises InputError."""
        kept, key = self._kept.setdefault(tokenizer, OrderedDict()), (name, n, seed, variant)
        if key not in kept:
            kept[key] = task_named(name).make(tokenizer, n, seed, variant)
        kept.move_to_end(key)
        while len(kept) > KEPT:
            kept.popitem(last=False)
        return kept[key]


def inputs_of_file(path: Path, columns: Columns | None = None) -> dict[str, PromptSet]:
    """The prompt sets in a .jsonl or .csv file. Raises InputError."""
    kind = kind_of_file(path.name)
    if not path.is_file():
        raise InputError(f"there is no file {path}.", "Give a .jsonl or .csv file.")
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    table = read_table(content, kind)
    return inputs_from(table, columns or guessed(table))


def guessed(table: Table) -> Columns:
    """The mapping that the names of the columns suggest. Raises InputError where none is a prompt's."""
    columns = guess(table)
    if columns is None:
        raise InputError(
            f"none of the columns {', '.join(table.columns)} is called prompt.",
            "Name the column: --map prompt=COLUMN,answer=COLUMN.",
        )
    return columns
