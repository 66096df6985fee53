"""workbench analyses, new, run, export, replay: experiments and their results."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from analyses.analysis import Analysis, catalogue, normalised, sentence
from analyses.datasets import task_named
from analyses.experiment import Experiment, parse_experiment
from analyses.grid import Grid
from analyses.result import Result
from analyses.tables import parse_columns
from hooks.errors import Cancelled, SpecError, StoreError, WorkbenchError, from_dict
from workbench import api, test_sets
from workbench.cli.options import AllowPickle, Companion, Device, Engine, Json, Place, Stored, Weights, model_ref
from workbench.cli.tasks import Count, MapOption, Seed, Variant, made_for
from workbench.cli.terminal import bar, note, say, say_json, show, table
from workbench.export.json import result_json
from workbench.figures.intervals import separate
from workbench.models import DEFAULT
from workbench.packed import read_bundle
from workbench.replay import compare
from workbench.requests import ExperimentRequest, ForecastRequest, Request
from workbench.results import read_folder, write_folder
from workbench.settings import Settings
from workbench.workspace import Workspace

SHOWN_CELLS = 5
Answer = TypeVar("Answer")


def register(app: typer.Typer) -> None:
    app.command("analyses")(analyses)
    app.command("new")(new)
    app.command("plan")(plan)
    app.command("run")(run)
    app.command("replay")(replay)


def analyses(json: Json = False) -> None:
    """The catalogue: what can be computed, on which inputs, with which parameters.

    Example: workbench analyses --json
    """
    entries = list(catalogue().values())
    if json:
        say_json([_described(entry) for entry in entries])
        return
    table(
        ("name", "title", "inputs", "params"),
        [(e.name, e.title, ", ".join(e.inputs) or "none", ", ".join(e.Params.model_fields)) for e in entries],
    )


def _described(entry: Analysis) -> dict[str, Any]:
    plain = {name: getattr(entry, name) for name in ("name", "title", "summary", "source")}
    return {**plain, "inputs": list(entry.inputs), "params": entry.Params.model_json_schema()}


def new(
    analysis: Annotated[str, typer.Argument(metavar="ANALYSIS", show_default=False)],
    model: Annotated[str, typer.Option(help="The model it names.")] = DEFAULT,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Prompts in a .jsonl or .csv file, or a test set.", show_default=False),
    ] = None,
    columns: MapOption = None,
    task: Annotated[str | None, typer.Option(help="Prompts of this task.", show_default=False)] = None,
    n: Count = 16,
    seed: Seed = 0,
    variant: Variant = "",
) -> None:
    """A complete experiment on stdout, ready to run.

    Example: workbench new ablation --task ioi -n 16 --model toy > experiment.json
    """
    if data is not None and task is not None:
        raise SpecError("--data and --task were both given.", "Give one of them.")
    if data is not None and analysis == test_sets.ANALYSIS:
        say_json(api.evaluation(data, model=model).to_json())
    elif data is not None:
        inputs = api.table(data, parse_columns(columns) if columns else None)
        say_json(api.example(analysis, model=model, inputs=inputs).to_json())
    elif task is not None:
        made = made_for(task, model, n, seed, variant)
        metric = task_named(task).metric
        say_json(api.example(analysis, model=model, inputs=made.inputs, metric=metric).to_json())
    else:
        say_json(api.example(analysis, model=model).to_json())


def run(
    experiment: Annotated[
        str, typer.Argument(metavar="EXPERIMENT.json", help="A file, or - for stdin.", show_default=False)
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the result folder goes (results).", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result; no folder unless --out is given.")] = False,
    engine: Engine = "local",
    device: Device = None,
    dtype: Weights = None,
    tokenizer: Companion = None,
    allow_pickle: AllowPickle = False,
    workspace: Place = None,
) -> None:
    """Run an experiment: progress on stderr, the result in a folder DIR/ID.

    Example: workbench new next_token --model toy | workbench run - --json
    """
    require_local(engine)
    settings = Settings.load(device=device, workspace_dir=workspace, allow_pickle=allow_pickle or None)
    asked = _read(experiment)
    asked = asked.model_copy(update={"model": model_ref(asked.model, dtype, tokenizer)})
    result = compute(normalised(asked), settings)
    folder = (out or Path("results")) / result.id
    if out is not None or not json:
        write_folder(result, folder)
    if json:
        sys.stdout.write(result_json(result))
        return
    _print_result(result)
    say(f"result folder: {folder}")


def require_local(engine: str) -> None:
    """Raises SpecError for the engine that this version does not have."""
    if engine == "ray":
        raise SpecError("ray is an optional extra that this version does not have.", "Leave out --engine ray.")


def plan(
    experiment: Annotated[
        str, typer.Argument(metavar="EXPERIMENT.json", help="A file, or - for stdin.", show_default=False)
    ],
    json: Json = False,
    device: Device = None,
    workspace: Place = None,
) -> None:
    """What an experiment will take, before it runs: seconds, forward passes, memory above the model.

    Example: workbench new ablation --model toy | workbench plan -
    """
    settings, asked = Settings.load(device=device, workspace_dir=workspace), normalised(_read(experiment))
    found = _answer(ForecastRequest(experiment=asked), settings, lambda space: space.forecast(asked))
    if json:
        say_json(asdict(found))
        return
    say(sentence(asked))
    say(found.in_words())
    if found.packing:
        say(found.packing)


def compute(experiment: Experiment, settings: Settings) -> Result:
    """The result of a normalised experiment, run in this process; the default workspace's store is used and filled."""
    return _answer(ExperimentRequest(experiment=experiment), settings, lambda space: space.result(experiment.id))


