"""What a page works on: the one prompt of the address, a task's prompts, or a table of the user's own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from pydantic import ValidationError

from analyses.tables import Columns, Table, inputs_from
from hooks.errors import SpecError
from hooks.prompts import PromptSet
from workbench.datasets import guessed
from workbench.requests import CAPTURED, CaptureRequest
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.workspace import Workspace


def under_edits(request: CaptureRequest, state: State, inputs: Mapping[str, PromptSet]) -> CaptureRequest:
    """The same capture under the edits in the tray. inputs: those that edits may copy from, by name.

    Raises SpecError, SiteMissing.
    """
    tray = state.tray(alone=True)
    named = {name: given for name, given in inputs.items() if name in tray.inputs - {CAPTURED}}
    return request.model_copy(update={"edits": tray.edits, "vectors": dict(tray.vectors), "sources": named})


def is_many(state: State) -> bool:
    """Whether a state names a task or a table."""
    return bool(state.task or state.data)


def inputs_of(workspace: Workspace, state: State) -> dict[str, PromptSet]:
    """The prompt sets by name: always `clean`; `corrupt` and `reference` where there are such.

    Raises InputError, ModelError, SpecError.
    """
    if state.task:
        return dict(workspace.task(state.model, state.task, state.n, state.seed, state.variant).inputs)
    if state.data:
        table = workspace.tables.get(state.data).read()
        return inputs_from(table, columns_of(state, table))
    clean = state.inputs()
    if not state.corrupt or state.image:
        return {"clean": clean}
    corrupt = PromptSet(
        prompts=(state.corrupt,), targets=clean.targets, special=clean.special, plain_text=clean.plain_text
    )
    return {"clean": clean, "corrupt": corrupt}


def inputs_for(workspace: Workspace, state: State, names: Collection[str] = ()) -> dict[str, PromptSet]:
    """`clean` and the named ones beside it, where they are: what an experiment needs and no more. Raises as above."""
    return {name: given for name, given in inputs_of(workspace, state).items() if name == "clean" or name in names}


def clean_of(workspace: Workspace, state: State) -> PromptSet:
    """The prompts that are measured. Raises as `inputs_of`."""
    return inputs_of(workspace, state)["clean"]


def columns_of(state: State, table: Table) -> Columns:
    """Which column of the state's table holds what. Raises InputError, SpecError."""
    if not state.columns:
        return guessed(table)
    try:
        return Columns.model_validate_json(state.columns)
    except ValidationError as error:
        raise SpecError("the address maps the table's columns in no known way.", "Choose the columns again.") from error
