"""How it stands with the search and the evaluation of the page of circuits: asked of the workspace anew each time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import html

from analyses.analysis import sentence
from analyses.experiment import Experiment
from analyses.grid import Grid
from analyses.result import Result
from hooks.errors import WorkbenchError
from workbench.export.model_files import model_forms
from workbench.figures.intervals import bounds_of
from workbench.figures.numbers import UNIT_WORDS, number, seconds, whole
from workbench.figures.theme import ThemeName
from workbench.parts import circuit_roles
from workbench.parts.ablation_saving import save_row
from workbench.parts.ablation_sweep import status
from workbench.parts.ablation_watch import prompt_button
from workbench.parts.circuit_layout import JUDGE, PREFIX
from workbench.parts.circuit_request import Bases, edited_of, evaluation_of
from workbench.parts.empty import empty, inline_problem, problem
from workbench.parts.export_menu import export_menu
from workbench.parts.run_panel import Seen, button_of, cancel_id, facts_of
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.jobs import Job
    from workbench.workspace import Workspace

FIND = {"Run": "Find circuit", "Resume": "Find circuit", "Run again": "Find circuit again"}
JUDGED = (
    ("faithfulness_circuit", "Faithfulness"),
    ("cpr", "CPR, area under f"),
    ("cmd", "CMD, area under |1 − f|"),
    ("random_circuit", "Random circuits of this size"),
    ("metric_circuit", "Metric of the circuit"),
    ("metric_model", "Metric of the model"),
)


def heading(workspace: Workspace, bases: Bases, state: State) -> Any:
    """The search in words, or why it cannot be made."""
    try:
        if state.given:
            given = workspace.circuits.get(state.given)
            return ["A circuit of ", whole(given.circuit.size), " edges from ", html.Bdi(given.name), "."]
        return sentence(bases.search(state))
    except WorkbenchError as error:
        return inline_problem(error)


def watch_search(bases: Bases, workspace: Workspace, state: State, session: str) -> Seen:
    """The search of a state as far as it is; it is never started by itself."""
    try:
        if state.given:
            return Seen(f"given {state.given}", None, "Find circuit", busy=True)
        asked = bases.search(state)
        result, job = workspace.result(asked.id), workspace.job(asked.id)
    except WorkbenchError as error:
        return Seen(
            f"refused {error}", problem(error, prompt_button(error), id="cir-problem"), "Find circuit", busy=True
        )
    if result is not None:
        return Seen(result.id, _found(result), "Found", busy=True)
    run, busy = button_of(job)
    done, total = (job.done, max(1, job.total)) if job is not None else (0, 1)
    told = None if job is None else status(job, done, total, session, ahead="", cancel=cancel_id(PREFIX))
    return Seen(f"{asked.id} {facts_of(job)}", told, FIND.get(run, run), busy)


def come(workspace: Workspace, bases: Bases, state: State) -> list[str]:
    """Which results that the page waits for are there: the search, the roles, the evaluation of the address."""
    try:
        asked = [] if state.given else [bases.search(state).id]
        asked.append(circuit_roles.experiment_of(bases, state).id)
    except WorkbenchError:  # told where each is asked for
        asked = []
    return [name for name in (*asked, state.judged) if name and _there(workspace, name)]


def _there(workspace: Workspace, result_id: str) -> bool:
    job = workspace.job(result_id)
    return job.state == "done" if job is not None and job.state != "failed" else workspace.result(result_id) is not None


def _found(result: Result) -> Any:
    """What was found, in a line, with its exports."""
    size, took = (result.circuit or {}).get("size", 0), seconds(result.provenance.seconds)
    words = f"{whole(size)} edges found in {took}. Exports of the circuit as it was found:"
    menu = export_menu(result.id, circuit=True, drafted=True, models=model_forms(result))
    return html.Div([html.Span(words, className="wb-muted"), menu], className="cir-row")


def watch_evaluation(bases: Bases, workspace: Workspace, state: State, session: str, theme: ThemeName) -> Seen:
    """The evaluation of the circuit as it is edited; never started by itself."""
    try:
        now = edited_of(workspace, bases, state)
        if now is None:
            text = "It is judged here: how much of the model it is, against random circuits, with intervals."
            return Seen("none", empty("No circuit yet", text, symbol="check", id="cev-empty"), "Evaluate", busy=True)
        asked = evaluation_of(workspace, bases, state)
        result, job = workspace.result(asked.id), workspace.job(asked.id)
    except WorkbenchError as error:
        return Seen(f"refused {error}", problem(error, id="cev-problem"), "Evaluate", busy=True)
    if result is not None:
        return Seen(f"{result.id} {theme}", judged(result), "Evaluated", busy=True)
    return _evaluating(asked, job, session)


def _evaluating(asked: Experiment, job: Job | None, session: str) -> Seen:
    run, busy = button_of(job)
    params = asked.params
    runs = (2 + params["controls"]) * len(params["sizes"]) + 1
    ahead = (
        f"Not evaluated as it stands: about {whole(runs)} circuits are run, {params['controls']} of each size random."
    )
    done, total = (job.done, max(1, job.total)) if job is not None else (0, 1)
    told = status(job, done, total, session, ahead=ahead, cancel=cancel_id(JUDGE))
    return Seen(f"{asked.id} {facts_of(job)}", told, "Evaluate" if run in ("Run", "Resume") else run, busy)


def judged(result: Result) -> list[Any]:
    """What an evaluation says: its numbers with intervals, and the way to keep and export it."""
    tiles = [_tile(title, result.grids[name], result) for name, title in JUDGED if name in result.grids]
    notes = [html.P(note, className="wb-muted") for note in result.provenance.warnings if "path of kept" in note]
    return [html.Div(tiles, className="abl-tiles"), *notes, save_row(JUDGE, result.id, "", circuit=True)]


def _tile(title: str, grid: Grid, result: Result) -> Any:
    bounds = bounds_of(grid, result.grids)
    known = grid.valid is None or bool(grid.valid.all())
    value = [number(float(grid.values)) if known else "–", html.Span(f" {_unit(grid)}", className="abl-unit")]
    interval = bounds.text(()) if bounds is not None and known else ""
    return html.Div(
        [html.H4(title, title=grid.about), html.P(value, className="pat-value wb-mono"),
         html.P(interval, className="wb-muted wb-number")],
        className="abl-tile pat-tile",
    )  # fmt: skip


def _unit(grid: Grid) -> str:
    return "" if grid.unit == "fraction" else UNIT_WORDS.get(grid.unit, grid.unit)
