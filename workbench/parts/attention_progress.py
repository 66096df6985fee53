"""Waiting for captures and results on the Attention page: what is there, what is asked for, what is said meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import dash_mantine_components as dmc
from dash import html

from hooks.errors import WorkbenchError
from workbench.parts.empty import problem, waiting
from workbench.requests import CaptureRequest, ExperimentRequest

if TYPE_CHECKING:
    from workbench.jobs import Job
    from workbench.workspace import Workspace

Wanted = CaptureRequest | ExperimentRequest


def outcome(workspace: Workspace, request: Wanted) -> Any:
    """The stored capture or result of a request, None while there is none. Raises WorkbenchError."""
    return workspace.capture(request) if isinstance(request, CaptureRequest) else workspace.result(request.id)


def pending(workspace: Workspace, request: Wanted, session: str, *, again: bool = False) -> Job | None:
    """The job that makes what is asked for, started when there is none yet; None when it is there already.

    again: start anew after a failure or a cancel, which else stay as they are.
    """
    if outcome(workspace, request) is not None:
        return None
    job = workspace.job(request.id)
    if job is None or job.state == "done" or (again and job.state in ("failed", "cancelled")):
        job = workspace.submit(request, session=session)
    return None if job.state == "done" and outcome(workspace, request) is not None else job


def first_pending(workspace: Workspace, requests: Iterable[Wanted], session: str, *, again: bool = False) -> Job | None:
    """The first of several jobs, all of them started, that is not done; None when everything is there."""
    jobs = [pending(workspace, request, session, again=again) for request in requests]
    return next((job for job in jobs if job is not None), None)


TITLES = {
    "overview": "Reading the pattern of every head",
    "scores": "Scoring the heads on repeated random tokens",
    "head": "Reading what this view needs",
    "saved": "Saving the pattern",
    "answer": "Running the model once",
    "neurons": "Ranking the neurons of all layers",
    "neuron": "Reading what this neuron does",
    "neuron-edited": "Running the model under the edits",
    "neuron-zeroed": "Running the model without this neuron",
    "lens": "Reading every layer through the output head",
    "lens-edited": "Reading every layer of the edited run",
    "direct": "Splitting the answer into what each part wrote",
    "direct-edited": "Splitting the edited run’s answer",
}


def told(job: Job, of: str) -> Any:
    """A job in words: progress, or why it failed and a button that tries again. of: which part of the page waits."""
    if job.state in ("queued", "running", "done"):
        message = job.message or ("waiting for the job before it" if job.state == "queued" else "starting")
        return waiting(TITLES[of], message, job.done, job.total, job.seconds_left, id=f"attn-waiting-{of}")
    if job.state == "cancelled":
        stopped = {"message": "this was cancelled.", "hint": "Nothing is lost: start it again when you like."}
        return problem(stopped, again(of), id=f"attn-problem-{of}")
    return problem(
        job.error or {"message": "the job ended without a result.", "hint": ""}, again(of), id=f"attn-problem-{of}"
    )


def refused(error: WorkbenchError, of: str) -> Any:
    """Why something cannot be asked for at all."""
    return problem(error, id=f"attn-problem-{of}")


def again(of: str) -> Any:
    """The button that starts a failed job anew."""
    return dmc.Button("Try again", id={"type": "attn-again", "of": of}, size="xs", variant="default")


def where_from(count: str, cached: bool) -> Any:
    """The line over the page: what was captured, and whether the model had to run for it."""
    source = "from the cache, no forward pass" if cached else "captured just now"
    return html.Span([count, " · ", html.Span(source, className="wb-tag")])
