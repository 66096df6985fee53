"""The loop that both engines share: take the most urgent job, run it, note how it ended."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from analyses.bench import Progress
from hooks.errors import Cancelled, WorkbenchError
from workbench.engines.base import parse_request
from workbench.engines.execute import Desk, execute
from workbench.grids import write_grids
from workbench.job_table import JobTable
from workbench.jobs import Claimed

log = logging.getLogger(__name__)
PROGRESS_SECONDS = 0.1
PARTIAL_SECONDS = 0.25


def partial_path(workspace: Path, job_id: str) -> Path:
    """Where the partial grid of a running job is."""
    return workspace / "partials" / f"{job_id}.h5"


class Runner:
    """Runs the jobs of one owner, one at a time; a more urgent one is served between the steps of the running one."""

    def __init__(self, desk: Desk, table: JobTable, owner: str) -> None:
        self.desk, self.table, self.owner = desk, table, owner

    def serve(self, above: int | None = None) -> bool:
        """Run the most urgent waiting job (of an urgency above `above`); False when there was none."""
        claimed = self.table.claim(self.owner, os.getpid(), above=above)
        if claimed is None:
            return False
        partial = partial_path(self.desk.settings.workspace_dir, claimed.id)
        partial.unlink(missing_ok=True)
        try:
            from_cache = execute(parse_request(claimed.request), self.desk, _Reporter(self, claimed))
        except WorkbenchError as error:
            self.table.fail(claimed.run, error)
        except Exception as error:
            # The one boundary at which a bug becomes a failed job: the page must not wait for ever, and the other jobs
            # and the open models must not go down with it.
            log.exception("job %s failed", claimed.id)
            self.table.fail(claimed.run, _unexpected(error))
        else:
            self.table.finish(claimed.run, from_cache=from_cache)
            partial.unlink(missing_ok=True)
        return True


def _unexpected(error: Exception) -> WorkbenchError:
    reason = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    return WorkbenchError(
        f"the job failed unexpectedly: {reason}", "The log has the details; other jobs are not affected."
    )


class _Reporter:
    """A job's progress callback: stop when asked to, note progress, serve more urgent jobs in between."""

    def __init__(self, runner: Runner, job: Claimed) -> None:
        self._runner, self._job = runner, job
        self._written = self._partial_written = 0.0
        self._message = ""
        self._pace = _Pace()

    def __call__(self, progress: Progress) -> None:
        if self._runner.table.must_stop(self._job.run):
            raise Cancelled("the job was cancelled.", "What was computed so far stays in the store.")
        now = time.monotonic()
        left = self._pace.seconds_left(progress.done, progress.total, now)
        due = now - self._written >= PROGRESS_SECONDS
        if due or progress.message != self._message or progress.done == progress.total:
            self._runner.table.progress(self._job.run, progress.done, progress.total, progress.message, left)
            self._written, self._message = now, progress.message
        if progress.partial is not None and now - self._partial_written >= PARTIAL_SECONDS:
            path = partial_path(self._runner.desk.settings.workspace_dir, self._job.id)
            write_grids(path, [progress.partial], durable=False)
            self._partial_written = now
        began = time.monotonic()
        while self._runner.serve(above=self._job.priority):
            pass
        self._pace.pause(time.monotonic() - began)


class _Pace:
    """How long the rest will take: the steps since counting began, at their mean speed, pauses not counted."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._first = 0
        self._total = 0

    def pause(self, seconds: float) -> None:
        if self._began is not None:
            self._began += seconds

    def seconds_left(self, done: int, total: int, now: float) -> float | None:
        """Seconds, or None before there is anything to go by."""
        if total <= 0:
            return None
        if self._began is None or total != self._total or done < self._first:
            self._began, self._first, self._total = now, done, total
        steps = done - self._first
        if steps <= 0:
            return None
        return (now - self._began) / steps * (total - done)
