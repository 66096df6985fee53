"""workbench capture: activations of many prompts in one HDF5 file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hooks.errors import InputError
from workbench import api
from workbench.cli.experiments import require_local
from workbench.cli.options import Device, Engine, Model
from workbench.cli.terminal import bar, say, size
from workbench.corpus import CorpusRequest, Dtype, capture_corpus, prompt_set, read_prompts

DEFAULT_SITES = "L*.resid_post"


def register(app: typer.Typer) -> None:
    app.command("capture")(capture)


def capture(
    model: Model,
    out: Annotated[Path, typer.Option(metavar="FILE.h5", help="The file to write.", show_default=False)],
    text: Annotated[
        list[str] | None, typer.Option(metavar="T", help="A prompt; give several if you like.", show_default=False)
    ] = None,
    file: Annotated[
        Path | None, typer.Option(metavar="F", help="Prompts: one per line of a .txt or .jsonl.", show_default=False)
    ] = None,
    sites: Annotated[str, typer.Option(metavar="LIST", help="Sites; L*.z is z at every layer.")] = DEFAULT_SITES,
    dtype: Annotated[Dtype, typer.Option(help="How numbers are stored.")] = "float32",
    engine: Engine = "local",
    device: Device = None,
) -> None:
    """Write the activations of prompts to a file. Stopped, the same command continues where it was.

    Example: workbench capture toy --text "Mary gave John a book" --sites "L*.pattern,L1.z" --out activations.h5
    """
    require_local(engine)
    if bool(text) == bool(file):
        raise InputError("give prompts either as --text or as --file.", 'Such as --text "a prompt" --text "another".')
    if file is not None and not file.is_file():
        raise InputError(f"there is no file {file}.", "Give a .txt or .jsonl file.")
    inputs = prompt_set(read_prompts(file) if file is not None else text or [])
    wanted = tuple(site.strip() for site in sites.split(",") if site.strip())
    with bar("opening the model") as progress:
        opened = api.open_model(model, device=device)

        def step(done: int, total: int) -> None:
            progress.update(progress.tasks[0].id, description="capturing prompts", completed=done, total=total)

        made = capture_corpus(opened, CorpusRequest(inputs, wanted, dtype), out, step)
    before = "" if made else " (was complete already)"
    say(f"{out}: {len(inputs.prompts)} prompts, {size(out.stat().st_size)}{before}")