def _answer(request: Request, settings: Settings, read: Callable[[Workspace], Answer | None]) -> Answer:
    """What a request leaves in the workspace, run in this process with a progress bar."""
    with bar("opening the model") as progress:
        space = Workspace.open(settings, engine="inline", exclusive=False)
        try:
            job = space.submit(request)
            job = space.wait(job.id, lambda stage: show(progress, stage))
            if job.state == "cancelled":
                raise Cancelled("the run was cancelled.", "Run it again; what was computed is kept.")
            if job.error is not None:
                raise from_dict(job.error)
            answer = read(space)
        finally:
            space.close()
    if answer is None:
        raise StoreError(f"the answer to {request.id} is gone from the workspace.", "Run it again.")
    return answer


def _read(path: str) -> Experiment:
    """The experiment in a file or on stdin. Raises SpecError."""
    if path == "-":
        return parse_experiment(sys.stdin.buffer.read())
    try:
        return parse_experiment(Path(path).read_bytes())
    except (FileNotFoundError, IsADirectoryError) as error:
        raise SpecError(f"there is no file {path}.", f"`workbench new ablation > {path}` writes one.") from error


def _print_result(result: Result) -> None:
    say(sentence(result.experiment))
    for warning in result.provenance.warnings:
        note(f"warning: {warning}")
    for grid in separate(result.grids):
        say()
        _print_grid(grid)
    made = result.provenance
    say()
    say(f"result {result.id}, {'from the cache' if made.from_cache else f'{made.seconds:.1f} s on {made.device}'}")


def _print_grid(grid: Grid) -> None:
    """A grid's name, axes and largest cells."""
    sizes = " × ".join(str(len(grid.coords[dim])) for dim in grid.dims)
    say(f"{grid.name} [{grid.unit}]" + (f"  {sizes} ({', '.join(grid.dims)})" if sizes else ""))
    rows = grid.top(SHOWN_CELLS)
    form = "{:+.4g}" if grid.baseline is not None else "{:.4g}"
    table((*grid.dims, grid.unit), [(*(row[dim] for dim in grid.dims), form.format(row["value"])) for row in rows])


def find(result: str, settings: Settings) -> Result:
    """The result in a folder or a bundle, or of an id in the workspace. Raises SpecError where there is none."""
    folder = Path(result)
    if folder.suffix == ".zip" and folder.is_file():
        return read_bundle(folder)
    if folder.name == "result.json":
        folder = folder.parent
    if folder.is_dir():
        return read_folder(folder)
    space = Workspace.open(settings, engine="inline", exclusive=False)
    try:
        found = space.result(result)
    except StoreError as error:
        raise _no_result(result) from error
    finally:
        space.close()
    if found is None:
        raise _no_result(result)
    return found


def _no_result(result: str) -> WorkbenchError:
    hint = "`workbench workspace list` shows the ids."
    return SpecError(f"'{result}' is no result folder, bundle or result of the workspace.", hint)


def replay(result: Stored, json: Json = False, device: Device = None, workspace: Place = None) -> None:
    """Run a stored experiment again; print the largest difference per grid. Exit code 1 beyond the tolerance.

    Example: workbench new next_token --model toy | workbench run - --out r && workbench replay r/*
    """
    settings = Settings.load(device=device, workspace_dir=workspace)
    stored = find(result, settings)
    with bar("opening the model") as progress:
        model = api.open_named(stored.experiment.model, settings, note)
        again = api.run(stored.experiment, model, progress=lambda stage: show(progress, stage))
    outcome = compare(stored, again)
    if json:
        say_json({"id": stored.id, **outcome.to_json()})
    else:
        table(("grid", "largest difference"), [(name, f"{value:.3g}") for name, value in outcome.differences.items()])
        for remark in outcome.notes:
            say(f"note: {remark}")
        say(f"{'agrees' if outcome.agrees else 'DIFFERS'}: tolerance {outcome.tolerance:g}")
    if not outcome.agrees:
        raise typer.Exit(1)
