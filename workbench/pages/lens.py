"""Lens: what the model would answer after each layer, and which parts wrote the answer; clean and edited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import ALL, Dash, Input, Output, State, ctx, dcc, no_update

from hooks.errors import WorkbenchError
from workbench import urls
from workbench.pages.base import Page
from workbench.parts import ablation_saving, lens_layout, lens_watch
from workbench.parts.ablation_watch import prompt_button, summary_of
from workbench.parts.empty import empty, problem
from workbench.parts.given import inputs_of
from workbench.parts.kinds import Kind
from workbench.parts.lens_request import refusal
from workbench.parts.lens_watch import EDITED, Asked

if TYPE_CHECKING:
    from workbench.workspace import Workspace

OF = ("lens", "direct")


def layout(workspace: Workspace, state: urls.State) -> Any:
    """The page for the model and the prompts of the address."""
    summary = summary_of(workspace, state)
    if why := refusal(Kind.of(summary), str(summary["name"])):
        ablate = dcc.Link("Ablate parts instead", href=f"/ablation{urls.write(state)}", className="wb-button")
        return [empty("Nothing to rank layer by layer", why, ablate, symbol="lens", id="lens-none")]
    try:
        prompts, answers, foils = _given(workspace, state)
    except WorkbenchError as error:
        return [problem(error, prompt_button(error), id="lens-refused")]
    return lens_layout.page(state, summary, prompts, answers=answers, foils=foils)


def _given(workspace: Workspace, state: urls.State) -> tuple[list[str], bool, bool]:
    """How the prompts read, and whether they have answers and foils. Raises WorkbenchError."""
    inputs = inputs_of(workspace, state)["clean"]
    batch = workspace.tokens(state.model, inputs)
    return ["".join(strings) for strings in batch.strings], bool(inputs.answers), bool(inputs.foils)


def register(app: Dash, workspace: Workspace) -> None:
    """Attach what the page does: both panels clean and edited, the controls, saving."""
    app.clientside_callback(
        "function() { return window.wbLens.controls.apply(null, arguments); }",
        Output("lens-sink", "data"),
        Input({"type": "lens-set", "name": ALL}, "value"),
        Input({"type": "lens-set", "name": ALL}, "checked"),
        prevent_initial_call=True,
    )
    _follow(app, workspace)
    for of in OF:
        _show(app, workspace, of)
        _saves(app, workspace, of)


def _follow(app: Dash, workspace: Workspace) -> None:
    """The controls, where the address changes what they offer."""

    @app.callback(
        Output("lens-controls", "children"),
        Output("lens-controls-shown", "data"),
        Input("url", "search"),
        State("lens-controls-shown", "data"),
    )
    def follow(search: str, before: str | None) -> Any:
        state = urls.read(search)
        try:
            prompts, answers, foils = _given(workspace, state)
            summary = summary_of(workspace, state)
        except WorkbenchError:  # told where the map would be
            return no_update, no_update
        offered = lens_layout.offered_by(state, len(prompts), answers=answers, foils=foils)
        key = lens_layout.controls_key(state, prompts, offered)
        if before is None or key == before:
            return no_update, key
        return lens_layout.controls(state, summary, prompts, offered), key


def _show(app: Dash, workspace: Workspace, of: str) -> None:
    @app.callback(
        Output(f"{of}-place", "children"),
        Output(f"{of}{EDITED}", "children"),
        Output(f"{of}-shown", "data"),
        Input("url", "search"),
        Input("job-events", "data"),
        Input("theme", "data"),
        Input({"type": "attn-again", "of": ALL}, "n_clicks"),
        State(f"{of}-shown", "data"),
        State("session", "data"),
    )
    def show(
        search: str, _: Any, theme: str | None, again: list[int | None], shown: list[str] | None, session: str | None
    ) -> Any:
        retried = ctx.triggered_id["of"] if isinstance(ctx.triggered_id, dict) and any(again) else ""
        theme_name = lens_watch.theme_of(theme)
        asked = Asked(workspace, urls.read(search), session or "", of, theme_name, retried)
        seen = (lens_watch.clean(asked), lens_watch.edited(asked))
        before = shown or ["", ""]
        contents = [no_update if key == old else content for (key, content), old in zip(seen, before, strict=True)]
        return *contents, [key for key, _ in seen]


def _saves(app: Dash, workspace: Workspace, of: str) -> None:
    def result_of(state: urls.State, *, edited: bool = False) -> str:
        return Asked(workspace, state, "", of).experiment(edited=edited).id

    ablation_saving.register(app, workspace, of, result_of)
    ablation_saving.register(app, workspace, f"{of}{EDITED}", lambda state: result_of(state, edited=True))


PAGE = Page(path="/lens", title="Lens", order=4, icon="lens", layout=layout, register=register)
