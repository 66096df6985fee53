"""File names of exports: made of safe characters only, whatever the result or the grid is called."""

from __future__ import annotations

import re

from analyses.result import Result


def safe(text: str, limit: int = 60) -> str:
    """`text` reduced to letters, digits, `_` and `-`: usable as one file name on every system, never a path."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text)[:limit].strip("-") or "unnamed"


def base(result: Result) -> str:
    """The name, without an ending, of files that hold a result."""
    return f"{safe(result.experiment.analysis)}-{safe(result.id)[:12]}"
