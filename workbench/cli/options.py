"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import ValidationError

from hooks.errors import SpecError
from hooks.reference import Dtype, ModelRef

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="An alias, a folder, a .gguf file or a hub name.", show_default=False)
]
Stored = Annotated[
    str,
    typer.Argument(
        metavar="RESULT", help="A result folder, a bundle, or the id of one in the workspace.", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, or auto-map for all GPUs.", show_default=False)]
Weights = Annotated[
    Dtype | None, typer.Option("--dtype", help="Number type of the weights; auto: as stored.", show_default=False)
]
Companion = Annotated[
    str | None,
    typer.Option("--tokenizer", metavar="DIR", help="Use this folder's tokenizer instead.", show_default=False),
]
AllowPickle = Annotated[
    bool, typer.Option("--allow-pickle-weights-only", help="Read pickled weights with PyTorch's weights-only reader.")
]
Engine = Annotated[Literal["local", "ray"], typer.Option(help="Where it runs.")]
Place = Annotated[
    Path | None, typer.Option("--workspace", metavar="DIR", help="Another workspace folder.", show_default=False)
]


def model_ref(model: ModelRef | str, dtype: Dtype | None = None, tokenizer: str | None = None) -> ModelRef:
    """The model with the options of the command line. Raises SpecError for a name that cannot be one."""
    try:
        ref = ModelRef.model_validate(model)
    except ValidationError as error:
        raise SpecError(f"'{model}' does not name a model.", "`workbench models` lists the names.") from error
    given = {"dtype": dtype, "tokenizer": tokenizer}
    return ref.model_copy(update={name: value for name, value in given.items() if value is not None})
