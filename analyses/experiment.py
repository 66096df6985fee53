"""Experiment: the serialisable request. The same value asked through any door has the same id."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, ValidationError

from analyses.vectors import Definition
from hooks.errors import SpecError
from hooks.prompts import PromptSet
from hooks.reference import ModelRef
from hooks.spec import Spec, digest


class Experiment(Spec):
    """What to do, to which model, on which inputs, with which seed. `note` is a remark and not part of the identity.

    vectors: those that edits name; see `analyses.vectors`.
    """

    version: Literal[1] = 1
    model: ModelRef
    inputs: dict[str, PromptSet] = Field(default_factory=dict)
    analysis: str
    params: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    # Not written where there are none: experiments keep the id they had before vectors could be named.
    vectors: dict[str, Definition] = Field(default_factory=dict, exclude_if=lambda vectors: not vectors)
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """The experiment as plain JSON values, defaults included."""
        return self.model_dump(mode="json")

    @cached_property
    def id(self) -> str:
        """A hash of everything that can change a number. Take it of a `normalised` experiment (analyses.analysis)."""
        return digest({key: value for key, value in self.to_json().items() if key != "note"})


def parse_experiment(text: str | bytes) -> Experiment:
    """The experiment written in JSON `text`. Raises SpecError that names the first wrong field."""
    try:
        return Experiment.model_validate(json.loads(text))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SpecError(
            f"the experiment is not JSON: {error}.", "`workbench new ablation` prints a complete one."
        ) from error
    except ValidationError as error:
        raise SpecError(describe(error), "`workbench new ablation` prints a complete experiment.") from error


def describe(error: ValidationError) -> str:
    """The first problem that pydantic found, as a sentence."""
    first = error.errors()[0]
    where = ".".join(str(step) for step in first["loc"]) or "the value"
    return f"{where}: {first['msg'].removeprefix('Value error, ')}."
