"""Find and judge a circuit by the experiment files of this folder, and write its report. `make circuit` calls it.

`circuit-evaluation.json` names the circuit that `circuit-search.json` finds; it is written anew where that changes.
"""

from __future__ import annotations

import json
from pathlib import Path

from analyses.analysis import normalised
from analyses.experiment import Experiment
from analyses.result import Result
from workbench.api import export, load_result, parse_experiment, run, save_result

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "ioi"
REPORT = HERE.parent / "circuit-smollm2.html"
SEARCH, EVALUATION = HERE / "circuit-search.json", HERE / "circuit-evaluation.json"
JUDGED = {
    "scores": "eap_ig",
    "controls": 3,
    "completeness": ["random"],
    "subsets": 5,
    "minimality": True,
    "heads": 12,
}


def result_of(experiment: Experiment, name: str) -> Result:
    """The experiment's result; that of an earlier call for the same request is read."""
    folder = BUILD / name
    if folder.is_dir() and load_result(folder).id == normalised(experiment).id:
        return load_result(folder)
    found = run(experiment)
    save_result(found, folder)
    return found


def evaluation_of(search: Result) -> Experiment:
    """The evaluation of what a search has found, on the same prompts."""
    note = "IOI, 16 pairs: the circuit of the 200 strongest edges by EAP-IG, judged"
    asked = search.experiment.to_json() | {"analysis": "circuit_evaluation", "note": note}
    return Experiment.model_validate(asked | {"params": JUDGED | {"circuit": dict(search.circuit or {})}})


def main() -> None:
    """Run what has not run, write the evaluation's file and the report."""
    search = result_of(parse_experiment(SEARCH.read_bytes()), "circuit-search")
    evaluation = evaluation_of(search)
    EVALUATION.write_text(json.dumps(evaluation.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    judged = result_of(parse_experiment(EVALUATION.read_bytes()), "circuit-evaluation")
    REPORT.write_bytes(export(judged, "html").data)


if __name__ == "__main__":
    main()
