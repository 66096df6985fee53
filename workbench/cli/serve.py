"""workbench serve and bench: the app, and how fast this machine is."""

from __future__ import annotations

import json as jsons
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from hooks.errors import ModelError, WorkbenchError
from hooks.reference import ModelRef
from workbench.cli.options import AllowPickle, Companion, Device, Place, Weights, model_ref
from workbench.cli.terminal import note, say, warn
from workbench.models import DEFAULT, FALLBACK, resolve
from workbench.requests import OpenRequest
from workbench.settings import Settings
from workbench.workspace import Workspace


def register(app: typer.Typer) -> None:
    app.command("serve")(serve)
    app.command("bench")(bench)


def serve(
    model: Annotated[str, typer.Argument(metavar="[MODEL]", help="The model that opens first.")] = DEFAULT,
    host: Annotated[str | None, typer.Option(help="Address to listen on (127.0.0.1).", show_default=False)] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (8050).", show_default=False)] = None,
    workspace: Place = None,
    token: Annotated[
        str | None, typer.Option(help="Demanded of visitors; a must where others can reach it.", show_default=False)
    ] = None,
    device: Device = None,
    dtype: Weights = None,
    tokenizer: Companion = None,
    allow_pickle: AllowPickle = False,
) -> None:
    """Start the app and print its address. Ctrl-C stops it.

    Example: workbench serve toy --port 8051
    """
    # Only this command needs Dash, whose import takes a second or two.
    from workbench import server

    settings = Settings.load(
        host=host,
        port=port,
        workspace_dir=workspace,
        token=token,
        device=device,
        allow_pickle=allow_pickle or None,
    )
    # A wrong host or a taken port is said at once, not after a model was fetched.
    server.check_host(settings.host, settings.token)
    server.bind(settings.host, settings.port).close()
    name = str(_available(model_ref(model, dtype, tokenizer), settings))
    space = Workspace.open(settings, engine="worker")
    try:
        space.submit(OpenRequest(model=ModelRef.model_validate(name)))
        server.serve(space, host=settings.host, port=settings.port, token=settings.token, model=name, ready=_ready)
    except KeyboardInterrupt:
        note("stopped")
    finally:
        space.close()


def _ready(address: str) -> None:
    say(f"The workbench is at {address}")
    sys.stdout.flush()


def _available(model: ModelRef, settings: Settings) -> ModelRef:
    """`model`, fetched; the bundled model where the default one cannot be had. Raises ModelError for any other."""
    try:
        resolve(model, settings, note)
    except ModelError as error:
        if model.place != DEFAULT:
            raise
        warn(error)
        note(f"opening the bundled model '{FALLBACK}' instead of {DEFAULT}")
        return ModelRef(name=FALLBACK, dtype=model.dtype)
    return model


def bench(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """The project's own ratios on this machine, against plain transformers. Needs a checkout (folder bench/).

    Example: workbench bench --json
    """
    script = Path(__file__).resolve().parents[2] / "bench" / "run.py"
    if not script.is_file():
        raise WorkbenchError("the timings are not part of an installed wheel.", "Run it in a checkout of the project.")
    done = subprocess.run([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise WorkbenchError(f"the timings stopped with code {done.returncode}.", f"Run python {script} to see why.")
    ratios = jsons.loads(done.stdout)
    if json:
        say(done.stdout.strip())
        return
    for name, ratio in ratios.items():
        say(f"{name}: {ratio}")
