"""Evaluate: a test set before and after the edits of the tray, with paired intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import Dash, Input, Output, State, ctx, no_update
from dash.exceptions import PreventUpdate

from analyses.analysis import sentence
from hooks.errors import WorkbenchError
from workbench import urls
from workbench.figures.theme import ThemeName
from workbench.pages.base import Page
from workbench.parts import evaluate_layout, evaluate_request, evaluate_views, run_panel
from workbench.parts.ablation_sweep import status
from workbench.parts.empty import empty, inline_problem, problem
from workbench.parts.prompt_image import decoded
from workbench.test_sets import JSON_LINES

if TYPE_CHECKING:
    from workbench.workspace import Workspace

PREFIX = evaluate_layout.PREFIX
AHEAD = "Every item is scored by log-likelihood, without and with the edits. Long sets take their time; Run starts it."


def layout(workspace: Workspace, state: urls.State) -> Any:
    """The page for the model, the test set and the tray of the address."""
    return evaluate_layout.page(workspace, state, heading(workspace, state))


def heading(workspace: Workspace, state: urls.State) -> Any:
    """The experiment in words; what to do where there is no test set."""
    if not state.items:
        return "How well does the model do on a test set, and what do the edits change? Choose a test set."
    try:
        return sentence(evaluate_request.experiment_of(workspace, state))
    except WorkbenchError as error:
        return inline_problem(error)


def watch(workspace: Workspace, state: urls.State, session: str, theme: ThemeName = "light") -> run_panel.Seen:
    """The scores of the state as far as they are there; never started by itself."""
    if not state.items:
        text = "Give a test set above: its items are scored here, before and after the edits of the tray."
        return run_panel.Seen("none", empty("No test set yet", text, symbol="check", id="eva-empty"), busy=True)
    try:
        experiment = evaluate_request.experiment_of(workspace, state)
        items = evaluate_request.items_of(workspace, state)
        result, job = workspace.result(experiment.id), workspace.job(experiment.id)
    except WorkbenchError as error:
        return run_panel.Seen(f"refused {error}", problem(error, id="eva-problem"), busy=True)
    if result is not None:
        return run_panel.Seen(f"{result.id} {theme}", evaluate_views.scores(result, items, PREFIX, theme), "Done", True)
    done, total = (job.done, job.total) if job is not None else (0, 1)
    told = status(job, done, max(total, 1), session, ahead=AHEAD, cancel=run_panel.cancel_id(PREFIX))
    run, busy = run_panel.button_of(job)
    return run_panel.Seen(f"{experiment.id} {run_panel.facts_of(job)}", [told], run, busy)


def register(app: Dash, workspace: Workspace) -> None:
    """Attach what the page does."""
    run_panel.register(app, workspace, PREFIX, watch, evaluate_request.experiment_of)
    _follow(app, workspace)
    _give(app, workspace)


def _follow(app: Dash, workspace: Workspace) -> None:
    @app.callback(
        Output("eva-sentence", "children"),
        Output("eva-chosen", "children"),
        Output("eva-edits", "children"),
        Output("eva-followed", "data"),
        Input("url", "search"),
        State("eva-followed", "data"),
    )
    def follow(search: str, before: list[Any] | None) -> Any:
        state = urls.read(search)
        now = [state.items, state.every]
        chosen = no_update if before is None or now == before else evaluate_layout.chosen(workspace, state)
        return heading(workspace, state), chosen, evaluate_layout.edits(state), now


def _give(app: Dash, workspace: Workspace) -> None:
    @app.callback(
        Output("url", "search", allow_duplicate=True),
        Output("eva-note", "children"),
        Input("eva-upload", "contents"),
        Input("eva-read", "n_clicks"),
        State("eva-upload", "filename"),
        State("eva-paste", "value"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def give(contents: str | None, clicks: int | None, filename: str | None, pasted: str | None, search: str) -> Any:
        try:
            if ctx.triggered_id == "eva-upload":
                if not contents:
                    raise PreventUpdate
                name = filename or "file"
                lines = name.lower().endswith(JSON_LINES)
                key = workspace.tests.put(name, decoded(contents), json_lines=lines)
            else:
                text = (pasted or "").strip()
                key = workspace.tests.put("pasted", text, json_lines=text.startswith("{"))
        except WorkbenchError as error:
            return no_update, inline_problem(error)
        return urls.change(search, items=key), None


PAGE = Page(
    path="/evaluate", title="Evaluate", order=8, icon="check", layout=layout, register=register, needs_prompt=False
)
