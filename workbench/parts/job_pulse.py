"""The pulse of the jobs: a word that changes whenever what is known of them does.

The browser asks for it as often as it matters (assets/jobs.js), and the page's callbacks run only when it has changed:
a page at rest costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dash import Dash
from flask import Response, jsonify, make_response, request

from hooks.spec import digest

if TYPE_CHECKING:
    from workbench.jobs import Job
    from workbench.workspace import Workspace

REMEMBERED = 40
"""How many jobs that have ended a window knows of."""
UNHEARD = "circuit"
"""The kind of job after every edit of a circuit: its editor waits for it, and nothing else need hear of it."""


def latest(workspace: Workspace) -> list[Job]:
    """The active jobs and the newest others, each once."""
    newest = workspace.jobs(but=UNHEARD, limit=REMEMBERED)
    seen = {job.id for job in newest}
    return [*(job for job in workspace.jobs(active=True, but=UNHEARD) if job.id not in seen), *newest]


def pulse(jobs: Sequence[Job]) -> str:
    """A word for everything that is shown of the jobs."""
    return digest([job.model_dump(mode="json", exclude={"from_cache"}) for job in jobs])


def register(app: Dash, workspace: Workspace) -> None:
    """Serve the pulse: nothing (204) to whoever knows it already."""

    @app.server.get("/wb/jobs")
    def jobs() -> Response:
        known = latest(workspace)
        now = pulse(known)
        if now == request.args.get("known"):
            return Response(status=204)
        answer = make_response(jsonify(pulse=now, active=any(job.active for job in known)))
        answer.headers["Cache-Control"] = "no-store"
        return answer
