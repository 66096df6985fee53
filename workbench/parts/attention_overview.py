"""The overview and its head scores: what is there, what is awaited, and the saving of one head's pattern."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dash import html, no_update

from analyses.result import Result
from hooks.errors import WorkbenchError
from workbench.figures.numbers import whole
from workbench.parts import attention_data as data
from workbench.parts.attention_head import asked, sides_of, sizes_of
from workbench.parts.attention_layout import SCORES
from workbench.parts.attention_progress import first_pending, outcome, pending, refused, told, where_from
from workbench.parts.attention_routes import mosaic_url
from workbench.parts.export_menu import export_menu
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.jobs import Job
    from workbench.workspace import Workspace

ACTIVE = ("queued", "running")
FIRST = "first"


@dataclass(frozen=True)
class Seen:
    """What one look at the jobs gives each part of the page; `no_update` where nothing changed. awaited: look again."""

    mosaic: Any = no_update
    scores: Any = no_update
    status: Any = no_update
    overview_wait: Any = None
    score_wait: Any = None
    ready: Any = no_update
    awaited: bool = False


def watch(
    workspace: Workspace, state: State, session: str, *, had_mosaic: bool, had_scores: bool, retry: str = ""
) -> Seen:
    """Patterns first, then head scores, then what the open view needs besides. retry: the part to start anew.

    FIRST is the look of a page that was just opened: it does not stop at the failure of an earlier visit.
    """
    try:
        sizes = sizes_of(workspace, state)
        job = pending(workspace, data.patterns_of(state, sizes), session, again=retry in ("overview", FIRST))
        if job is not None:
            status = html.Span(f"Capturing every head’s pattern with {state.model}") if job.state in ACTIVE else ""
            return Seen(status=status, overview_wait=told(job, "overview"), awaited=job.state in ACTIVE)
        mosaic, status = (no_update, no_update) if had_mosaic else _mosaic(workspace, state, retry == FIRST)
        scores, score_job = (
            (no_update, None)
            if had_scores and retry != "scores"
            else _scores(workspace, state, session, retry in ("scores", FIRST))
        )
        extra = _extra(workspace, state, session, retry == "head")
    except WorkbenchError as error:
        return Seen(status="", overview_wait=refused(error, "overview"))
    waits = [wait for wait in (score_job, extra) if wait is not None and wait.state in ACTIVE]
    wait = told(score_job, "scores") if score_job is not None else None
    return Seen(mosaic, scores, status, None, wait, _finger(extra), bool(waits))


def _mosaic(workspace: Workspace, state: State, stored_before: bool) -> tuple[dict[str, Any], Any]:
    sizes = sizes_of(workspace, state)
    stored = outcome(workspace, data.patterns_of(state, sizes))
    queries, keys = sides_of(workspace.tokens(state.model, data.prompt_of(state)), sizes)
    tokens = queries.lengths[0]
    facts = {
        "url": mosaic_url(state, stored.key, sizes),
        "layers": sizes.layers,
        "heads": sizes.heads,
        "tokens": tokens,
        "missing": [layer for layer in range(sizes.layers) if layer not in sizes.attends],
    }
    job = workspace.job(data.patterns_of(state, sizes).id)
    layers = len(sizes.attends)
    source = f" and {whole(keys.lengths[0])} source tokens" if keys is not queries else ""
    among = f"{layers} layer{'s' if layers != 1 else ''}"
    count = (
        f"{whole(layers * sizes.heads)} heads in {among} on {whole(tokens)} token{'s' if tokens != 1 else ''}{source}"
    )
    return facts, where_from(count, stored_before or (job is not None and job.from_cache))


def _scores(workspace: Workspace, state: State, session: str, again: bool) -> tuple[Any, Job | None]:
    """The score of every head by the score's name, and the job that is still making them."""
    if not sizes_of(workspace, state).scored:
        return {"failed": True}, None
    request = data.scores_of(state)
    job = pending(workspace, request, session, again=again)
    if job is None:
        return score_values(outcome(workspace, request)), None
    return (no_update if job.state in ACTIVE else {"failed": True}), job


def score_values(result: Result) -> dict[str, Any]:
    """`values`: score name → [layer][head]; `top`: score name → its largest value."""
    grids = {name: result.grid(name).values for name in SCORES}
    return {
        "values": {name: values.round(6).tolist() for name, values in grids.items()},
        "top": {name: float(values.max()) for name, values in grids.items()},
        "layers": grids["induction"].shape[0],
        "heads": grids["induction"].shape[1],
    }


def _extra(workspace: Workspace, state: State, session: str, again: bool) -> Job | None:
    """The job that the open view waits for. Its errors are the head panel's to tell."""
    if state.layer is None:
        return None
    try:
        needed = asked(workspace, state, state.layer, sizes_of(workspace, state))
        return first_pending(workspace, needed, session, again=again)
    except WorkbenchError:
        return None


def _finger(job: Job | None) -> Any:
    """Changes whenever the head panel has something new to say."""
    return "ready" if job is None else f"{job.id} {job.state} {job.done} {job.message}"


def saves(state: State, saving: str | None) -> bool:
    """Whether the pattern that was saved last is the open head's."""
    return (
        bool(saving)
        and state.layer is not None
        and state.head is not None
        and data.export_of(state, state.layer, state.head).id == saving
    )


def saved(workspace: Workspace, state: State, saving: str | None, session: str) -> tuple[Any, bool]:
    """The export menu of the pattern saved last, if it is the open head's; and whether it is still being made."""
    if not saving or not saves(state, saving):
        return None, False
    job = pending(workspace, data.export_of(state, state.layer or 0, state.head or 0), session)
    if job is not None:
        return told(job, "saved"), job.state in ACTIVE
    workspace.keep(saving)
    return export_menu(saving), False
