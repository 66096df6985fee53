"""How it stands with the experiment of the Patch page: asked of the workspace anew each time, so never stale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dash import html

from analyses.analysis import sentence
from analyses.experiment import Experiment
from analyses.grid import Grid
from analyses.result import Result
from hooks.errors import WorkbenchError
from workbench.figures.ablation import blank
from workbench.figures.theme import ThemeName
from workbench.parts import patch_map
from workbench.parts.ablation_request import METRICS
from workbench.parts.ablation_saving import save_row
from workbench.parts.ablation_sweep import status
from workbench.parts.ablation_watch import prompt_button, summary_of
from workbench.parts.empty import problem
from workbench.parts.metric_field import unit_of
from workbench.parts.patch_request import Asked, asked, coords_of
from workbench.parts.run_panel import Seen, button_of, cancel_id, facts_of
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.jobs import Job
    from workbench.workspace import Workspace

PREFIX = "pat"
AHEAD = "{} The map fills as results arrive."
SHARES = ("activation_patching", "attribution_patching")
"""Methods whose map is a share of clean − corrupt."""


def asked_of(workspace: Workspace, state: State) -> Asked:
    """The experiment of a state. Raises WorkbenchError."""
    return asked(workspace, state, summary_of(workspace, state))


def heading(workspace: Workspace, state: State) -> str:
    """The experiment in words. Raises WorkbenchError."""
    return sentence(asked_of(workspace, state).experiment)


def experiment_of(workspace: Workspace, state: State) -> Experiment:
    """What is run. Raises WorkbenchError."""
    return asked_of(workspace, state).experiment


def watch(workspace: Workspace, state: State, session: str, theme: ThemeName = "light") -> Seen:
    """The map of the state as far as it is measured; it is never started by itself."""
    try:
        want, info = asked_of(workspace, state), summary_of(workspace, state)["info"]
        result, job = workspace.result(want.experiment.id), workspace.job(want.experiment.id)
        partial = workspace.partial(want.experiment.id) if result is None and job is not None else None
    except WorkbenchError as error:
        return Seen(f"refused {error}", problem(error, prompt_button(error), id="pat-problem"), busy=True)
    if result is not None:
        content = done(result, want, int(info["n_layers"]), theme)
        return Seen(f"{result.id} {state.shown} {state.hide_inside} {theme}", content, "Done", busy=True)
    content, measured = filling(want, info, job, partial, session)
    run, busy = button_of(job)
    return Seen(f"{want.experiment.id} {measured} {facts_of(job)}", content, run, busy)


def filling(
    want: Asked, info: Mapping[str, Any], job: Job | None, partial: Grid | None, session: str
) -> tuple[list[Any], int]:
    """The map before its result is there, and how many cells are measured."""
    coords, name = coords_of(want, info), want.method.grid
    empty = blank(name, coords, "fraction" if want.method.name in SHARES else unit_of(want.metric)) if coords else None
    # Before its own map comes, a method may tell of progress with none.
    grid = partial if partial is not None and partial.name == name else empty
    total = grid.values.size if grid is not None else 1
    measured = 0 if grid is None else total if grid.valid is None else int(grid.valid.sum())
    told = status(job, measured, total, session, ahead=AHEAD.format(want.method.about), cancel=cancel_id(PREFIX))
    if grid is None:
        return [told], measured
    return [told, patch_map.drawn(grid, want, int(info["n_layers"]))], measured


def done(result: Result, want: Asked, layers: int, theme: ThemeName) -> list[Any]:
    """What a finished experiment says: both runs, the map that is chosen, the way to keep it."""
    maps = patch_map.maps_of(result, want.method.grid)
    main = result.grid(want.method.grid)
    why = patch_map.undefined(main, result)
    usual = "metric_run" if why and "metric_run" in maps else want.method.grid
    shown = want.state.shown if want.state.shown in maps else usual
    words = [html.P(why, className="wb-inline-problem", role="alert", id="pat-undefined")] if why else []
    metric = METRICS.get(want.metric, want.metric) if "metric" in want.params else "Logit difference"
    scatter = patch_map.agreement_figure(result, theme) if want.method.grid == "estimate" else None
    return [
        patch_map.tiles(result, metric),
        *words,
        patch_map.switch(maps, shown, usual),
        patch_map.drawn(result.grids[shown], want, layers, grids=result.grids, theme=theme),
        *([scatter] if scatter is not None else []),
        save_row(PREFIX, result.id, shown),
    ]
