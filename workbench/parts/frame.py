"""The frame around every page: layout, and the one callback that decides what the page shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, dcc, html, no_update
from pydantic import ValidationError

from hooks.errors import ModelError, WorkbenchError
from hooks.reference import ModelRef
from workbench import urls
from workbench.figures import theme as themes
from workbench.pages.base import Page
from workbench.parts import flyouts, header, header_given, job_bar, palette, tray
from workbench.parts.empty import empty, problem
from workbench.parts.kinds import Kind, fitted
from workbench.parts.nav import nav
from workbench.requests import OpenRequest

if TYPE_CHECKING:
    from workbench.workspace import Workspace

STORES = (
    *("session", "theme", "tick", "job-events", "route", "given"),
    *("model-state", "edits", "cancelled", "retry", "adapted"),
)

SILENT = "The workbench does not answer. Is it still running? This page goes on by itself when it is."


@dataclass(frozen=True)
class Opened:
    """How it stands with the model of the address. status: open, opening or failed."""

    status: str
    summary: Mapping[str, Any] | None = None
    job: str = ""
    error: Mapping[str, str] | None = None


def layout(pages: Sequence[Page]) -> Any:
    """The whole page, before any state is known."""
    frame = [nav(pages), header.header(), _main(), tray.tray(), job_bar.job_bar()]
    return dmc.MantineProvider(
        [
            dcc.Location(id="url", refresh="callback-nav"),
            *(dcc.Store(id=name) for name in STORES),
            dcc.Store(id="dismissed", storage_type="session"),
            html.A("Skip to the page", href="#page", className="wb-skip"),
            html.Div(frame, className="wb-frame"),
            html.Div(className="wb-scrim", **{"data-wb-action": "close"}),
            *flyouts.shells(),
            palette.palette(pages),
            palette.help_keys(),
            html.Div(id="wb-toast", className="wb-toast", role="status", **{"aria-live": "polite"}),
        ],
        id="mantine",
        theme=themes.mantine(),
    )


def _main() -> Any:
    return html.Main(
        [
            html.Div(id="notice", **{"aria-live": "assertive"}),
            html.P(SILENT, id="wb-silent", className="wb-silent", role="alert", hidden=True),
            html.Div(id="opening"),
            html.Div(id="page", className="wb-page", tabIndex=-1),
        ],
        className="wb-main",
    )


def register(app: Dash, workspace: Workspace, pages: Sequence[Page]) -> None:
    """The frame's callbacks, and those of its parts."""
    by_path = {page.path: page for page in pages}
    _clientside(app)
    for part in (header_given, flyouts, job_bar, tray):
        part.register(app, workspace)

    @app.callback(
        Output("page", "children"),
        Output("header-facts", "children"),
        Output("header-given", "children"),
        Output("model-state", "data"),
        Input("route", "data"),
        Input("retry", "data"),
        State("url", "pathname"),
        State("url", "search"),
        State("model-state", "data"),
        State("session", "data"),
        prevent_initial_call=True,
    )
    def render(
        route: dict[str, Any] | None,
        retry: str | None,
        path: str,
        search: str,
        before: dict[str, Any] | None,
        session: str | None,
    ) -> tuple[Any, Any, Any, Any]:
        state = urls.read(search)
        model = opened(workspace, state.model, session or "", before or {}, (route or {}).get("ended"), retry)
        state, adapted = adapt(workspace, state, model)
        count, wrong = token_count(workspace, state, model)
        kept = {"model": state.model, "state": model.status, "job": model.job, "retry": retry}
        if adapted:
            # The browser goes to the adapted address at once, which all callbacks of the page then share.
            return None, no_update, no_update, {**kept, "from": search, "to": urls.write(state)}
        body = page_body(workspace, by_path.get(path), state, model, wrong)
        many = None if model.summary is None else header_given.many_of(workspace, state)
        facts, given = header.facts(state, model.summary, model.status), header.given(state, model.summary, count, many)
        return body, facts, given, kept


