"""What a door may ask of an engine: open a model, capture, run an experiment or a circuit. Frozen values with ids."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializeAsAny, field_validator

from analyses.ablated_writes import Ablation
from analyses.circuit import Keys
from analyses.experiment import Experiment
from analyses.metric_choice import MetricChoice
from analyses.vectors import Definition, inputs_of, used_by
from hooks.errors import InputError
from hooks.interventions import Intervention, parse_intervention
from hooks.prompts import PromptSet
from hooks.reference import ModelRef
from hooks.sites import Site
from hooks.spec import Spec, digest

CAPTURED = "clean"
"""The name under which a capture's prompts are known to edits that copy from them."""


class OpenRequest(Spec):
    """Open a model and prove it."""

    kind: Literal["open"] = "open"
    model: ModelRef

    @property
    def id(self) -> str:
        return digest(self.model_dump(mode="json"))


class CaptureRequest(Spec):
    """Capture sites of a model on prompts, under edits (none for the clean run).

    sites: one text per site; `L*.pattern` stands for the site at every layer. sources: the inputs that edits copy from,
    by name, the prompts themselves being `clean`. vectors: those that edits name; see `analyses.vectors`.
    """

    kind: Literal["capture"] = "capture"
    model: ModelRef
    inputs: PromptSet
    sites: tuple[str, ...]
    edits: tuple[SerializeAsAny[Intervention], ...] = ()
    # Not written where there are none: captures keep the id they had before edits could name them.
    sources: dict[str, PromptSet] = Field(default_factory=dict, exclude_if=lambda sources: not sources)
    vectors: dict[str, Definition] = Field(default_factory=dict, exclude_if=lambda vectors: not vectors)

    @field_validator("edits", mode="before")
    @classmethod
    def _edits(cls, value: Any) -> Any:
        return tuple(parse_intervention(edit) for edit in value)

    @field_validator("sites")
    @classmethod
    def _known(cls, sites: tuple[str, ...]) -> tuple[str, ...]:
        for text in sites:
            Site.parse(text.replace("L*.", "L0."))
        return tuple(sorted(set(sites)))

    @property
    def id(self) -> str:
        return digest(self.model_dump(mode="json"))

    @property
    def needs(self) -> frozenset[str]:
        """The names of the inputs that the edits copy from or that their vectors are made of. Raises InputError."""
        made = used_by(self.edits, self.vectors).values()
        copied = {name for edit in self.edits for name in edit.sources}
        return frozenset(copied | {name for how in made for name in inputs_of(how)})

    def named(self, name: str) -> PromptSet:
        """The prompts that edits know under a name. Raises InputError."""
        inputs = {**self.sources, CAPTURED: self.inputs}
        if name not in inputs:
            raise InputError(
                f"an edit takes its value from ‘{name}’, and there is only {', '.join(inputs)}.",
                "Choose a task or a table that has it, or another kind of edit.",
            )
        return inputs[name]


class ExperimentRequest(Spec):
    """Run an experiment; give it `normalised`, so that its id is the experiment's own."""

    kind: Literal["experiment"] = "experiment"
    experiment: Experiment = Field()

    @property
    def id(self) -> str:
        return self.experiment.id

    @property
    def model(self) -> ModelRef:
        return self.experiment.model


class ForecastRequest(Spec):
    """Say what an experiment will cost before it starts; give it `normalised`."""

    kind: Literal["forecast"] = "forecast"
    experiment: Experiment = Field()

    @property
    def id(self) -> str:
        return digest(["forecast", self.experiment.id])

    @property
    def model(self) -> ModelRef:
        return self.experiment.model


class CircuitRequest(Spec):
    """Run one circuit and say what the metric is: the part of a circuit_evaluation that an editor shows at once.

    inputs: clean, and what the ablation needs. keys, kept: the graph, and its edges as `analyses.circuit_mask` packs
    them.
    """

    kind: Literal["circuit"] = "circuit"
    model: ModelRef
    inputs: dict[str, PromptSet]
    metric: MetricChoice = "logit_diff"
    ablation: Ablation = "counterfactual"
    keys: Keys = "query_head"
    reference: str | None = None
    kept: str

    @property
    def id(self) -> str:
        return digest(self.model_dump(mode="json"))

    @property
    def runs_id(self) -> str:
        """What the circuits have in common that can be run one after the other."""
        return digest(self.model_dump(mode="json", exclude={"kept"}))


class ModelFileRequest(Spec):
    """Write a form of a result for which its model is opened; see `workbench.export.model_files`. result: its id."""

    kind: Literal["model_file"] = "model_file"
    form: Literal["checkpoint", "vectors"]
    result: str
    model: ModelRef

    @property
    def id(self) -> str:
        return digest([self.kind, self.form, self.result])


Request = OpenRequest | CaptureRequest | ExperimentRequest | ForecastRequest | CircuitRequest | ModelFileRequest
