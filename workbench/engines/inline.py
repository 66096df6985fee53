"""The inline engine: jobs run in this process, on a thread of their own. For the command line, tests and notebooks."""

from __future__ import annotations

import threading

from workbench.engines.runner import Runner

STOP_SECONDS = 30.0


class InlineEngine:
    """Runs the queue on one thread, which starts with the first job."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._wake = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def wake(self) -> None:
        """See `Engine`."""
        with self._lock:
            if self._thread is None and not self._closing:
                self._thread = threading.Thread(target=self._work, name="workbench-engine", daemon=True)
                self._thread.start()
        self._wake.set()

    def stop_soon(self, job_id: str) -> None:
        """See `Engine`. A thread cannot be killed: the job stops at its next step."""

    def close(self) -> None:
        """Waits for the running job to stop at its next step (the job table says that it must), and ends the thread."""
        with self._lock:
            self._closing = True
            thread = self._thread
        self._wake.set()
        if thread is not None:
            thread.join(STOP_SECONDS)

    def _work(self) -> None:
        while not self._closing:
            self._wake.wait()
            self._wake.clear()
            while not self._closing and self._runner.serve():
                pass
