"""The workbench from Python: open a model, run an experiment, keep and compare results.

    from workbench.api import Experiment, run

    result = run(Experiment(model="toy", analysis="head_scores"))
    print(result.grid("induction").top(3))

The same experiment has the same id, and gives the same numbers, here, in the app and on the command line.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from transformers import AutoConfig

from analyses.analysis import analysis_named, catalogue, normalised
from analyses.bench import Bench, Progress
from analyses.execute import run_experiment
from analyses.experiment import Experiment, parse_experiment
from analyses.grid import Grid
from analyses.result import Result
from hooks.interventions.mean import Mean
from hooks.interventions.patch import Patch
from hooks.interventions.zero import Zero
from hooks.loading import load_tokenizer
from hooks.model import Instrumented
from hooks.plan import CapturePlan
from hooks.prompts import PromptSet
from hooks.reference import ModelRef
from hooks.tokens import TokenBatch, encode
from workbench.export import Export, export
from workbench.models import DEFAULT, open_named, resolve
from workbench.replay import Replay, compare
from workbench.results import read_folder, write_folder
from workbench.settings import Settings

__all__ = [
    "CapturePlan",
    "Experiment",
    "Export",
    "Grid",
    "Mean",
    "ModelRef",
    "Patch",
    "PromptSet",
    "Replay",
    "Result",
    "Zero",
    "catalogue",
    "compare",
    "example",
    "export",
    "load_result",
    "open_model",
    "parse_experiment",
    "run",
    "save_result",
    "tokens",
]

WORKED_EXAMPLE = {
    "clean": PromptSet(
        prompts=("When Mary and John went to the store, John gave a drink to",), answers=(" Mary",), foils=(" John",)
    ),
    "corrupt": PromptSet(prompts=("When Mary and John went to the store, Mary gave a drink to",)),
}
"""Prompts of the indirect-object task (Wang et al. 2022, arXiv 2211.00593): who is given the drink?"""


def open_model(ref: ModelRef | str, *, device: str | None = None) -> Instrumented:
    """The model that `ref` names (alias, folder, `.gguf` file, hub name), opened and proved. Raises ModelError."""
    return open_named(ref, Settings.load(device=device))


def tokens(ref: ModelRef | str, inputs: PromptSet) -> TokenBatch:
    """The prompts as the model that `ref` names would be fed them; its weights are not opened. Raises InputError."""
    folder = resolve(ref, Settings.load()).folder
    config = AutoConfig.from_pretrained(folder).get_text_config()
    return encode(load_tokenizer(folder), inputs, trained=getattr(config, "max_position_embeddings", None))


def run(
    experiment: Experiment, model: Instrumented | None = None, *, progress: Callable[[Progress], None] | None = None
) -> Result:
    """The result of an experiment. model: an opened one, when several experiments are to share it.

    Raises SpecError, InputError and SiteMissing for an experiment that cannot be run on this model.
    """
    wanted = normalised(experiment)
    bench = Bench(model or open_model(wanted.model), wanted, progress=progress)
    return run_experiment(wanted, bench)


def example(analysis: str, *, model: ModelRef | str = DEFAULT) -> Experiment:
    """A complete experiment for one analysis, ready to run or to change. Raises SpecError."""
    known = analysis_named(analysis)
    inputs = {name: WORKED_EXAMPLE[name] for name in known.inputs}
    ref = ModelRef.model_validate(model)
    return normalised(Experiment(model=ref, inputs=inputs, analysis=analysis, params=dict(known.example)))


def save_result(result: Result, folder: Path | str) -> None:
    """Write a result as a folder: `result.json` and `grids.h5`. Raises StoreError."""
    write_folder(result, Path(folder))


def load_result(folder: Path | str) -> Result:
    """The result in a folder that `save_result` or `workbench run` wrote. Raises StoreError."""
    return read_folder(Path(folder))
