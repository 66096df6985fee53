"""The head panel: its figure and words for the view that the address names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from analyses.grid import Grid
from hooks.errors import WorkbenchError
from hooks.tokens import TokenBatch
from workbench import urls
from workbench.figures import attention as figures
from workbench.figures.attention import Cell
from workbench.figures.numbers import number
from workbench.figures.theme import ThemeName
from workbench.parts import attention_data as data
from workbench.parts import attention_positions
from workbench.parts.attention_progress import first_pending, outcome, refused, told
from workbench.parts.empty import empty
from workbench.parts.given import inputs_of
from workbench.requests import CaptureRequest, ExperimentRequest
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.workspace import Workspace

CHOOSE = (
    "Click a map, or move with the arrows and press Enter. "
    "When the scores are ready, the first head of the ranking opens by itself."
)


@dataclass(frozen=True)
class HeadPanel:
    """What the panel shows. figure, facts: the map and what the browser needs to follow it; None while there is nothing
    to draw, and then `wait` says why. top: the ten strongest cells. beside: what else the view has to show. awaited: a
    job is under way.
    """

    title: str
    sharing: str = ""
    meaning: str = ""
    note: str = ""
    edited: bool = False
    figure: go.Figure | None = None
    facts: dict[str, Any] | None = None
    top: tuple[Cell, ...] = ()
    beside: Any = None
    wait: Any = None
    awaited: bool = False

    def for_browser(self, *, averages: bool, edits: bool, open: bool) -> dict[str, Any]:
        """The words and facts in one answer, since each further output costs the page a redraw of its own.

        averages, edits, open: whether averages can be chosen, the difference be seen, the head be ablated and saved.
        """
        return {
            "title": self.title,
            "sharing": self.sharing,
            "meaning": self.meaning,
            "note": self.note,
            "edited": self.edited,
            "drawn": self.facts,
            "awaited": self.awaited,
            "top": [[cell.q, cell.k, cell.value] for cell in self.top],
            "enabled": {"average": averages, "tab-difference": edits, "ablate": open, "save": open},
        }


def head_panel(workspace: Workspace, state: State, theme: ThemeName, session: str) -> HeadPanel:
    """The panel of the head at `state.layer`, `state.head`; words where there is nothing to draw yet."""
    if state.layer is None or state.head is None:
        return HeadPanel("No head is open", wait=empty("No head is open", CHOOSE))
    view, average = data.view_of(state), data.average_of(state)
    words = HeadPanel(
        f"Layer {state.layer} · head {state.head}",
        meaning=view.meaning,
        edited=view.name == "difference",
        beside=attention_positions.placeholder() if view.name == "positions" else None,
    )
    try:
        sizes = sizes_of(workspace, state)
        sizes.check(state.layer, state.head)
        requests = asked(workspace, state, state.layer, sizes)
        captures = [outcome(workspace, request) for request in requests]
        if None in captures:
            if (job := first_pending(workspace, requests, session)) is not None:
                return replace(words, wait=told(job, "head"), awaited=job.state in ("queued", "running"))
            captures = [outcome(workspace, request) for request in requests]
        grid = data.head_grid(view, captures, sizes, state.layer, state.head, average)
        batch = workspace.tokens(state.model, data.prompt_of(state))
    except WorkbenchError as error:
        return replace(words, wait=refused(error, "head"))
    sharing = sizes.sharing(state.head) if average == "none" else ""
    words = replace(words, title=title_of(state, sizes, average), sharing=sharing)
    if view.name == "positions":
        place = (state.layer, state.head, sides_of(batch, sizes)[0].strings[0])
        shown = attention_positions.beside(captures[0], *place, theme, state.hide_first)
        words = replace(words, meaning=f"{view.meaning} {grid.about}", beside=shown)
    return _drawn(words, state, theme, grid, sides_of(batch, sizes))


def asked(
    workspace: Workspace, state: State, layer: int, sizes: data.Sizes
) -> tuple[CaptureRequest | ExperimentRequest, ...]:
    """What the open view of a head reads; see `attention_data.needed`. Raises WorkbenchError."""
    copied = inputs_of(workspace, state) if data.view_of(state).name == "difference" and state.edits else None
    return data.needed(state, layer, sizes, copied)


def sides_of(batch: TokenBatch, sizes: data.Sizes) -> tuple[TokenBatch, TokenBatch]:
    """Whose positions the queries and the keys of this attention are."""
    if sizes.stack == data.CROSS:
        return batch, batch.side("encoder")
    side = batch.sides.get(sizes.stack, batch)
    return side, side


def sizes_of(workspace: Workspace, state: State) -> data.Sizes:
    """Layers and heads of the model of an address, which is open."""
    summary = workspace.summary(state.model)
    if summary is None:
        raise WorkbenchError(f"{state.model} is not open.", "Reload the page to open it.")
    return data.Sizes.of(summary, state.stack)


def title_of(state: State, sizes: data.Sizes, average: str) -> str:
    """What the panel shows, in words."""
    if average == "all":
        return f"Mean of all {sizes.layers * sizes.heads} heads"
    if average == "layer":
        return f"Layer {state.layer} · mean of {sizes.heads} heads"
    return f"Layer {state.layer} · head {state.head}"


def _drawn(
    words: HeadPanel, state: State, theme: ThemeName, grid: Grid, sides: tuple[TokenBatch, TokenBatch]
) -> HeadPanel:
    (strings, keys), scale = (side.strings[0] for side in sides), data.view_of(state).scale
    hide = state.hide_first and scale != "difference"
    cross = sides[0] is not sides[1]
    figure = figures.head_figure(grid, strings, theme, scale, hide_first=hide, keys=keys if cross else None)
    meta = figure.layout.meta
    facts = {
        "layer": state.layer,
        "head": state.head,
        "strings": list(strings),
        "special": sides[0].special[0, : len(strings)].tolist(),
        "keys": list(keys) if cross else None,
        "special_keys": sides[1].special[0, : len(keys)].tolist() if cross else None,
        "grid": sides[1].grid,
        "scale": scale,
        "low": meta["low"],
        "high": meta["high"],
        "hide_first": hide,
        "exact": exact_url(state) if meta["joined"] > 1 else None,
    }
    notes = []
    if meta["joined"] > 1:
        notes.append(figures.reduced_note(len(strings), meta["joined"], scores=scale == "scores"))
    if hide:
        notes.append(f"First token hidden: colours run to {number(meta['high'])}; the numbers are unchanged.")
    top = tuple(figures.strongest(grid, strings, 10, hide_first=hide, keys=keys))
    return replace(words, figure=figure, facts=facts, note=" ".join(notes), top=top)


def exact_url(state: State) -> str:
    """Where the browser reads every value of a map that is drawn reduced."""
    return f"/data/head{urls.write(state) or '?'}"
