"""What single circuits gave, for the editor: asked for after every edit, answered from memory or disk where known."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analyses.circuit_live import Measured
from hooks.errors import from_dict
from workbench.cache.write import replacing
from workbench.requests import CircuitRequest

if TYPE_CHECKING:
    from workbench.jobs import Job
    from workbench.workspace import Workspace

FOLDER = "circuit-runs"
OLD_SECONDS = 14 * 24 * 3600.0
URGENT = 1
"""Above all that is asked without a priority: somebody looks at a number that is being computed."""
VALUES = ("circuit", "full", "empty")


class KeptRuns:
    """The folder of answers, one small file per request. A damaged or lost one is run again."""

    def __init__(self, workspace: Path) -> None:
        self._folder = workspace / FOLDER

    def load(self, request_id: str) -> Measured | None:
        """What a request gave, or None."""
        try:
            held = json.loads(self._path(request_id).read_text("utf-8"))
            circuit, full, empty = (np.array(held[name], dtype=np.float64) for name in VALUES)
            return Measured(circuit, full, empty, held["title"], held["unit"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, request_id: str, found: Measured) -> None:
        """Write an answer for other processes to read. Raises StoreError for a full disk."""
        values = {name: getattr(found, name).tolist() for name in VALUES}
        with replacing(self._path(request_id), durable=False) as part:
            part.write_text(json.dumps({**values, "title": found.title, "unit": found.unit}), "utf-8")

    def tidy(self) -> None:
        """Remove what is older than two weeks."""
        for path in self._folder.glob("*.json"):
            if time.time() - path.stat().st_mtime > OLD_SECONDS:
                path.unlink(missing_ok=True)

    def _path(self, request_id: str) -> Path:
        return self._folder / f"{request_id}.json"


def ask(workspace: Workspace, request: CircuitRequest, session: str) -> Job:
    """Ask for a circuit in place of those that the same session still waits for and no longer wants.

    One that runs already is let finish: it is a forward away from its end, and what it opens serves the next.
    """
    for job in workspace.jobs(active=True):
        if job.kind == "circuit" and job.state == "queued" and job.id != request.id and session in job.sessions:
            workspace.cancel(job.id, session=session)
    return workspace.submit(request, session=session, priority=URGENT)


def run(workspace: Workspace, request: CircuitRequest) -> Measured:
    """The circuit's numbers, waited for. Raises the WorkbenchError with which the run ended."""
    known = workspace.circuit_run(request.id)
    if known is not None:
        return known
    job = workspace.wait(workspace.submit(request, priority=URGENT).id)
    found = workspace.circuit_run(request.id)
    if found is None:
        ended = {"code": "store", "message": f"the run was {job.state}.", "hint": "Ask again."}
        raise from_dict(job.error or ended)
    return found
