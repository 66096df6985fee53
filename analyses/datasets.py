"""The tasks by name: data sets made from templates, discovered in `analyses.tasks`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from analyses.tasks.base import Task
from hooks.discover import discover
from hooks.errors import InputError


@cache
def tasks() -> Mapping[str, Task]:
    """All tasks by name."""
    return MappingProxyType({task.name: task for task in discover("analyses.tasks", "TASK", Task)})


def task_named(name: str) -> Task:
    """The task called `name`, or known by it too. Raises InputError with the names there are."""
    found = next((task for task in tasks().values() if name == task.name or name in task.aliases), None)
    if found is None:
        raise InputError(f"unknown task '{name}'.", f"Known: {', '.join(tasks())}.")
    return found
