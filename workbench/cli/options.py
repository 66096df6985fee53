"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="An alias, a folder, a .gguf file or a hub name.", show_default=False)
]
Stored = Annotated[
    str,
    typer.Argument(metavar="RESULT", help="A result folder, or the id of one in the workspace.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda.", show_default=False)]
Engine = Annotated[Literal["local", "ray"], typer.Option(help="Where it runs.")]
Place = Annotated[
    Path | None, typer.Option("--workspace", metavar="DIR", help="Another workspace folder.", show_default=False)
]
