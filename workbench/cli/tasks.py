"""workbench tasks, task: data sets made from templates."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import Annotated, Any

import typer

from analyses.datasets import task_named, tasks
from analyses.tasks.base import Task, TaskInputs
from hooks.reference import ModelRef
from workbench.cli.options import Json, model_ref
from workbench.cli.terminal import note, say, say_json, table
from workbench.datasets import task_inputs
from workbench.models import DEFAULT
from workbench.settings import Settings

Count = Annotated[int, typer.Option("-n", "--count", help="How many pairs of a task.")]
Seed = Annotated[int, typer.Option(help="The seed of a task.")]
Variant = Annotated[str, typer.Option(help="The corruption of a task (its usual one).", show_default=False)]
MapOption = Annotated[
    str | None,
    typer.Option("--map", metavar="ROLE=COLUMN,…", help="Which column of --data holds what.", show_default=False),
]


def register(app: typer.Typer) -> None:
    app.command("tasks")(list_tasks)
    app.command("task")(task)


def list_tasks(json: Json = False) -> None:
    """The data sets that are made from templates, with their corruptions.

    Example: workbench tasks --json
    """
    found = list(tasks().values())
    if json:
        say_json([_described(entry) for entry in found])
        return
    rows = [(entry.name, entry.title, ", ".join(entry.variants), entry.metric) for entry in found]
    table(("name", "title", "variants", "metric"), rows)


def _described(entry: Task) -> dict[str, Any]:
    plain = {name: getattr(entry, name) for name in ("name", "title", "summary", "template", "metric", "source")}
    return {
        **plain,
        "aliases": list(entry.aliases),
        "variants": dict(entry.variants),
        "positions": dict(entry.roles),
    }


def task(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    model: Annotated[str, typer.Option(help="The model whose tokenizer it must fit.")] = DEFAULT,
    n: Count = 16,
    seed: Seed = 0,
    variant: Variant = "",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Write it there (stdout).", show_default=False)
    ] = None,
) -> None:
    """The prompt sets of a task, as the `inputs` of an experiment.

    Example: workbench task ioi --model toy -n 4
    """
    made = made_for(name, model, n, seed, variant)
    inputs = {key: given.model_dump(mode="json") for key, given in made.inputs.items()}
    if out is None:
        say_json(inputs)
        return
    out.write_text(json_text.dumps(inputs, allow_nan=False, indent=1) + "\n", "utf-8")
    say(str(out))


def made_for(name: str, model: ModelRef | str, n: int, seed: int, variant: str) -> TaskInputs:
    """A task's prompt sets for a model; what was dropped is told on stderr. Raises InputError, ModelError."""
    made = task_inputs(task_named(name).name, model_ref(model), Settings.load(), n, seed, variant)
    if made.note:
        note(made.note)
    return made
