"""The head panel: its figure and words for the view that the address names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from dash import html

from analyses.grid import Grid
from hooks.errors import WorkbenchError
from workbench import urls
from workbench.figures import attention as figures
from workbench.figures.numbers import number
from workbench.figures.theme import ThemeName
from workbench.parts import attention_data as data
from workbench.parts.attention_progress import first_pending, outcome, refused, told
from workbench.parts.empty import empty
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.workspace import Workspace

CHOOSE = (
    "Click a map, or move with the arrows and press Enter. "
    "When the scores are ready, the first head of the ranking opens by itself."
)


@dataclass(frozen=True)
class HeadPanel:
    """What the panel shows. figure None: nothing new to draw; `wait` then says why. awaited: a job is under way."""

    title: Any = ""
    sharing: str = ""
    meaning: str = ""
    figure: go.Figure | None = None
    facts: dict[str, Any] | None = None
    note: str = ""
    top: Any = None
    wait: Any = None
    awaited: bool = False
    edited: bool = field(default=False)


def head_panel(workspace: Workspace, state: State, theme: ThemeName, session: str) -> HeadPanel:
    """The panel of the head at `state.layer`, `state.head`; words where there is nothing to draw yet."""
    if state.layer is None or state.head is None:
        return HeadPanel(title="No head is open", wait=empty("No head is open", CHOOSE))
    view, average = data.view_of(state), data.average_of(state)
    edited = view.name == "difference"
    head = HeadPanel(title=f"Layer {state.layer} · head {state.head}", meaning=view.meaning, edited=edited)
    try:
        sizes = sizes_of(workspace, state)
        sizes.check(state.layer, state.head)
        job = first_pending(workspace, data.needed(state, state.layer), session)
        if job is not None:
            return HeadPanel(
                title=head.title,
                meaning=view.meaning,
                wait=told(job, "head"),
                awaited=job.state in ("queued", "running"),
                edited=edited,
            )
        captures = [outcome(workspace, request) for request in data.needed(state, state.layer)]
        grid = data.head_grid(view, captures, sizes, state.layer, state.head, average)
        batch = workspace.tokens(state.model, data.prompt_of(state))
    except WorkbenchError as error:
        return HeadPanel(title=head.title, meaning=view.meaning, wait=refused(error, "head"), edited=edited)
    return _drawn(
        state,
        theme,
        view,
        grid,
        batch,
        title_of(state, sizes, average),
        sizes.sharing(state.head) if average == "none" else "",
    )


def sizes_of(workspace: Workspace, state: State) -> data.Sizes:
    """Layers and heads of the model of an address, which is open."""
    summary = workspace.summary(state.model)
    if summary is None:
        raise WorkbenchError(f"{state.model} is not open.", "Reload the page to open it.")
    return data.Sizes.of(summary)


def title_of(state: State, sizes: data.Sizes, average: str) -> str:
    """What the panel shows, in words."""
    if average == "all":
        return f"Mean of all {sizes.layers * sizes.heads} heads"
    if average == "layer":
        return f"Layer {state.layer} · mean of {sizes.heads} heads"
    return f"Layer {state.layer} · head {state.head}"


def _drawn(
    state: State, theme: ThemeName, view: data.View, grid: Grid, batch: Any, title: str, sharing: str
) -> HeadPanel:
    strings = batch.strings[0]
    hide = state.hide_first and view.scale != "difference"
    figure = figures.head_figure(grid, strings, theme, view.scale, hide_first=hide)
    meta = figure.layout.meta
    facts = {
        "layer": state.layer,
        "head": state.head,
        "strings": list(strings),
        "special": batch.special[0, : len(strings)].tolist(),
        "scale": view.scale,
        "low": meta["low"],
        "high": meta["high"],
        "hide_first": hide,
        "exact": exact_url(state) if meta["joined"] > 1 else None,
    }
    notes = (
        [figures.reduced_note(len(strings), meta["joined"], scores=view.scale == "scores")]
        if meta["joined"] > 1
        else []
    )
    notes += [f"First token hidden: colours run to {number(meta['high'])}; the numbers are unchanged."] if hide else []
    return HeadPanel(
        title,
        sharing,
        view.meaning,
        figure,
        facts,
        " ".join(notes),
        top_cells(grid, strings, view, hide),
        edited=view.name == "difference",
    )


def exact_url(state: State) -> str:
    """Where the browser reads every value of a map that is drawn reduced."""
    return f"/data/head{urls.write(state) or '?'}"


def top_cells(grid: Grid, strings: tuple[str, ...], view: data.View, hide_first: bool) -> Any:
    """The ten strongest cells as a list: the map in words."""
    signed = view.scale in figures.SIGNED
    cells = figures.strongest(grid, strings, 10, hide_first=hide_first)
    if not cells:
        return html.P("No cell differs from zero.", className="attn-note")
    items = [
        html.Li(
            [
                html.Span([str(cell.q), " ", html.Bdi(cell.query)], className="wb-mono"),
                " attends to ",
                html.Span([str(cell.k), " ", html.Bdi(cell.key)], className="wb-mono"),
                html.Span(number(cell.value, signed=signed), className="attn-top-number"),
            ]
        )
        for cell in cells
    ]
    return html.Ol(items, className="attn-top-list")
