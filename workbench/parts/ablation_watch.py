"""How it stands with the two experiments of the Ablate page: asked of the workspace anew each time, so never stale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dash_mantine_components as dmc
from dash import html

from analyses.analysis import sentence
from analyses.experiment import Experiment
from analyses.phrases import query_heads_in_words
from hooks.errors import InputError, ModelError, WorkbenchError
from hooks.prompts import PromptSet
from workbench.figures.theme import ThemeName
from workbench.parts import ablation_sweep
from workbench.parts.ablation_effect import effect
from workbench.parts.ablation_request import effect_experiment, group_of, selection, sweep_experiment
from workbench.parts.ablation_saving import save_row
from workbench.parts.empty import empty, problem, waiting
from workbench.parts.given import clean_of, inputs_for
from workbench.parts.kinds import Kind
from workbench.requests import ExperimentRequest
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.jobs import Job
    from workbench.workspace import Workspace


@dataclass(frozen=True)
class Seen:
    """What a panel shows. key: changes whenever the content does. job: the job that makes it, or ""."""

    key: str
    content: Any
    job: str = ""


def summary_of(workspace: Workspace, state: State) -> Mapping[str, Any]:
    """The summary of the model of a state. Raises ModelError when it is not open any more."""
    summary = workspace.summary(state.model)
    if summary is None:
        raise ModelError(f"{state.model} is not open any more.", "Reload the page to open it again.")
    return summary


def info_of(workspace: Workspace, state: State) -> Mapping[str, Any]:
    """The sizes of the model of a state. Raises ModelError when it is not open any more."""
    info: Mapping[str, Any] = summary_of(workspace, state)["info"]
    return info


def heading(state: State, info: Mapping[str, Any], inputs: Mapping[str, PromptSet] | None = None) -> str:
    """The experiment of the tray in words; what to do where the tray is empty. inputs: of the page, by name.

    Raises WorkbenchError.
    """
    chosen = selection(state)
    if not chosen.edits:
        return "Nothing is ablated yet. Choose parts below, or sweep them all."
    parts = [edit.at for edit in chosen.edits if edit.at.site.kind.head_axis == "kv_head"]
    kv_heads = sorted({part.head for part in parts if part.head is not None})
    shared = [f"Key/value head {head} is read by {query_heads_in_words(head, group_of(info))}." for head in kv_heads]
    return " ".join([sentence(effect_experiment(state, chosen, inputs)), *shared])


def watch_effect(
    workspace: Workspace, state: State, session: str, *, again: bool = False, theme: ThemeName = "light"
) -> Seen:
    """The effect of the tray, computed when it is not there. again: start anew after a failure or a cancel."""
    try:
        chosen = selection(state)
        if not chosen.edits:
            return Seen("empty", _nothing())
        experiment = experiment_of(workspace, state, "effect")
        result = workspace.result(experiment.id)
        if result is not None:
            batch = workspace.tokens(state.model, clean_of(workspace, state))
            # Answers differ from prompt to prompt: marks are for one.
            answers, foils = (ids[0] if ids and len(batch) == 1 else () for ids in (batch.answers, batch.foils))
            grid = next((name for name in result.grids if name.endswith("pattern_shift")), "effect")
            saving = save_row("effect", experiment.id, grid)
            kind = Kind.of(summary_of(workspace, state))
            shown = effect(result, saving, answers, foils, kind.noun, theme)
            return Seen(f"done {experiment.id} {theme if len(batch) > 1 else ''}", shown)
        job = _asked(workspace, experiment, session, again)
    except WorkbenchError as error:
        return Seen(f"refused {error}", problem(error, prompt_button(error), id="abl-problem"))
    key = f"{experiment.id} {job.state} {job.done} {job.message} {job.seconds_left}"
    return Seen(key, _told(job), job.id)


def _asked(workspace: Workspace, experiment: Experiment, session: str, again: bool) -> Job:
    job = workspace.job(experiment.id)
    if job is None or job.state == "done" or (again and not job.active):
        return workspace.submit(ExperimentRequest(experiment=experiment), session=session)
    return job


def _nothing() -> Any:
    start = dmc.Button("Sweep all heads to find the strongest", id={"type": "abl-sweep-start", "of": "empty"})
    text = "Click a head, an attention block, an MLP or a layer in the picker, or press a on the Attention page."
    return empty("Nothing is ablated yet", text, start, symbol="ablate", id="abl-empty")


def _told(job: Job) -> Any:
    if job.active or job.state == "done":
        queued = "waiting for the job before it" if job.state == "queued" else "starting"
        return waiting(job.title, job.message or queued, job.done, job.total, job.seconds_left, id="abl-waiting")
    button = dmc.Button("Run again", id={"type": "abl-again", "of": "effect"}, variant="default")
    stopped = {"message": "this ablation was cancelled.", "hint": "Nothing is lost: run it again when you like."}
    ended = {"message": "the job ended without a result.", "hint": "Run it again."}
    return problem(stopped if job.state == "cancelled" else job.error or ended, button, id="abl-problem")


def leave(workspace: Workspace, job_id: str, session: str) -> None:
    """Stop a job that this page waited for and does not show any more; others who wait for it keep it."""
    job = workspace.job(job_id)
    if job is not None and job.active:
        workspace.cancel(job_id, session=session)


def experiment_of(workspace: Workspace, state: State, of: str) -> Experiment:
    """The experiment that the panel `of` ("effect" or "sweep") shows. Raises WorkbenchError."""
    if of == "sweep":
        return sweep_experiment(state, inputs_for(workspace, state))
    return effect_experiment(state, selection(state), inputs_for(workspace, state, state.tray().inputs))


def prompt_button(error: WorkbenchError) -> Any:
    """The button that leads to what an InputError asks for; None for other errors."""
    if not isinstance(error, InputError):
        return None
    return html.Button("Edit the prompt", className="wb-button", type="button", **{"data-wb-action": "prompt"})


def start_sweep(workspace: Workspace, state: State, session: str) -> Job:
    """Ask for the sweep of a state. Raises WorkbenchError."""
    return workspace.submit(ExperimentRequest(experiment=experiment_of(workspace, state, "sweep")), session=session)


def watch_sweep(workspace: Workspace, state: State, session: str) -> Seen:
    """The sweep of the state as far as it is measured; it is never started by itself."""
    try:
        experiment, info = experiment_of(workspace, state, "sweep"), info_of(workspace, state)
        batch = workspace.tokens(state.model, clean_of(workspace, state))
        result, job = workspace.result(experiment.id), workspace.job(experiment.id)
        partial = workspace.partial(experiment.id) if result is None and job is not None else None
    except WorkbenchError as error:
        return Seen(f"refused {error}", problem(error, prompt_button(error), id="abl-sweep-problem"))
    blank = ablation_sweep.empty_grid(state, info, batch.lengths[0])
    grid = result.grid("effect") if result is not None else partial or blank
    total = blank.values.size
    measured = total if grid.valid is None else int(grid.valid.sum())
    # Layers without the part stay empty in a finished sweep.
    total = measured if result is not None else total
    live = None if result is not None else job
    notes = [note for note in result.provenance.warnings if "before it was stopped" in note] if result else []
    status = ablation_sweep.status(live, measured, total, session, start="abl-sweep-start", notes=notes)
    strings = batch.strings[0] if len(batch) == 1 else ()
    beside = None if result is None else result.grids
    content = ablation_sweep.sweep(grid, state, status, strings, group_of(info), beside)
    if result is not None:
        content.append(save_row("sweep", experiment.id, "effect"))
    facts = (live.state, live.done, live.message, live.seconds_left) if live is not None else ()
    key = f"{experiment.id} {result is not None} {measured} {facts} {state.hide_inside}"
    return Seen(key, content, experiment.id)
