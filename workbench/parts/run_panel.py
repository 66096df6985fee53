"""A panel whose result is asked for by a button: what it will cost, progress, cancel, run again, keep the result.

The page says what the panel shows (`watch`) and what is run (`experiment_of`); everything here is about the button.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, dcc, html
from dash.exceptions import PreventUpdate

from analyses.experiment import Experiment
from hooks.errors import InputError, ModelError, SiteMissing, SpecError, WorkbenchError
from workbench import urls
from workbench.figures.theme import ThemeName
from workbench.parts import ablation_saving
from workbench.parts.ablation_watch import leave
from workbench.parts.empty import sentence
from workbench.requests import ExperimentRequest, ForecastRequest

if TYPE_CHECKING:
    from workbench.jobs import Job
    from workbench.workspace import Workspace

REFUSALS = (ModelError.code, SiteMissing.code, InputError.code, SpecError.code)
RUN = {"failed": "Run again", "cancelled": "Resume"}
"""What the button says after a job that ended without a result; a cancelled sweep goes on where it stopped."""


@dataclass(frozen=True)
class Seen:
    """What a panel shows. key: changes whenever that does. run: what the button says; busy: it cannot be pressed."""

    key: str
    content: Any
    run: str = "Run"
    busy: bool = False


@dataclass(frozen=True)
class Foreseen:
    """What the line beside the button says. job: the forecast that is being made, or ""."""

    words: str
    job: str = ""


def stores(prefix: str) -> list[Any]:
    """What the panel remembers."""
    return [dcc.Store(id=f"{prefix}-{name}") for name in ("shown", "forecast-shown")]


def tools(prefix: str) -> list[Any]:
    """The forecast and the button."""
    return [
        html.Span(id=f"{prefix}-forecast", className="wb-muted wb-number", role="status"),
        dmc.Button("Run", id=f"{prefix}-run", disabled=True),
    ]


def cancel_id(prefix: str) -> str:
    """The id of the button that stops the job."""
    return f"{prefix}-cancel"


def button_of(job: Job | None) -> tuple[str, bool]:
    """What the button says, and whether it cannot be pressed, where there is no result."""
    return ("Run", False) if job is None else (RUN.get(job.state, "Run"), job.active)


def facts_of(job: Job | None) -> tuple[Any, ...]:
    """What about a job changes a panel."""
    return () if job is None else (job.state, job.done, job.message, job.seconds_left)


def foresee(workspace: Workspace, experiment: Experiment, session: str) -> Foreseen:
    """What an experiment will cost, asked for where nobody knows yet; "" for one that runs or is done."""
    running = workspace.job(experiment.id)
    if workspace.result(experiment.id) is not None or (running is not None and running.active):
        return Foreseen("")
    known = workspace.forecast(experiment)
    if known is not None:
        return Foreseen(known.in_words())
    request = ForecastRequest(experiment=experiment)
    job = workspace.job(request.id)
    if job is None or job.state in ("done", "cancelled"):
        job = workspace.submit(request, session=session)
    if job.state == "failed":
        error = job.error or {}
        return Foreseen(f"{sentence(error.get('message', ''))} {error.get('hint', '')}".strip())
    return Foreseen("estimating the time…", job.id)


def refused(
    workspace: Workspace, state: urls.State, experiment_of: Callable[[Workspace, urls.State], Experiment]
) -> bool:
    """Whether the forecast found that the model cannot run this, which trying again does not change."""
    try:
        job = workspace.job(ForecastRequest(experiment=experiment_of(workspace, state)).id)
    except WorkbenchError:  # told where the result would be
        return False
    return job is not None and job.state == "failed" and (job.error or {}).get("code") in REFUSALS


def register(
    app: Dash,
    workspace: Workspace,
    prefix: str,
    watch: Callable[[Workspace, urls.State, str, ThemeName], Seen],
    experiment_of: Callable[[Workspace, urls.State], Experiment],
    *,
    forecast: bool = True,
    address: str = "url.search",
) -> None:
    """Attach the button, the forecast, and the place `PREFIX-place` that shows what is watched.

    forecast: False where what is run changes with every touch of the page, and so often is not worth a look. address:
    a component's property that holds the page's address without the fields that the panel has nothing to do with.
    """
    where = Input(*address.split("."))
    _show(app, workspace, prefix, watch, experiment_of if forecast else None, where)
    _button(app, workspace, prefix, experiment_of)
    if forecast:
        _forecast(app, workspace, prefix, experiment_of, where)
    ablation_saving.register(app, workspace, prefix, lambda state: experiment_of(workspace, state).id)


def _show(
    app: Dash,
    workspace: Workspace,
    prefix: str,
    watch: Callable[[Workspace, urls.State, str, ThemeName], Seen],
    foreseen: Callable[[Workspace, urls.State], Experiment] | None,
    where: Input,
) -> None:
    """foreseen: the experiment whose forecast may refuse it; None where there is none."""

    @app.callback(
        Output(f"{prefix}-place", "children"),
        Output(f"{prefix}-run", "children"),
        Output(f"{prefix}-run", "disabled"),
        Output(f"{prefix}-shown", "data"),
        where,
        Input("job-events", "data"),
        Input("theme", "data"),
        State(f"{prefix}-shown", "data"),
        State("session", "data"),
    )
    def show(search: str | None, _: Any, theme: str | None, shown: str | None, session: str | None) -> Any:
        if search is None:
            raise PreventUpdate
        state = urls.read(search)
        seen = watch(workspace, state, session or "", "dark" if theme == "dark" else "light")
        if not seen.busy and foreseen is not None and refused(workspace, state, foreseen):
            seen = replace(seen, key=f"{seen.key} refused", busy=True)
        if seen.key == shown:
            raise PreventUpdate
        return seen.content, seen.run, seen.busy, seen.key


def _button(
    app: Dash, workspace: Workspace, prefix: str, experiment_of: Callable[[Workspace, urls.State], Experiment]
) -> None:
    @app.callback(
        Output(f"{prefix}-run", "disabled", allow_duplicate=True),
        Input(f"{prefix}-run", "n_clicks"),
        State("url", "search"),
        State("session", "data"),
        prevent_initial_call=True,
    )
    def run(clicks: int | None, search: str, session: str | None) -> bool:
        if not clicks:
            raise PreventUpdate
        request = ExperimentRequest(experiment=experiment_of(workspace, urls.read(search)))
        workspace.submit(request, session=session or "")
        return True

    @app.callback(
        Output("cancelled", "data", allow_duplicate=True),
        Input(cancel_id(prefix), "n_clicks"),
        State("url", "search"),
        State("session", "data"),
        prevent_initial_call=True,
    )
    def cancel(clicks: int | None, search: str, session: str | None) -> str:
        if not clicks:
            raise PreventUpdate
        job_id = experiment_of(workspace, urls.read(search)).id
        workspace.cancel(job_id, session=session or "")
        return job_id


def _forecast(
    app: Dash,
    workspace: Workspace,
    prefix: str,
    experiment_of: Callable[[Workspace, urls.State], Experiment],
    where: Input,
) -> None:
    @app.callback(
        Output(f"{prefix}-forecast", "children"),
        Output(f"{prefix}-forecast-shown", "data"),
        where,
        Input("job-events", "data"),
        State(f"{prefix}-forecast-shown", "data"),
        State("session", "data"),
    )
    def forecast(search: str | None, _: Any, before: dict[str, str] | None, session: str | None) -> Any:
        if search is None:
            raise PreventUpdate
        said = before or {}
        try:
            seen = foresee(workspace, experiment_of(workspace, urls.read(search)), session or "")
        except WorkbenchError:  # told where the result would be
            seen = Foreseen("")
        if said.get("job") and said["job"] != seen.job:
            leave(workspace, said["job"], session or "")
        now = {"words": seen.words, "job": seen.job}
        if now == said:
            raise PreventUpdate
        return seen.words, now
