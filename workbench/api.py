"""The workbench from Python: open a model, run an experiment, keep and compare results.

    from workbench.api import Experiment, run

    result = run(Experiment(model="toy", analysis="head_scores"))
    print(result.grid("induction").top(3))

The same experiment has the same id, and gives the same numbers, here, in the app and on the command line.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn
from transformers import AutoConfig

from analyses.analysis import analysis_named, catalogue, normalised
from analyses.bench import Bench, Progress
from analyses.execute import run_experiment
from analyses.experiment import Experiment, parse_experiment
from analyses.grid import Grid
from analyses.result import Result
from hooks.errors import SpecError
from hooks.interventions.mean import Mean
from hooks.interventions.patch import Patch
from hooks.interventions.zero import Zero
from hooks.loading import from_memory, load_tokenizer
from hooks.model import Instrumented
from hooks.plan import CapturePlan
from hooks.prompts import PromptSet
from hooks.reference import Dtype, ModelRef
from hooks.tokens import TokenBatch, encode
from workbench.examples import example_of
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

def open_model(
    model: ModelRef | str | nn.Module,
    tokenizer: Any = None,
    *,
    device: str | None = None,
    dtype: Dtype | None = None,
    allow_pickle: bool | None = None,
) -> Instrumented:
    """A model, opened and proved: one that has a name, or one that is in memory already.

    model: an alias, folder, `.gguf` file or hub name (`+adapter` after it), or a transformers model (or PEFT's wrapper
    of one), which stays on its device and in its number type; `tokenizer` belongs to it. dtype: float32, bfloat16,
    float16, or auto for the stored one. allow_pickle: read pickled weights with PyTorch's weights-only reader.
    Raises ModelError.
    """
    if isinstance(model, nn.Module):
        return Instrumented(from_memory(model, tokenizer))
    ref = ModelRef.model_validate(model)
    if tokenizer is not None:
        raise SpecError(f"{ref} brings its own tokenizer.", "Name another as ModelRef(tokenizer=FOLDER).")
    if dtype is not None:
        ref = ref.model_copy(update={"dtype": dtype})
    return open_named(ref, Settings.load(device=device, allow_pickle=allow_pickle))


def tokens(ref: ModelRef | str, inputs: PromptSet) -> TokenBatch:
    """The prompts as the model that `ref` names would be fed them; its weights are not opened. Raises InputError."""
    found = resolve(ref, Settings.load())
    config = AutoConfig.from_pretrained(found.folder).get_text_config()
    return encode(
        load_tokenizer(found.tokenizer or found.folder),
        inputs,
        trained=getattr(config, "max_position_embeddings", None),
    )


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
    return example_of(analysis_named(analysis), ModelRef.model_validate(model), Settings.load())


def save_result(result: Result, folder: Path | str) -> None:
    """Write a result as a folder: `result.json` and `grids.h5`. Raises StoreError."""
    write_folder(result, Path(folder))


def load_result(folder: Path | str) -> Result:
    """The result in a folder that `save_result` or `workbench run` wrote. Raises StoreError."""
    return read_folder(Path(folder))
