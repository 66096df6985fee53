"""Attention: every head at a glance, ranked by what it does, and one head opened with its text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import ALL, Dash, Input, Output, State, ctx, no_update
from dash.exceptions import PreventUpdate

from workbench import urls
from workbench.pages.base import Page
from workbench.parts import attention_data as data
from workbench.parts import attention_layout, attention_routes
from workbench.parts.attention_head import head_panel, sizes_of
from workbench.parts.attention_overview import FIRST, saved, saves, watch
from workbench.parts.empty import empty, sentence
from workbench.parts.stack_switch import stack_switch

if TYPE_CHECKING:
    from workbench.workspace import Workspace

CONTROLS = ("score", "sort", "least", "hide-first", "flip", "tab", "average")


def layout(workspace: Workspace, state: urls.State) -> Any:
    """The page for the model and prompt of the address."""
    sizes, summary = sizes_of(workspace, state), workspace.summary(state.model) or {}
    if not sizes.attends:
        reason = f"{sentence(sizes.reason)}. The Model page lists what can be read instead."
        return [stack_switch(summary, state.stack, "attn-stack"), empty("No layer has this attention", reason)]
    return attention_layout.page(state, sizes, summary)


def register(app: Dash, workspace: Workspace) -> None:
    """Attach what the page does: the overview and its scores, the open head, saving, and the browser's callbacks."""
    attention_routes.register(app, workspace)
    _overview(app, workspace)
    _head(app, workspace)
    _save(app, workspace)
    _browser(app)


def _overview(app: Dash, workspace: Workspace) -> None:
    @app.callback(
        Output("attn-mosaic", "data"),
        Output("attn-score-values", "data"),
        Output("attn-status", "children"),
        Output("attn-overview-wait", "children"),
        Output("attn-score-wait", "children"),
        Output("attn-ready", "data"),
        Output("attn-saved", "children"),
        Output("attn-awaited", "data"),
        Input("attn-tick", "data"),
        Input({"type": "attn-again", "of": ALL}, "n_clicks"),
        Input("attn-saving", "data"),
        State("url", "search"),
        State("attn-view", "data"),
        State("attn-mosaic", "data"),
        State("attn-score-values", "data"),
        State("attn-ready", "data"),
        State("attn-head-data", "data"),
        State("session", "data"),
    )
    def poll(
        ticked: int,
        again: list[int],
        saving: str,
        search: str,
        view: dict[str, Any],
        mosaic: Any,
        scores: Any,
        told: str | None,
        head: dict[str, Any] | None,
        session: str,
    ) -> Any:
        state = _viewed(search, view)
        retry = ctx.triggered_id["of"] if isinstance(ctx.triggered_id, dict) and any(again) else ""
        retry = retry or ("" if ticked else FIRST)
        seen = watch(
            workspace, state, session or "", had_mosaic=mosaic is not None, had_scores=scores is not None, retry=retry
        )
        menu, saving_on = saved(workspace, state, saving, session or "")
        return (
            seen.mosaic,
            seen.scores,
            seen.status,
            seen.overview_wait,
            seen.score_wait,
            # An open head that is drawn is not drawn again only because something else arrived.
            no_update if seen.ready == told and (head or {}).get("drawn") else seen.ready,
            menu,
            seen.awaited or saving_on,
        )


def _head(app: Dash, workspace: Workspace) -> None:
    @app.callback(
        Output("attn-map", "figure"),
        Output("attn-head-data", "data"),
        Output("attn-head-wait", "children"),
        Output("attn-beside", "children"),
        Output("attn-saved", "children", allow_duplicate=True),
        Output("attn-awaited", "data", allow_duplicate=True),
        Input("attn-view", "data"),
        Input("attn-ready", "data"),
        Input("theme", "data"),
        State("url", "search"),
        State("session", "data"),
        State("attn-saving", "data"),
        prevent_initial_call=True,
    )
    def draw(
        view: dict[str, Any] | None, _: Any, theme: str | None, search: str, session: str | None, saving: str | None
    ) -> Any:
        state = _viewed(search, view)
        panel = head_panel(workspace, state, "dark" if theme == "dark" else "light", session or "")
        allowed = {
            "averages": data.view_of(state).averages,
            "edits": bool(state.edits),
            "open": state.layer is not None,
        }
        figure = no_update if panel.figure is None else panel.figure
        menu = no_update if not saving or saves(state, saving) else None
        sent = panel.for_browser(**allowed)
        return figure, sent, panel.wait, panel.beside, menu, True if panel.awaited else no_update


def _save(app: Dash, workspace: Workspace) -> None:
    @app.callback(
        Output("attn-saving", "data"),
        Input("attn-save", "n_clicks"),
        State("url", "search"),
        State("attn-view", "data"),
        State("session", "data"),
        prevent_initial_call=True,
    )
    def save(clicks: int | None, search: str, view: dict[str, Any] | None, session: str | None) -> str:
        state = _viewed(search, view)
        if not clicks or state.layer is None or state.head is None:
            raise PreventUpdate
        return workspace.submit(data.export_of(state, state.layer, state.head), session=session or "").id


def _viewed(search: str, view: dict[str, Any] | None) -> urls.State:
    """The state of the address with the head and the view that the browser shows, which may be ahead of the address."""
    return urls.read(search).model_copy(update=view or {})


def _browser(app: Dash) -> None:
    """What needs no server; the functions live in assets/attention*.js."""
    controls = [Input(f"attn-{name}", "checked" if name in ("hide-first", "flip") else "value") for name in CONTROLS]
    sink = Output("attn-sink", "data", allow_duplicate=True)

    def here(function: str, output: Any, *inputs: Any, initial: bool = True) -> None:
        source = f"function() {{ return window.wbAttention.callbacks.{function}.apply(null, arguments); }}"
        app.clientside_callback(
            source, output, *inputs, prevent_initial_call=True if not initial else "initial_duplicate"
        )

    address = Input("url", "search")
    scores, mosaic = Input("attn-score-values", "data"), Input("attn-mosaic", "data")
    here("overview", sink, mosaic, scores, address, Input("theme", "data"), Input("attn-large", "checked"))
    here("view", Output("attn-view", "data"), address, scores, mosaic, State("attn-view", "data"))
    here("controls", sink, *controls, initial=False)
    here(
        "follow",
        [*_values(), Output("attn-least", "max")],
        address,
        scores,
        *(State(c.component_id, c.component_property) for c in controls),
    )
    here("awaited", sink, Input("attn-awaited", "data"))
    here("head", sink, Input("attn-head-data", "data"), State("attn-map", "figure"))
    for button in ("ablate", "copy"):
        here(button, sink, Input(f"attn-{button}", "n_clicks"), initial=False)


def _values() -> list[Output]:
    return [Output(f"attn-{name}", "checked" if name in ("hide-first", "flip") else "value") for name in CONTROLS]


PAGE = Page(path="/attention", title="Attention", order=2, icon="attention", layout=layout, register=register)
