"""Find one named object per module of a package: adding a file is the whole registration."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TypeVar

Found = TypeVar("Found")


def discover(package: str, attribute: str, kind: type[Found]) -> list[Found]:
    """The `attribute` of every module in `package`, sorted by module name; names that start with `_` are skipped.

    Raises TypeError when a module lacks the attribute or holds something else, and when a folder holds none.
    """
    folder = importlib.import_module(package)
    found = []
    for entry in sorted(pkgutil.iter_modules(folder.__path__), key=lambda entry: entry.name):
        if entry.name.startswith("_") or entry.name == "base":
            continue
        module = importlib.import_module(f"{package}.{entry.name}")
        value = getattr(module, attribute, None)
        if not isinstance(value, kind):
            raise TypeError(f"{module.__name__} must define {attribute}: {kind.__name__}")
        found.append(value)
    return found
