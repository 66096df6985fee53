"""What commands write: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from hooks.errors import WorkbenchError


class Stage(Protocol):
    """How far a job is."""

    @property
    def done(self) -> int: ...
    @property
    def total(self) -> int: ...
    @property
    def message(self) -> str: ...


def say(text: str = "") -> None:
    """A line of the result."""
    typer.echo(text)


def note(text: str) -> None:
    """A remark that is not part of the result."""
    typer.echo(text, err=True)


def fail(message: str, hint: str) -> None:
    """The two lines of a failure."""
    note(f"error: {_one_line(message)}")
    note(f"hint: {_one_line(hint) or 'workbench --help lists the commands.'}")


def warn(error: WorkbenchError) -> None:
    """A failure that the command works around."""
    note(f"warning: {_one_line(error.message)}")
    note(f"hint: {_one_line(error.hint)}")


def say_json(value: Any) -> None:
    """A value as strict JSON."""
    say(json.dumps(value, allow_nan=False, indent=1))


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Aligned columns with two spaces between; numbers to the right."""
    texts = [[_one_line(str(cell)) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in (list(headers), *texts)) for i in range(len(headers))]
    numeric = [all(_is_number(row[i]) for row in rows) for i in range(len(headers))]
    for line in (list(headers), *texts):
        cells = (
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        )
        say("  ".join(cells).rstrip())


def _is_number(cell: object) -> bool:
    return isinstance(cell, int | float) or (isinstance(cell, str) and cell.lstrip("+-").replace(".", "", 1).isdigit())


def _one_line(text: str) -> str:
    """Control characters and line breaks become spaces: text of a user never moves the cursor."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


@contextmanager
def bar(title: str) -> Iterator[Progress]:
    """A progress bar on stderr, gone when the work is done; nothing where stderr is not a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        progress.add_task(title, total=None)
        yield progress


def show(progress: Progress, stage: Stage) -> None:
    """Move the bar to where the job is."""
    task = progress.tasks[0]
    progress.update(
        task.id,
        description=_one_line(stage.message)[:60] or task.description,
        completed=stage.done,
        total=stage.total or None,
    )


def size(count: int | float) -> str:
    """Bytes for people: 541.6 MB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} B"
