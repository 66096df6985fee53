"""How it stands with the continuation of an address: asked of the workspace anew each time, so never stale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dash_mantine_components as dmc
from dash import html

from analyses.result import Result
from hooks.errors import WorkbenchError
from workbench.figures.numbers import seconds
from workbench.parts import generation_data as data
from workbench.parts import generation_views as views
from workbench.parts.chips import Chip, chips_of
from workbench.parts.empty import inline_problem, sentence
from workbench.parts.next_token import appended, inputs_of
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.jobs import Job
    from workbench.workspace import Workspace


@dataclass(frozen=True)
class Seen:
    """What the panel shows. key: changes whenever the content does; job: the job that makes it, or "". strip: None
    while the chips of before stay, dimmed."""

    key: str
    strip: Any
    status: Any
    job: str = ""


@dataclass(frozen=True)
class Open:
    """The generated token that the address looks at: title and table of its alternatives, and where it looked."""

    heading: Any
    table: Any
    attention: Any


def watch(workspace: Workspace, state: State, session: str, *, again: bool = False) -> Seen:
    """The continuation, computed when it is not there. again: start anew after a failure or a cancel."""
    if state.steps == 0:
        return Seen("none", views.reserved(state), "")
    try:
        request = data.continuation_request(workspace, state)
        result = workspace.result(request.id)
        if result is not None:
            return _done(workspace, state, result)
        job = workspace.job(request.id)
        if job is None or job.state == "done" or (again and not job.active):
            job = workspace.submit(request, session=session)
    except WorkbenchError as error:
        return Seen(f"refused {error}", None, inline_problem(error))
    if job.state == "done":
        return watch(workspace, state, session)
    return Seen(f"{job.id} {job.state} {job.done} {job.message} {job.seconds_left}", None, _told(job), job.id)


def _done(workspace: Workspace, state: State, result: Result) -> Seen:
    length = workspace.tokens(state.model, inputs_of(state)).lengths[0]
    taken = data.taken(result, length)
    clean = data.taken(result, length, clean=True)
    beside = (_chips(workspace, state, clean, length), clean) if clean else None
    strip = views.strips(_chips(workspace, state, taken, length), taken, beside, state)
    return Seen(f"{result.id} {state.steps}", strip, views.status(taken, state))


def _chips(workspace: Workspace, state: State, taken: list[data.Taken], length: int) -> list[Chip]:
    return chips_of(data.final_tokens(workspace, state, [step.id for step in taken]))[length:]


def _told(job: Job) -> Any:
    if job.active:
        count = f", {job.done} of {job.total}" if job.total > 1 else ""
        left = f", {seconds(job.seconds_left)} left" if job.seconds_left is not None else ""
        return f"{sentence(job.message or 'generating')}{count}{left}…"
    button = dmc.Button(
        "Run again", id={"type": "gen-again", "of": "continuation"}, variant="default", size="compact-xs"
    )
    stopped = {"message": "this continuation was cancelled.", "hint": ""}
    ended = {"message": "the job ended without a result.", "hint": ""}
    return html.Span([inline_problem(stopped if job.state == "cancelled" else job.error or ended), " ", button])


def opened(workspace: Workspace, state: State) -> Open | None:
    """The generated token that the address looks at; None while there is none. Raises WorkbenchError."""
    if not data.is_open(state):
        return None
    result = workspace.result(data.continuation_request(workspace, state).id)
    if result is None:
        return None
    batch = workspace.tokens(state.model, inputs_of(state))
    taken = data.taken(result, batch.lengths[0])
    step = taken[min(state.chosen or 0, len(taken) - 1)]
    rows = data.alternatives(result, step.step)
    looked = data.attention_row(result, state, batch.strings[0], step.step)
    return Open(
        views.heading(step, edited=bool(state.edits)),
        views.table(rows, step, sampled=state.sampled),
        views.attention(looked, hide_first=state.hide_first),
    )


def leave(workspace: Workspace, job_id: str, session: str) -> None:
    """Stop a job that this page waited for and does not show any more; others who wait for it keep it."""
    job = workspace.job(job_id)
    if job is not None and job.active:
        workspace.cancel(job_id, session=session)


def kept_prompt(workspace: Workspace, state: State) -> str:
    """The prompt's text with the continuation. Raises WorkbenchError where there is none, or no such text."""
    result = workspace.result(data.continuation_request(workspace, state).id)
    if result is None:
        return state.prompt
    return appended(workspace, state, *(step.id for step in data.taken(result, 0)))
