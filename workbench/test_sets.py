"""Files of test items as experiments: what `workbench new evaluation --data FILE` and `api.evaluation` make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from analyses.analysis import normalised
from analyses.evaluation_files import read_test_set
from analyses.experiment import Experiment
from hooks.errors import InputError
from hooks.reference import ModelRef

ANALYSIS = "evaluation"
JSON_LINES = (".jsonl", ".json", ".ndjson")


def evaluation_of(path: Path, ref: ModelRef, *, every_answer: bool = False, **params: Any) -> Experiment:
    """The evaluation of a model on a file, complete and ready to run; the file is not needed any more.

    A file whose name does not end in .jsonl is one text. params: of the analysis, beside the kind that the file has.
    Raises InputError for a file that is not there or in no known format.
    """
    try:
        text = path.read_text("utf-8")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(f"there is no file {path}.", "Check the path.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name} is not text in UTF-8.", "Convert it.") from error
    try:
        read = read_test_set(text, json_lines=path.suffix.lower() in JSON_LINES, every_answer=every_answer)
    except InputError as error:
        raise InputError(f"{path.name}: {error.message}", error.hint) from error
    asked = {**params, "kind": read.kind}
    return normalised(
        Experiment(model=ref, inputs=dict(read.inputs), analysis=ANALYSIS, params=asked, note=f"{read.format} file")
    )
