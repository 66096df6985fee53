"""The job bar: what is running, how far, how long still, cancel; a failure stays until it is dismissed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dash_mantine_components as dmc
from dash import ALL, Dash, Input, Output, State, ctx, html, no_update
from dash.exceptions import PreventUpdate

from workbench.figures.numbers import seconds
from workbench.parts import job_pulse
from workbench.parts.empty import sentence, waiting
from workbench.parts.icons import icon
from workbench.parts.job_pulse import REMEMBERED, latest

if TYPE_CHECKING:
    from workbench.jobs import Job
    from workbench.workspace import Workspace

ACTIVE = ("queued", "running")
TOLD_ELSEWHERE = "forecast"
"""The kind of job whose progress and failures stand where they were asked for."""


def job_bar() -> Any:
    """The bar's place at the foot of the frame; empty while there is no job."""
    return html.Div(id="job-bar", className="wb-jobs", role="status", **{"aria-live": "polite", "aria-label": "Jobs"})


def events(jobs: list[Job]) -> dict[str, list[Any]]:
    """`{job id: [state, done, total]}` of the active and the latest jobs: what pages that wait for one listen to."""
    return {job.id: [job.state, job.done, job.total] for job in jobs}


def rows(jobs: list[Job], session: str, dismissed: list[str], elsewhere: str = "") -> list[Any]:
    """One row per active job and per failure of this session that was not dismissed.

    elsewhere: the job whose failure stands in the page itself.
    """
    told = [job for job in jobs if job.kind != TOLD_ELSEWHERE]
    shown = [job for job in told if job.state in ACTIVE or (job.state == "failed" and session in job.sessions)]
    busy = any(job.state == "running" for job in jobs)
    hidden = {*dismissed, *(_key(job) for job in shown if job.state == "failed" and job.id == elsewhere)}
    return [_row(job, session, busy) for job in shown if _key(job) not in hidden]


def _row(job: Job, session: str, busy: bool) -> Any:
    failed = job.state == "failed"
    if failed:
        error = job.error or {"message": "it stopped without a reason", "hint": ""}
        facts: Any = [
            html.Strong(sentence(error["message"])),
            " ",
            html.Span(error.get("hint", ""), className="wb-muted"),
        ]
        middle = html.Span(facts, className="wb-job-error", role="alert")
        button = html.Button(
            "Dismiss", id={"type": "job-dismiss", "id": _key(job)}, className="wb-button", type="button"
        )
    else:
        middle = _progress(job, busy)
        button = _cancel(job, session)
    name = [icon("warning", size=16)] if failed else []
    return html.Div(
        [html.Span([*name, job.title], className="wb-job-title wb-ellipsis", title=job.title), middle, button],
        className="wb-job",
        key=job.id,
    )


def _queued(busy: bool) -> str:
    return "waiting for the job before it" if busy else "starting"


def _progress(job: Job, busy: bool) -> Any:
    share = 100 * job.done / job.total if job.total else 0
    count = f"{job.done} / {job.total}" if job.total > 1 else ""
    left = f"{seconds(job.seconds_left)} left" if job.seconds_left is not None else ""
    words = _queued(busy) if job.state == "queued" else " · ".join(part for part in (job.message, count, left) if part)
    unknown = job.state == "running" and not job.total
    bar = dmc.Progress(
        value=100 if unknown else share,
        animated=unknown,
        striped=unknown,
        size=8,
        className="wb-job-progress",
        **{"aria-label": job.title},
    )
    return html.Div([bar, html.Span(words, className="wb-muted wb-number")], className="wb-job-middle")


def _cancel(job: Job, session: str) -> Any:
    if session not in job.sessions:
        return html.Span("from another window", className="wb-muted")
    return html.Button(
        "Cancel",
        id={"type": "job-cancel", "id": job.id},
        className="wb-button",
        type="button",
        **{"aria-label": f"Cancel: {job.title}"},
    )


def _key(job: Job) -> str:
    return f"{job.id}@{job.finished}"


def register(app: Dash, workspace: Workspace) -> None:
    """Follow the jobs; cancel and dismiss."""
    job_pulse.register(app, workspace)
    _follow(app, workspace)

    @app.callback(
        Output("dismissed", "data"),
        Input({"type": "job-dismiss", "id": ALL}, "n_clicks"),
        State("dismissed", "data"),
        prevent_initial_call=True,
    )
    def dismiss(clicks: list[int | None], dismissed: list[str] | None) -> list[str]:
        return [*(dismissed or []), _clicked(clicks)][-REMEMBERED:]

    @app.callback(
        Output("cancelled", "data"),
        Input({"type": "job-cancel", "id": ALL}, "n_clicks"),
        State("session", "data"),
        prevent_initial_call=True,
    )
    def cancel(clicks: list[int | None], session: str | None) -> str:
        job = _clicked(clicks)
        workspace.cancel(job, session=session or "")
        return job


def _clicked(clicks: list[int | None]) -> str:
    """The id on the button that was clicked; no update when buttons only appeared."""
    if not any(clicks) or not isinstance(ctx.triggered_id, dict):
        raise PreventUpdate
    return str(ctx.triggered_id["id"])


def _follow(app: Dash, workspace: Workspace) -> None:
    @app.callback(
        Output("job-events", "data"),
        Output("job-bar", "children"),
        Output("opening", "children"),
        Input("tick", "data"),
        State("job-events", "data"),
        State("dismissed", "data"),
        State("model-state", "data"),
        State("session", "data"),
    )
    def told(pulse: str | None, before: Any, dismissed: Any, model: Any, session: str | None) -> Any:
        if not session:
            raise PreventUpdate
        jobs = latest(workspace)
        now = events(jobs)
        return now if now != before else no_update, *_shown(jobs, session, dismissed, model)

    # Not an output of events: they decide what the page shows, which decides the model's state.
    @app.callback(
        Output("job-bar", "children", allow_duplicate=True),
        Output("opening", "children", allow_duplicate=True),
        Input("dismissed", "data"),
        Input("model-state", "data"),
        State("session", "data"),
        prevent_initial_call=True,
    )
    def redraw(dismissed: Any, model: Any, session: str | None) -> Any:
        return _shown(latest(workspace), session or "", dismissed, model)


def _shown(jobs: list[Job], session: str, dismissed: list[str] | None, model: dict[str, Any] | None) -> tuple[Any, Any]:
    """The bar's rows, and the progress that stands in place of the page."""
    return rows(jobs, session, dismissed or [], (model or {}).get("job", "")), opening(jobs, model or {})


def opening(jobs: list[Job], model: dict[str, Any]) -> Any:
    """The progress of opening the model that the page waits for; nothing when it is open."""
    job = next((job for job in jobs if job.id == model.get("job")), None)
    if model.get("state") != "opening" or job is None or job.state not in ACTIVE:
        return None
    queued = _queued(any(other.state == "running" for other in jobs))
    message = job.message or (queued if job.state == "queued" else "loading the weights and proving every site")
    return waiting(f"Opening {model['model']}", message, job.done, job.total, job.seconds_left)
