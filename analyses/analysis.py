"""Analysis: one method of the catalogue, and the view over all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from analyses.bench import Bench
from analyses.experiment import Experiment, describe
from analyses.grid import Grid
from hooks.discover import discover
from hooks.errors import InputError, SpecError
from hooks.spec import Spec


@dataclass(frozen=True)
class Findings:
    """What an analysis computed: grids in the order of importance, a circuit where the method yields one."""

    grids: tuple[Grid, ...]
    circuit: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Analysis:
    """One method. inputs: the prompt sets it needs by name; sentence: the experiment in words; source: the paper.

    windows: whether it cuts texts longer than the model reads at once into windows.
    """

    name: str
    title: str
    Params: type[Spec]
    inputs: tuple[str, ...]
    summary: str
    source: str
    compute: Callable[[Any, Bench], Findings]
    sentence: Callable[[Any, Experiment], str]
    example: Mapping[str, Any]
    windows: bool = False

    def params(self, given: Mapping[str, Any]) -> Spec:
        """`given` checked and completed with defaults. Raises SpecError."""
        try:
            return self.Params.model_validate(dict(given))
        except ValidationError as error:
            raise SpecError(
                f"{self.name}: params.{describe(error)}", f"`workbench new {self.name}` shows them."
            ) from error


@cache
def catalogue() -> Mapping[str, Analysis]:
    """All analyses by name, discovered in `analyses.catalogue`."""
    return MappingProxyType(
        {analysis.name: analysis for analysis in discover("analyses.catalogue", "ANALYSIS", Analysis)}
    )


def analysis_named(name: str) -> Analysis:
    """The analysis called `name`. Raises SpecError with the names there are."""
    if name not in catalogue():
        raise SpecError(f"unknown analysis '{name}'.", f"Known: {', '.join(catalogue())}.")
    return catalogue()[name]


def normalised(experiment: Experiment) -> Experiment:
    """The experiment with its params checked and defaults filled in, so that equal requests have equal ids.

    Raises SpecError for unknown analyses and params, InputError for a missing prompt set.
    """
    analysis = analysis_named(experiment.analysis)
    missing = [name for name in analysis.inputs if name not in experiment.inputs]
    if missing:
        raise InputError(
            f"{analysis.name} needs inputs.{missing[0]}.", f'Add "inputs": {{"{missing[0]}": {{"prompts": ["…"]}}}}.'
        )
    if any(inputs.windowed for inputs in experiment.inputs.values()) and not analysis.windows:
        raise SpecError(f"{analysis.name} reads each prompt whole.", 'Leave out "windowed", or run an evaluation.')
    return experiment.model_copy(update={"params": analysis.params(experiment.params).model_dump(mode="json")})


def sentence(experiment: Experiment) -> str:
    """What the experiment does, in one English sentence."""
    analysis = analysis_named(experiment.analysis)
    return analysis.sentence(analysis.params(experiment.params), experiment)
