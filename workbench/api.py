"""The workbench from Python: open a model, run an experiment, keep and compare results.

    from workbench.api import Experiment, run

    result = run(Experiment(model="toy", analysis="head_scores"))
    print(result.grid("induction").top(3))

The same experiment has the same id, and gives the same numbers, here, in the app and on the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from analyses.analysis import analysis_named, catalogue, normalised
from analyses.bench import Bench, Progress
from analyses.circuit import Circuit
from analyses.circuit_formats import Imported
from analyses.circuit_notes import Annotations
from analyses.datasets import tasks
from analyses.execute import run_experiment
from analyses.experiment import Experiment, parse_experiment
from analyses.grid import Grid
from analyses.result import Result
from analyses.tables import Columns
from hooks.errors import SpecError
from hooks.interventions import parse_intervention
from hooks.interventions.mean import Mean
from hooks.interventions.patch import Patch
from hooks.interventions.zero import Zero
from hooks.loading import from_memory, load_tokenizer
from hooks.model import Instrumented
from hooks.plan import CapturePlan
from hooks.prompts import PromptSet
from hooks.reference import Dtype, ModelRef
from hooks.tokens import TokenBatch, encode
from workbench.circuit_files import read_annotations, read_circuit
from workbench.datasets import inputs_of_file, task_inputs
from workbench.examples import example_of, experiment_on
from workbench.export import Export, export
from workbench.export.checkpoint import SavedModel
from workbench.export.checkpoint import save_checkpoint as write_checkpoint
from workbench.export.circuit import annotated, circuit_of
from workbench.export.circuit_forms import written
from workbench.export.vectors import load_vectors, vectors_file
from workbench.models import DEFAULT, open_named, resolve
from workbench.replay import Replay, circuit_difference, compare
from workbench.results import read_folder, write_folder
from workbench.settings import Settings
from workbench.test_sets import evaluation_of

__all__ = [
    "Annotations",
    "CapturePlan",
    "Circuit",
    "Columns",
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
    "annotate",
    "catalogue",
    "circuit_difference",
    "circuit_file",
    "circuit_of",
    "compare",
    "evaluation",
    "example",
    "export",
    "import_circuit",
    "load_result",
    "load_vectors",
    "open_model",
    "parse_experiment",
    "parse_intervention",
    "run",
    "save_checkpoint",
    "save_result",
    "save_vectors",
    "table",
    "task",
    "tasks",
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
    from transformers import AutoConfig

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


def example(
    analysis: str,
    *,
    model: ModelRef | str = DEFAULT,
    inputs: Mapping[str, PromptSet] | None = None,
    metric: str | None = None,
) -> Experiment:
    """A complete experiment for one analysis, ready to run or to change. Raises SpecError, InputError.

    inputs: prompt sets such as `task` and `table` give; a worked prompt where there are none. metric: of these.
    """
    ref = ModelRef.model_validate(model)
    if inputs is not None:
        return experiment_on(analysis_named(analysis), ref, inputs, metric)
    return example_of(analysis_named(analysis), ref, Settings.load())


def task(
    name: str, *, model: ModelRef | str = DEFAULT, n: int = 16, seed: int = 0, variant: str = ""
) -> dict[str, PromptSet]:
    """The prompt sets of a task for a model: clean, corrupt, and reference where there is one. See docs/tasks.md.

    variant: the kind of corruption, the usual one where it is "". Raises InputError, ModelError.
    """
    return dict(task_inputs(name, ModelRef.model_validate(model), Settings.load(), n, seed, variant).inputs)


def table(file: Path | str, columns: Columns | None = None) -> dict[str, PromptSet]:
    """The prompt sets in a user's own .jsonl or .csv file. columns: which holds what; else their names say it.

    Raises InputError that names the row and the column.
    """
    return inputs_of_file(Path(file), columns)


def evaluation(
    file: Path | str, *, model: ModelRef | str = DEFAULT, every_answer: bool = False, **params: Any
) -> Experiment:
    """The evaluation of a model on a file of BLiMP, MMLU, HellaSwag, TruthfulQA, own choices, or text.

    every_answer: of TruthfulQA, all correct answers are right (MC2). params: such as edits=({"kind": "zero", …},).
    Formats: docs/evaluation.md. Raises InputError.
    """
    return evaluation_of(Path(file), ModelRef.model_validate(model), every_answer=every_answer, **params)


def save_result(result: Result, folder: Path | str) -> None:
    """Write a result as a folder: `result.json` and `grids.h5`. Raises StoreError."""
    write_folder(result, Path(folder))


def save_checkpoint(result: Result, folder: Path | str, model: Instrumented | None = None) -> SavedModel:
    """The result's model without the heads and neurons that its edits remove: a folder that transformers opens.

    model: the result's own, where it is open already.
    Raises SpecError for edits that weights cannot hold and a folder that is not empty, ModelError, StoreError.
    """
    return write_checkpoint(result, Path(folder), Settings.load(), opened=model)


def save_vectors(result: Result, file: Path | str, model: Instrumented | None = None) -> None:
    """Write the vectors that a result's edits name as safetensors. model: the opened one. Raises SpecError."""
    Path(file).write_bytes(vectors_file(result, model or open_model(result.experiment.model)))


def import_circuit(file: Path | str, model: Instrumented | ModelRef | str, *, size: int | None = None) -> Imported:
    """The circuit in a file of ours, of EAP-IG, of ACDC or in a CSV edge list, as one of this model. docs/circuits.md.

    size: of a file of scores, how many edges of highest absolute score. `.circuit` prints as `params={"circuit":
    made.circuit.model_dump(mode="json")}` of a circuit_evaluation. Raises SpecError that names the entry, InputError.
    """
    return read_circuit(Path(file), model if isinstance(model, Instrumented) else open_model(model), size=size)


def annotate(result: Result, notes: Annotations | Path | str) -> Result:
    """The result with labels, groups and pins beside the nodes of its circuit, for its exports. docs/circuits.md.

    notes: the annotations (a `Circuit` is some), or a file of ours that holds a circuit with them. Raises SpecError,
    InputError.
    """
    return annotated(result, notes if isinstance(notes, Annotations) else read_annotations(Path(notes)))


def circuit_file(circuit: Circuit, form: str, **about: str) -> str:
    """A circuit as json, csv, graphml, dot or svg, without a result. about: what it is of, such as title and model.

    Raises SpecError for another form.
    """
    return written(circuit, form, about)


def load_result(folder: Path | str) -> Result:
    """The result in a folder that `save_result` or `workbench run` wrote. Raises StoreError."""
    return read_folder(Path(folder))
