"""workbench export: results as files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from analyses.result import Result
from workbench import api
from workbench.circuit_files import read_annotations
from workbench.cli.experiments import find
from workbench.cli.options import Place, Stored
from workbench.cli.terminal import note, say
from workbench.export import CIRCUIT_FORMS, FORMS, MODEL_FORMS, export
from workbench.export.checkpoint import save_checkpoint
from workbench.export.circuit import annotated, circuit_of
from workbench.export.names import base
from workbench.export.vectors import vectors_file
from workbench.settings import Settings

ALL_FORMS = "|".join((*FORMS, *CIRCUIT_FORMS, *MODEL_FORMS))


def register(app: typer.Typer) -> None:
    app.command("export")(export_result)


def export_result(
    result: Stored,
    form: Annotated[str, typer.Option("--as", metavar=ALL_FORMS, help="The form of the file.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The file, a folder, or - for stdout (a name here).", show_default=False),
    ] = None,
    grid: Annotated[str | None, typer.Option(help="Which grid a figure shows (the first).", show_default=False)] = None,
    theme: Annotated[Literal["light", "dark"], typer.Option(help="Colours of figures and pages.")] = "light",
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="CIRCUIT.json",
            help="Take the labels, groups and pins of the circuit in this file.",
            show_default=False,
        ),
    ] = None,
    workspace: Place = None,
) -> None:
    """Write a result as a file that other people and programs can read; as checkpoint, a folder with the pruned model.

    Example: workbench new next_token --model toy | workbench run - --out r && workbench export r/* --as html
    """
    settings = Settings.load(workspace_dir=workspace)
    stored = find(result, settings)
    if labels is not None:
        stored = _labelled(stored, labels)
    if form in MODEL_FORMS:
        _export_of_model(stored, form, out, settings)
        return
    made = export(stored, form, grid=grid, theme=theme)
    if str(out) == "-":
        sys.stdout.buffer.write(made.data)
        return
    path = out / made.name if out is not None and out.is_dir() else out or Path(made.name)
    write_whole(path, made.data)
    say(str(path))


def _labelled(result: Result, file: Path) -> Result:
    """The result with the annotations in a file; says how many nodes of these its circuit lacks."""
    notes = read_annotations(file)
    strangers = set(notes.annotated) - set(circuit_of(result).nodes)
    if strangers:
        note(f"left out, since the result's circuit lacks their nodes: {len(strangers)}")
    return annotated(result, notes)


def _export_of_model(result: Result, form: str, out: Path | None, settings: Settings) -> None:
    """Write a pruned checkpoint or the steering vectors, for which the model is opened."""
    path = out or Path(base(result) if form == "checkpoint" else f"{base(result)}.safetensors")
    if form == "vectors":
        write_whole(path, vectors_file(result, api.open_named(result.experiment.model, settings, note)))
        say(str(path))
        return
    saved = save_checkpoint(result, path, settings, note)
    say(saved.how)
    say(f"{saved.n_params:,} parameters; logits differ from the edited run's by at most {saved.difference:.2g}")
    say(str(saved.folder))


def write_whole(path: Path, data: bytes) -> None:
    """Write a file aside and rename it, so that a failure leaves no half file."""
    aside = path.with_name(f".{path.name}.part")
    try:
        aside.write_bytes(data)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
