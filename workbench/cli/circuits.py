"""workbench circuit: import circuits of other tools, print what a circuit holds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from analyses.circuit import Circuit
from workbench import api
from workbench.cli.experiments import find
from workbench.cli.exports import write_whole
from workbench.cli.options import Device, Json, Place, Stored, model_ref
from workbench.cli.terminal import bar, note, say, say_json, table
from workbench.export.circuit import circuit_of
from workbench.export.circuit_forms import CIRCUIT_FILES, written
from workbench.models import DEFAULT
from workbench.settings import Settings

HELP = """Circuits: import them from files, print what they hold.

Example: workbench circuit show --help"""


def register(app: typer.Typer) -> None:
    group = typer.Typer(help=HELP, no_args_is_help=True)
    group.command("import")(import_file)
    group.command("show")(show)
    app.add_typer(group, name="circuit")


def import_file(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="JSON or CSV; see docs/circuits.md.", show_default=False)
    ],
    model: Annotated[str, typer.Option(help="The model that it is a circuit of.")] = DEFAULT,
    size: Annotated[
        int | None,
        typer.Option(help="Take this many edges of highest absolute score.", show_default=False),
    ] = None,
    form: Annotated[
        str, typer.Option("--as", metavar="|".join(CIRCUIT_FILES), help="The form in which it is written.")
    ] = "json",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it there (stdout).", show_default=False)
    ] = None,
    device: Device = None,
) -> None:
    """A circuit of our own, of EAP-IG, of ACDC or in a CSV edge list as `params.circuit` of a circuit_evaluation, or as
    a graph or a drawing.

    Example: printf 'edge\\ninput->logits\\n' > edges.csv && workbench circuit import edges.csv --model toy
    """
    with bar("opening the model"):
        opened = api.open_model(model_ref(model), device=device)
    made = api.import_circuit(file, opened, size=size)
    for remark in made.notes:
        note(remark)
    text = written(made.circuit, form, {"title": f"Circuit from {file.name}", "model": model})
    if out is None:
        say(text.rstrip())
        return
    write_whole(out, text.encode("utf-8", "replace"))
    say(f"{out}: {made.circuit.size} edges, {len(made.circuit.nodes)} nodes")


def show(
    result: Stored,
    top: Annotated[int, typer.Option(min=1, help="How many edges are listed.")] = 20,
    json: Json = False,
    workspace: Place = None,
) -> None:
    """The nodes of a result's circuit, and its strongest edges.

    Example: workbench new circuit_search --model toy | workbench run - --out r && workbench circuit show r/*
    """
    circuit = circuit_of(find(result, Settings.load(workspace_dir=workspace)))
    if json:
        say_json(circuit.model_dump(mode="json"))
        return
    _print(circuit, top)


def _print(circuit: Circuit, top: int) -> None:
    of = f", of {circuit.task}" if circuit.task else ""
    say(f"{circuit.size} edges, {len(circuit.nodes)} nodes; found by {circuit.method}{of}")
    into, out = (Counter(getattr(edge, end) for edge in circuit.edges) for end in ("target", "source"))
    say()
    table(("node", "edges in", "edges out"), [(node, into[node], out[node]) for node in circuit.nodes])
    say()
    strongest = sorted(circuit.edges, key=lambda edge: -abs(edge.score or 0.0))[:top]
    rows = [(*edge.key, "" if edge.score is None else f"{edge.score:+.4g}") for edge in strongest]
    table(("from", "to", "channel", "score"), rows)
