"""Ablate: take parts out by clicking, see what the answer loses; sweep all parts of one sort."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dash import ALL, Dash, Input, Output, State, ctx, no_update
from dash.exceptions import PreventUpdate

from hooks.errors import InputError, WorkbenchError
from workbench import urls
from workbench.figures.theme import ThemeName
from workbench.pages.base import Page
from workbench.parts import (
    ablation_layout,
    ablation_request,
    ablation_saving,
    ablation_sweep,
    ablation_watch,
    metric_field,
    run_panel,
)
from workbench.parts.ablation_picker import picker, position_chips
from workbench.parts.ablation_scope import CROSS, scope_of
from workbench.parts.empty import inline_problem
from workbench.parts.given import clean_of, inputs_of

if TYPE_CHECKING:
    from workbench.workspace import Workspace


def layout(workspace: Workspace, state: urls.State) -> Any:
    """The page for the model, prompt and tray of the address."""
    summary = ablation_watch.summary_of(workspace, state)
    batch = workspace.tokens(state.model, clean_of(workspace, state))
    chosen = ablation_request.selection_or_none(state)
    heading, wrong = _heading(workspace, state, summary["info"]), metric_field.what_is_wrong(workspace, state)
    return ablation_layout.page(state, heading, chosen, summary, batch, wrong)


def _heading(workspace: Workspace, state: urls.State, info: Mapping[str, Any]) -> Any:
    try:
        return ablation_watch.heading(state, info, inputs_of(workspace, state))
    except WorkbenchError as error:
        return inline_problem(error)


def register(app: Dash, workspace: Workspace) -> None:
    """Attach what the page does."""
    _browser(app)
    _follow(app, workspace)
    _change(app, workspace)
    _effect(app, workspace)
    _sweep(app, workspace)
    _forecast(app, workspace)
    _save(app, workspace)


def _browser(app: Dash) -> None:
    """What needs no server; the functions live in assets/ablation.js."""
    values = [(f"abl-{name}", "value") for name in ("kind", "metric", "over", "within", "site", "metric-own")]
    values.append(("abl-inside", "checked"))

    def here(function: str, output: Any, *inputs: Any) -> None:
        source = f"function() {{ return window.wbAblation.{function}.apply(null, arguments); }}"
        app.clientside_callback(source, output, *inputs, prevent_initial_call="initial_duplicate")

    sink = Output("abl-sink", "data", allow_duplicate=True)
    here("edits", sink, Input("edits", "data"))
    here("controls", sink, *(Input(*value) for value in values))
    here(
        "follow",
        [*(Output(*value, allow_duplicate=True) for value in values), Output("abl-metric-own-place", "hidden")],
        Input("url", "search"),
        *(State(*value) for value in values),
    )
    here("settle", sink, Input("url", "search"))


def _follow(app: Dash, workspace: Workspace) -> None:
    """The sentence, the picker and the words that depend on the address."""

    @app.callback(
        Output("abl-sentence", "children"),
        Output("abl-picker-place", "children"),
        Output("abl-chips-place", "children"),
        Output("abl-kind-note", "children"),
        Output("abl-within-place", "hidden"),
        Output({"type": "abl-sweep-start", "of": "panel"}, "children"),
        Output("abl-metric-own", "error"),
        Input("url", "search"),
        prevent_initial_call=True,
    )
    def follow(search: str) -> Any:
        state = urls.read(search)
        summary = ablation_watch.summary_of(workspace, state)
        info, scope = summary["info"], scope_of(summary, state)
        batch = ablation_layout.side_of(workspace.tokens(state.model, clean_of(workspace, state)), scope.name)
        chips = position_chips(batch, state.where)
        note = ablation_layout.mean_note(state)
        drawn = picker(scope.sizes, ablation_request.selection_or_none(state), scope)
        run = ablation_sweep.run_words(state.over, ablation_request.site_of(state))
        wrong = metric_field.what_is_wrong(workspace, state) or None
        return _heading(workspace, state, info), drawn, chips, note, state.over != "neuron", run, wrong


def _change(app: Dash, workspace: Workspace) -> None:
    """Kind, position and neurons: changes of the address that the server writes."""

    @app.callback(
        Output("url", "search", allow_duplicate=True),
        Input("abl-change", "data"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def change(asked: dict[str, Any] | None, search: str) -> str:
        state = urls.read(search)
        if not asked:
            raise PreventUpdate
        if "kind" in asked:
            kind = str(asked["kind"])
            return urls.change(search, kind=kind, edits=ablation_request.with_kind(state, kind))
        return urls.change(search, where=asked["where"], edits=ablation_request.with_where(state, asked["where"]))

    @app.callback(
        Output("url", "search", allow_duplicate=True),
        Output("abl-neuron-note", "children"),
        Input("abl-neuron-add", "n_clicks"),
        State("abl-neuron-layer", "value"),
        State("abl-neuron-unit", "value"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def neuron(clicks: int | None, layer: Any, unit: Any, search: str) -> tuple[Any, Any]:
        if not clicks:
            raise PreventUpdate
        state = urls.read(search)
        if not (isinstance(layer, int) and isinstance(unit, int)):
            return no_update, inline_problem(InputError("a neuron needs a layer and a number.", "Fill in both."))
        parts = ablation_request.parts_at("neuron", {"layer": layer, "unit": unit}, state.where)
        if state.stack not in ("", CROSS):
            parts = tuple(replace(part, site=replace(part.site, stack=state.stack)) for part in parts)
        return urls.change(search, edits=ablation_request.with_parts(state, parts)), None


def _effect(app: Dash, workspace: Workspace) -> None:
    @app.callback(
        Output("abl-result", "children"),
        Output("abl-shown", "data"),
        Input("url", "search"),
        Input("job-events", "data"),
        Input({"type": "abl-again", "of": ALL}, "n_clicks"),
        Input("theme", "data"),
        State("abl-shown", "data"),
        State("session", "data"),
    )
    def show(
        search: str, _: Any, again: list[int | None], theme: str | None, shown: dict[str, str] | None,
        session: str | None,
    ) -> Any:  # fmt: skip
        before, asked = shown or {}, isinstance(ctx.triggered_id, dict) and any(again)
        drawn: ThemeName = "dark" if theme == "dark" else "light"
        seen = ablation_watch.watch_effect(workspace, urls.read(search), session or "", again=bool(asked), theme=drawn)
        if before.get("job") and before["job"] != seen.job:
            ablation_watch.leave(workspace, before["job"], session or "")
        if seen.key == before.get("key"):
            raise PreventUpdate
        return seen.content, {"key": seen.key, "job": seen.job}


def _sweep(app: Dash, workspace: Workspace) -> None:
    @app.callback(
        Output("abl-sweep", "children"),
        Output("abl-swept", "data"),
        Input("url", "search"),
        Input("job-events", "data"),
        Input({"type": "abl-sweep-start", "of": ALL}, "n_clicks"),
        State("abl-swept", "data"),
        State("session", "data"),
    )
    def show(search: str, _: Any, clicks: list[int | None], shown: str | None, session: str | None) -> Any:
        state = urls.read(search)
        if isinstance(ctx.triggered_id, dict) and any(clicks):
            ablation_watch.start_sweep(workspace, state, session or "")
        seen = ablation_watch.watch_sweep(workspace, state, session or "")
        if seen.key == shown:
            raise PreventUpdate
        return seen.content, seen.key

    @app.callback(
        Output("cancelled", "data", allow_duplicate=True),
        Input("abl-sweep-cancel", "n_clicks"),
        State("url", "search"),
        State("session", "data"),
        prevent_initial_call=True,
    )
    def cancel(clicks: int | None, search: str, session: str | None) -> str:
        if not clicks:
            raise PreventUpdate
        job_id = ablation_watch.experiment_of(workspace, urls.read(search), "sweep").id
        workspace.cancel(job_id, session=session or "")
        return job_id


def _forecast(app: Dash, workspace: Workspace) -> None:
    @app.callback(
        Output("abl-forecast", "children"),
        Output("abl-foreseen", "data"),
        Input("abl-settled", "data"),
        Input("job-events", "data"),
        State("url", "search"),
        State("abl-foreseen", "data"),
        State("session", "data"),
    )
    def foresee(settled: str | None, _: Any, search: str, before: dict[str, str] | None, session: str | None) -> Any:
        if settled is None or settled != search:
            raise PreventUpdate
        try:
            experiment = ablation_watch.experiment_of(workspace, urls.read(search), "sweep")
            seen = run_panel.foresee(workspace, experiment, session or "")
        except WorkbenchError:  # the sweep's own panel says what is wrong
            seen = run_panel.Foreseen("")
        if before and before["job"] not in ("", seen.job):
            ablation_watch.leave(workspace, before["job"], session or "")
        if before and seen.words == before["words"] and seen.job == before["job"]:
            raise PreventUpdate
        return seen.words, {"words": seen.words, "job": seen.job}


def _save(app: Dash, workspace: Workspace) -> None:
    def result_of(of: str) -> Callable[[urls.State], str]:
        return lambda state: ablation_watch.experiment_of(workspace, state, of).id

    for of in ("effect", "sweep"):
        ablation_saving.register(app, workspace, of, result_of(of))


PAGE = Page(path="/ablation", title="Ablate", order=5, icon="ablate", layout=layout, register=register)
