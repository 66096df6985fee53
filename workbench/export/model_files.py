"""What is exported of the model of a result: its pruned checkpoint, its vectors; kept beside the result.

They lie in the result's folder in the workspace, so they go to the bin with it, come back with it, and are counted with
it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Literal

from analyses.edits import edits_of
from analyses.result import Result
from analyses.vectors import used_by
from hooks.errors import SpecError
from hooks.model import Instrumented
from hooks.spec import Spec
from workbench.cache.write import replacing
from workbench.export.checkpoint import save_checkpoint
from workbench.export.circuit import has_circuit
from workbench.export.names import base
from workbench.export.vectors import vectors_file
from workbench.models.fetch import Step
from workbench.settings import Settings

ModelForm = Literal["checkpoint", "vectors"]
CHECKPOINT, VECTORS = "checkpoint.json", "vectors.safetensors"


class Checkpoint(Spec):
    """A saved model. name: of its folder, in the result's. The rest is of `workbench.export.checkpoint.SavedModel`."""

    name: str
    how: str
    difference: float
    n_params: int


def model_forms(result: Result) -> tuple[ModelForm, ...]:
    """The forms for which the result's model is opened that it may have: its edits decide, or its circuit."""
    if has_circuit(result):
        return ("checkpoint",)
    try:
        edits = edits_of(result.experiment)
    except SpecError:  # it made none that stand together
        return ()
    return ("checkpoint", "vectors") if used_by(edits, result.experiment.vectors) else ("checkpoint",)


def checkpoint_in(folder: Path) -> Checkpoint | None:
    """The checkpoint in a result's folder, None before there is a whole one."""
    try:
        found = Checkpoint.model_validate(json.loads((folder / CHECKPOINT).read_text("utf-8")))
    except (OSError, ValueError):
        return None
    return found if (folder / found.name).is_dir() else None


def vectors_in(folder: Path) -> bytes | None:
    """The file of vectors in a result's folder, None before there is one."""
    path = folder / VECTORS
    return path.read_bytes() if path.is_file() else None


def has_model_file(folder: Path, form: ModelForm) -> bool:
    """Whether the form was written before."""
    return checkpoint_in(folder) is not None if form == "checkpoint" else (folder / VECTORS).is_file()


def write_model_file(
    result: Result, form: ModelForm, folder: Path, model: Instrumented, settings: Settings, step: Step
) -> bool:
    """Write a form into the result's folder; gives whether it was there already. model: the result's, opened.

    Raises what `save_checkpoint` and `vectors_file` raise, StoreError for a full disk; nothing is left then.
    """
    if has_model_file(folder, form):
        return True
    if form == "vectors":
        step("computing the vectors")
        data = vectors_file(result, model)
        with replacing(folder / VECTORS) as part:
            part.write_bytes(data)
        return False
    (folder / CHECKPOINT).unlink(missing_ok=True)
    name = base(result)
    shutil.rmtree(folder / name, ignore_errors=True)  # of a process that was stopped before it had said so
    saved = save_checkpoint(result, folder / name, settings, step, opened=model)
    facts = Checkpoint(name=name, how=saved.how, difference=saved.difference, n_params=saved.n_params)
    with replacing(folder / CHECKPOINT) as part:
        part.write_text(json.dumps(facts.model_dump(mode="json")), "utf-8")
    return False
