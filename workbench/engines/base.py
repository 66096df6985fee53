"""The protocol of an engine, and what it makes of a request: a title, an urgency, the request read back from JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Protocol

from pydantic import Field, TypeAdapter

from analyses.analysis import sentence
from hooks.prompts import ChatPrompt, IdsPrompt, ImagePrompt, Prompt
from workbench.requests import (
    CaptureRequest,
    CircuitRequest,
    ExperimentRequest,
    ForecastRequest,
    ModelFileRequest,
    OpenRequest,
    Request,
)

SWEEP, EXPERIMENT, LOOK = 0, 1, 2
"""Urgencies. A more urgent job is served between the forward passes of a less urgent one."""
LEVELS = 3
_REQUEST: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="kind")])
TITLE_CHARS = 48


class Engine(Protocol):
    """Runs what is queued in the job table of its workspace."""

    def wake(self) -> None:
        """Told that a job was queued. Returns at once."""

    def stop_soon(self, job_id: str) -> None:
        """Told that a running job was cancelled; it stops at its next step, or is stopped after a grace time."""

    def close(self) -> None:
        """Stop running jobs and let go of the models."""


def parse_request(spec: Mapping[str, Any]) -> Request:
    """The request that `model_dump(mode="json")` printed."""
    return _REQUEST.validate_python(dict(spec))


def urgency(request: Request, priority: int = 0) -> int:
    """How urgent a request is: looks before single experiments before sweeps; `priority` outweighs all three."""
    if isinstance(request, ExperimentRequest):
        level = SWEEP if request.experiment.params.get("over") else EXPERIMENT
    elif isinstance(request, ModelFileRequest):
        level = EXPERIMENT
    else:
        level = LOOK
    return LEVELS * priority + level


def title(request: Request) -> str:
    """What the request does, in a sentence."""
    if isinstance(request, OpenRequest):
        return f"Open {request.model}"
    if isinstance(request, CaptureRequest):
        edited = " under edits" if request.edits else ""
        return f"Read {', '.join(request.sites)} of {request.model} on {_shown(request.inputs.prompts)}{edited}"
    if isinstance(request, ForecastRequest):
        return f"Forecast: {sentence(request.experiment)}"
    if isinstance(request, CircuitRequest):
        return f"Run a circuit of {request.model}"
    if isinstance(request, ModelFileRequest):
        what = "the pruned model" if request.form == "checkpoint" else "the vectors"
        return f"Save {what} of a result of {request.model}"
    return sentence(request.experiment)


def _shown(prompts: tuple[Prompt, ...]) -> str:
    if len(prompts) > 1:
        return f"{len(prompts)} prompts"
    first = prompts[0]
    if isinstance(first, IdsPrompt):
        return f"{len(first.ids)} token ids"
    if isinstance(first, ChatPrompt):
        return f"a conversation of {len(first.messages)} messages"
    if isinstance(first, ImagePrompt):
        return "an image" if first.text is None else "an image and a text"
    return f"“{first if len(first) <= TITLE_CHARS else first[:TITLE_CHARS] + '…'}”"
