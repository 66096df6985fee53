"""The worker engine: one process of its own that owns the open models, so that nothing it does takes the pages down.

The process is started afresh (never forked: threads and accelerators do not survive a fork) as a module of its own. It
takes jobs from the table. Its standard input is its life line: a line means that there is work, the end means that the
app is gone, and it goes too.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from hooks.errors import WorkbenchError
from workbench.job_table import JobTable
from workbench.settings import Settings

log = logging.getLogger(__name__)
GRACE_SECONDS = 10.0
# Threads that wait for each other must sleep: spinning, on a machine that does other things too (a browser, say), makes
# a model open six times slower. The variable is read once, when torch is loaded.
ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
WAKE = "work\n"


class WorkerEngine:
    """Starts the process with the first job, tells it of work, and notices when it dies.

    grace_seconds: how long a cancelled job may go on before its process is killed.
    """

    def __init__(
        self, settings: Settings, table: JobTable, owner: str, *, grace_seconds: float = GRACE_SECONDS
    ) -> None:
        self._settings, self._table, self._owner = settings, table, owner
        self._grace = grace_seconds
        self._lock = threading.RLock()
        self._process: subprocess.Popen[str] | None = None
        self._closing = False
        self._killed_to_cancel = False

    @property
    def pid(self) -> int | None:
        """The process id of the worker, None when there is none."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def wake(self) -> None:
        """See `Engine`."""
        with self._lock:
            if self._closing:
                return
            if self.pid is None:
                self._start()
            self._tell()

    def _tell(self) -> None:
        if self._process is None or self._process.stdin is None:
            return
        try:
            self._process.stdin.write(WAKE)
            self._process.stdin.flush()
        except OSError:  # it died this moment: its watcher starts another one for what is waiting
            log.debug("the worker was gone before it was told of work")

    def _start(self) -> None:
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH", ""))))
        command = [sys.executable, "-m", "workbench.engines.worker_main"]
        environment = {**ENVIRONMENT, **os.environ, "PYTHONPATH": path}
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment
            )
        except OSError as error:
            self._table.fail_waiting(self._owner, _cannot_start(error.strerror or str(error)))
            return
        assigned: dict[str, object] = {"settings": self._settings.model_dump(mode="json"), "owner": self._owner}
        assigned["log_level"] = logging.getLogger().getEffectiveLevel()
        if self._process.stdin is not None:
            self._process.stdin.write(json.dumps(assigned) + "\n")
        log.info("started worker %d", self._process.pid)
        threading.Thread(target=self._watch, args=(self._process,), name="workbench-watch", daemon=True).start()

    def _watch(self, process: subprocess.Popen[str]) -> None:
        """Wait for the process to end; end its jobs, and start another process for those that wait."""
        code = process.wait()
        with self._lock:
            _hang_up(process)
            if self._closing:
                return
            log.warning("worker %d ended with code %d", process.pid, code)
            requeue, self._killed_to_cancel = self._killed_to_cancel, False
            self._table.worker_gone(process.pid, self._owner, _died(code), requeue=requeue)
            if not self._table.has_worked(process.pid, self._owner):
                self._table.fail_waiting(self._owner, _cannot_start(f"code {code}"))
            if self._table.active_of(self._owner):
                self.wake()

    def stop_soon(self, job_id: str) -> None:
        """See `Engine`."""
        timer = threading.Timer(self._grace, self._stop_now, (job_id, self.pid))
        timer.daemon = True
        timer.start()

    def _stop_now(self, job_id: str, pid: int | None) -> None:
        """Kill the process when the cancelled job is still running in it. Its other jobs wait for the next process."""
        with self._lock:
            job = self._table.get(job_id)
            if self._closing or job is None or job.state != "running" or pid is None or pid != self.pid:
                return
            if self._table.stopping(job_id) and self._process is not None:
                self._killed_to_cancel = True
                self._process.kill()

    def close(self) -> None:
        """Ends the process at once; files are only ever published whole, so nothing is half-written."""
        with self._lock:
            self._closing = True
            process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        _hang_up(process)


def _hang_up(process: subprocess.Popen[str]) -> None:
    if process.stdin is not None:
        with contextlib.suppress(OSError):  # what was not sent yet has nobody to read it
            process.stdin.close()


def _died(code: int) -> WorkbenchError:
    if code == -signal.SIGKILL:
        reason = "it was killed, often because memory ran out"
    elif code < 0:
        reason = f"it was ended by signal {-code}"
    else:
        reason = f"it ended with code {code}"
    return WorkbenchError(
        f"the process that runs the model died while this ran: {reason}.",
        "Try again; with a shorter prompt, fewer prompts or fewer sites if memory is short. Nothing stored was lost.",
    )


def _cannot_start(reason: str) -> WorkbenchError:
    return WorkbenchError(
        f"the process that runs the model could not start ({reason}).", "The log says why. Check the installation."
    )