def opened(
    workspace: Workspace, name: str, session: str, before: Mapping[str, Any], ended: str | None, retry: str | None
) -> Opened:
    """The model's summary if it is open; else start opening it, unless that has just failed and nobody asked again."""
    try:
        request = OpenRequest(model=ModelRef.model_validate(name))
    except ValidationError:
        return Opened(
            "failed",
            error=ModelError("the address names no model.", "Choose one under the model's name above.").as_dict(),
        )
    summary = workspace.summary(request.model)
    if summary is not None:
        return Opened("open", summary)
    asked_again = retry != before.get("retry")
    same = before.get("job") == request.id and (ended or before.get("state") == "failed")
    job = workspace.job(request.id) if same and not asked_again else None
    if job is None or job.state == "done":
        job = workspace.submit(request, session=session)
        summary = workspace.summary(request.model)
    if summary is not None:
        return Opened("open", summary, job.id)
    if job.state in ("failed", "cancelled"):
        stopped = {
            "code": "cancelled",
            "message": "opening it was cancelled.",
            "hint": "Try again, or choose another model.",
        }
        return Opened("failed", None, job.id, job.error or stopped)
    return Opened("opening", None, job.id)


def adapt(workspace: Workspace, state: urls.State, model: Opened) -> tuple[urls.State, bool]:
    """The state made to fit the kind of the open model, and whether anything had to change."""
    if model.summary is None or "info" not in model.summary:
        return state, False
    fit = fitted(workspace, state, Kind.of(model.summary))
    return fit, fit != state


def token_count(workspace: Workspace, state: urls.State, model: Opened) -> tuple[int | None, WorkbenchError | None]:
    """How many tokens the prompt has, or why it cannot be used; neither while the model is not open."""
    if model.summary is None:
        return None, None
    try:
        return workspace.tokens(state.model, state.inputs()).lengths[0], None
    except WorkbenchError as error:
        return None, error


def page_body(
    workspace: Workspace, page: Page | None, state: urls.State, model: Opened, wrong: WorkbenchError | None
) -> Any:
    """What stands in the main area: the page, or why it cannot be shown and the one next step."""
    if page is None:
        link = html.A(
            "Go to Attention", href="/attention", className="wb-button wb-primary", **{"data-wb-nav": "/attention"}
        )
        return empty("There is no page at this address", "The pages are listed in the navigation.", link)
    if page.needs_model and model.status == "opening":
        return None
    if page.needs_model and model.status == "failed":
        return _failed(state, model.error or {})
    if page.needs_prompt and wrong is not None:
        button = html.Button(
            "Edit the prompt", className="wb-button wb-primary", type="button", **{"data-wb-action": "prompt"}
        )
        return problem(wrong, button, title="This prompt cannot be used with this model")
    try:
        return page.layout(workspace, state)
    except WorkbenchError as error:
        return problem(error)


def _failed(state: urls.State, error: Mapping[str, str]) -> Any:
    buttons = html.Div(
        [
            html.Button("Try again", className="wb-button wb-primary", type="button", **{"data-wb-action": "retry"}),
            html.Button("Choose another model", className="wb-button", type="button", **{"data-wb-action": "model"}),
        ],
        className="wb-field-row",
    )
    return problem({"message": "", "hint": "", **error}, buttons, title=f"{state.model} could not be opened")


def _clientside(app: Dash) -> None:
    """Glue that needs no server; the functions live in assets/wb.js."""
    app.clientside_callback(
        "function(...given) { return window.wb.route(...given); }",
        Output("route", "data"),
        Input("url", "pathname"),
        Input("url", "search"),
        Input("job-events", "data"),
        Input("model-state", "data"),
        Input("session", "data"),
        State("route", "data"),
    )
    app.clientside_callback(
        "function(model) { return window.wb.adapt(model); }", Output("adapted", "data"), Input("model-state", "data")
    )
    app.clientside_callback(
        "function(search, before) { return window.wb.editsChanged(search, before); }",
        Output("edits", "data"),
        Input("url", "search"),
        State("edits", "data"),
    )
    app.clientside_callback(
        "function() { return window.wb.session(); }", Output("session", "data"), Input("mantine", "id")
    )
    app.clientside_callback("function() { return window.wb.theme(); }", Output("theme", "data"), Input("mantine", "id"))
    app.clientside_callback(
        "function(session) { return window.wb.watchJobs(session); }", Output("tick", "data"), Input("session", "data")
    )
