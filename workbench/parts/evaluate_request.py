"""From the state of the Evaluate page to its experiment: the items of a kept test set, under the edits of the tray."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from analyses.analysis import normalised
from analyses.evaluation_files import ItemSet
from analyses.experiment import Experiment
from analyses.vectors import Contrast, Definition
from hooks.errors import InputError
from hooks.interventions import Intervention
from hooks.prompts import PromptSet
from hooks.reference import ModelRef
from workbench.parts.given import inputs_of
from workbench.test_sets import ANALYSIS
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.workspace import Workspace

OF_PAGE = "prompts_{}"
"""What the prompts of the page are called among the inputs, whose `clean` and `corrupt` are the items."""
NONE = "there is no test set yet."


def items_of(workspace: Workspace, state: State) -> ItemSet:
    """The test set of a state. Raises InputError where there is none."""
    if not state.items:
        raise InputError(NONE, "Choose a file, or paste its lines.")
    return workspace.tests.get(state.items).read(every_answer=state.every)


def experiment_of(workspace: Workspace, state: State) -> Experiment:
    """The test set before and, where the tray has edits, after them. Raises InputError, SpecError, ModelError."""
    items, tray = items_of(workspace, state), state.tray()
    read = tray.inputs
    own = {name: given for name, given in inputs_of(workspace, state).items() if name in read} if read else {}
    inputs: dict[str, PromptSet] = {**items.inputs, **{OF_PAGE.format(name): given for name, given in own.items()}}
    return normalised(
        Experiment(
            model=ModelRef.model_validate(state.model),
            inputs=inputs,
            analysis=ANALYSIS,
            params={
                "kind": items.kind,
                "edits": [_renamed(edit, own) for edit in tray.edits],
                **_windows(items, state),
            },
            vectors={name: _of_page(made, own) for name, made in tray.vectors.items()},
        )
    )


def _windows(items: ItemSet, state: State) -> dict[str, int | None]:
    """How a text is read, which only its perplexity depends on."""
    return {"window": state.text_window, "stride": state.stride} if items.kind == "perplexity" else {}


def _renamed(edit: Intervention, own: Mapping[str, PromptSet]) -> Intervention:
    """An edit whose reference is the page's prompts, not the items that go by the same name."""
    reference = getattr(edit, "reference", None)
    return edit.model_copy(update={"reference": OF_PAGE.format(reference)}) if reference in own else edit


def _of_page(made: Definition, own: Mapping[str, PromptSet]) -> Definition:
    if not isinstance(made, Contrast):
        return made
    names = {field: getattr(made, field) for field in ("of", "minus")}
    return made.model_copy(update={field: OF_PAGE.format(name) for field, name in names.items() if name in own})
