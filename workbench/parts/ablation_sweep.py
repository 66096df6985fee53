"""A sweep as it fills: what it says, the map of effects, the strongest cells as a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dash_mantine_components as dmc
from dash import html

from analyses.grid import Grid
from workbench.figures.ablation import CellMap, blank, cell_map, reach_of, strongest
from workbench.figures.intervals import Bounds, bounds_of, outside, range_of
from workbench.figures.numbers import number, seconds, whole
from workbench.parts.ablation_cells import NONE_OUTSIDE, cells, list_item
from workbench.parts.ablation_request import (
    HEADS_SWEPT,
    SWEEPS,
    head_axis,
    name_template,
    parts_at,
    site_of,
    sweep_coords,
    template,
)
from workbench.parts.empty import sentence
from workbench.parts.metric_field import unit_of
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.jobs import Job

SHOWN_CELLS = 10


def swept_words(over: str, site: str = "z") -> str:
    """What a sweep goes over: "all heads", "the keys of all key/value heads", "all MLPs" …"""
    return HEADS_SWEPT[site] if over == "head" or over not in SWEEPS else SWEEPS[over]


def run_words(over: str, site: str = "z") -> str:
    """What the button that starts a sweep says."""
    return f"Sweep {swept_words(over, site)}"


def sweep(
    grid: Grid,
    state: State,
    status: Any,
    strings: Sequence[str] = (),
    group: int = 1,
    beside: Mapping[str, Grid] | None = None,
) -> list[Any]:
    """Status line, map and list; the same three places while results arrive, so that nothing jumps.

    group: query heads per key/value head. beside: the grids of a finished sweep, with its intervals and its control.
    """
    effect = Grid("effect", grid.values, grid.dims, grid.coords, grid.unit, grid.baseline, grid.about, grid.valid)
    bounds, control = bounds_of(effect, beside or {}), range_of("control", beside or {})
    picture, site = cell_map(effect, strings=strings, bounds=bounds, control=control), site_of(state)
    heads = grid.coords[grid.dims[-1]] if state.over == "head" else ()
    named = [name_template("head", site, int(head), group) for head in heads] or name_template(state.over)
    figure = cells(
        "abl-map",
        picture,
        label=f"Effect of ablating each of {swept_words(state.over, site)} alone",
        name=named,
        action="toggle",
        target=template(state.over, site=site),
        kind=state.kind,
        say="Click a cell to add it to the ablation.",
        grey=state.hide_inside,
    )
    words = _control_words(picture, control) if control is not None else None
    shown = effect if control is None or not state.hide_inside else outside(effect, control)
    return [status, words, html.Div([figure, _list(shown, state, strings, group)], className="abl-map-and-list")]


def _control_words(picture: CellMap, control: Bounds) -> Any:
    """The range that parts of the map have by themselves, and how many cells lie outside it."""
    beyond = picture.measured - sum(map(sum, picture.inside))
    words = f": {whole(beyond)} of {whole(picture.measured)} cells lie outside it."
    mono = html.Span(control.text(), className="wb-mono")
    text = ["The middle 95 % of these effects run from ", mono, words]
    return html.P(text, className="wb-muted", id="abl-sweep-control", title=control.low.about)


def empty_grid(state: State, info: Mapping[str, Any], length: int) -> Grid:
    """The map of a sweep in which nothing has been measured."""
    return blank("effect", sweep_coords(state, info, length), unit_of(state.metric))


def _list(grid: Grid, state: State, strings: Sequence[str], group: int) -> Any:
    reach = reach_of(grid) or 1.0
    items = [_item(row, state, reach, strings, group) for row in strongest(grid, SHOWN_CELLS)]
    nothing = grid.valid is not None and state.hide_inside
    empty = [html.Li(NONE_OUTSIDE if nothing else "Nothing measured yet.", className="wb-muted")]
    return html.Div([html.H3("Strongest"), html.Ol(items or empty, className="abl-list", id="abl-strongest")])


def _item(row: dict[str, Any], state: State, reach: float, strings: Sequence[str], group: int) -> Any:
    value, site = row.pop("value"), site_of(state)
    name = name_template(state.over, site, int(row.get(head_axis(site), 0)), group).format(**row)
    if "pos" in row and strings:
        name = f"layer {row['layer']}, “{strings[row['pos']]}” at {row['pos']}"
    return list_item(parts_at(state.over, row, site=site), state.kind, name, number(value, signed=True), value / reach)


def status(
    job: Job | None,
    measured: int,
    total: int,
    session: str,
    *,
    ahead: str = "",
    cancel: str = "abl-sweep-cancel",
    start: str = "",
    notes: Sequence[str] = (),
) -> Any:
    """How it stands with a sweep, in words, with the one button that belongs there.

    ahead: what is said before it starts. cancel: the id of the button that stops it. start: the type of the buttons
    that start it, where one stands here. notes: of a finished sweep.
    """
    count = f"{whole(measured)} of {whole(total)} measured"
    if job is not None and job.active:
        return _running(job, count, session, cancel)
    if job is not None and job.state == "failed":
        error = job.error or {"message": "the sweep ended without a result.", "hint": ""}
        words = [html.Strong(sentence(error["message"])), " ", html.Span(error.get("hint", ""), className="wb-muted")]
        words = html.P(words, className="wb-inline-problem", role="alert")
        return html.Div([words, *_start_again("Run again", start)], className="abl-status abl-status-stopped")
    if job is not None and job.state == "cancelled":
        kept = f"Cancelled: {count}. What was measured stays here."
        text = html.P(kept if measured else "Cancelled before the first result.")
        button = _start_again("Resume" if measured else "Run again", start)
        return html.Div([text, *button], className="abl-status abl-status-stopped")
    if measured == total:
        more = "".join(f" {sentence(note)}." for note in notes)
        return html.Div(html.P(f"{count}.{more}", className="wb-muted"), className="abl-status")
    ahead = ahead or f"{whole(total)} parts, each ablated alone. The map fills as results arrive."
    return html.Div(html.P(ahead, className="wb-muted"), className="abl-status")


def _start_again(words: str, start: str) -> list[Any]:
    return [dmc.Button(words, id={"type": start, "of": "again"}, variant="default")] if start else []


def _running(job: Job, count: str, session: str, cancel: str) -> Any:
    left = f"{seconds(job.seconds_left)} left" if job.seconds_left is not None else ""
    facts = "waiting for the job before it" if job.state == "queued" else job.message
    words = " · ".join(part for part in (sentence(facts), count, left) if part)
    share = 100 * job.done / job.total if job.total else 0
    ours = session in job.sessions
    return html.Div(
        [
            dmc.Progress(value=share, size=6, **{"aria-label": words}),
            html.P(words, className="wb-number", role="status"),
            dmc.Button("Cancel", id=cancel, variant="default") if ours else None,
        ],
        className="abl-status abl-status-running",
    )
