"""The vectors of an experiment as safetensors, and back.

A tensor per vector and part that it is used at: `NAME`, or `NAME@PART` where one name means several vectors (a
difference of means is taken at the site of each edit). The file's metadata say how each was made.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from analyses.bench import Bench
from analyses.edits import edits_of
from analyses.result import Result
from analyses.vectors import Contrast, used_by, vector_at
from hooks.errors import InputError, SpecError
from hooks.model import Instrumented
from hooks.sites import Part

FORMAT = "mechanistic-workbench-vectors-1"


def vectors_file(result: Result, model: Instrumented) -> bytes:
    """A safetensors file of the vectors that the result's edits name, float32, as they were used.

    Raises SpecError for a result without any, SiteMissing and InputError as its edits do.
    """
    found = _resolved(Bench(model, result.experiment))
    made = {
        "format": FORMAT,
        "model": str(result.experiment.model),
        "model_hash": model.hash,
        "result": result.id,
        "vectors": json.dumps({key: about for key, (_, about) in found.items()}, sort_keys=True),
        "experiment": json.dumps(result.experiment.to_json(), sort_keys=True),
    }
    return save({key: values.float().cpu().contiguous() for key, (values, _) in found.items()}, made)


def _resolved(bench: Bench) -> dict[str, tuple[Tensor, dict[str, Any]]]:
    """The numbers of each vector by key, and how it was made."""
    edits = edits_of(bench.experiment)
    definitions = used_by(edits, bench.experiment.vectors)
    if not definitions:
        raise SpecError("this experiment's edits name no vector.", 'Define it in "vectors" and name it in an edit.')
    found = {}
    for name, definition in definitions.items():
        parts = dict.fromkeys(edit.at.whole_positions() for edit in edits if name in edit.vectors)
        several = isinstance(definition, Contrast) and len(parts) > 1
        for part in parts:
            values = vector_at(name, definition, part.site, bench)
            told = list(definition) if isinstance(definition, tuple) else definition.model_dump(mode="json")
            about = {"at": str(part), "site": part.site.name, "layer": part.site.layer, "definition": told}
            found[f"{name}@{part}" if several else name] = (_addressed(values, part), about)
    return found


def _addressed(values: Tensor, part: Part) -> Tensor:
    """The vector at a part: of one head where the part is one head."""
    return values[part.head] if values.ndim > 1 and part.head is not None else values


def load_vectors(path: Path) -> dict[str, tuple[float, ...]]:
    """The vectors of a safetensors file as an experiment takes them: `Experiment(vectors=load_vectors(FILE))`.

    Any file of one-dimensional tensors will do. Raises InputError for another file.
    """
    try:
        with safe_open(path, "pt") as file:
            held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} is no safetensors file: {error}.", "`--as vectors` writes one.") from error
    for name, values in held.items():
        if values.ndim != 1 or not torch.isfinite(values).all():
            shape = " × ".join(map(str, values.shape))
            raise InputError(f"'{name}' in {path} is no vector but {shape} numbers.", "Give one-dimensional tensors.")
    return {name: tuple(values.float().tolist()) for name, values in held.items()}
