"""A result as strict JSON: no NaN, no infinity; a missing value is null and `about` says why."""

from __future__ import annotations

import json

from analyses.result import Result


def result_json(result: Result) -> str:
    """The result in the JSON form of the format documentation. Reading it back gives an equal result."""
    # ASCII only: a lone surrogate in a prompt has no UTF-8 form.
    return json.dumps(result.to_json(), allow_nan=False, indent=1) + "\n"


def experiment_json(result: Result) -> str:
    """The experiment alone: what `workbench run` takes."""
    return json.dumps(result.experiment.to_json(), allow_nan=False, indent=1) + "\n"
