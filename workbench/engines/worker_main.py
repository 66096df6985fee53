"""What the worker process runs: told its workspace on standard input, it serves the job table until the input ends."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from importlib import import_module

import torch

from workbench.bars import hide_bars
from workbench.engines.execute import Desk
from workbench.engines.runner import Runner
from workbench.job_table import TABLE, JobTable
from workbench.settings import Settings


def main() -> None:
    """Serve until standard input ends."""
    # Ctrl-C in a terminal reaches this process too; the app decides when it ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assigned = json.loads(sys.stdin.readline())
    logging.basicConfig(level=assigned["log_level"], format="worker: %(levelname)s %(name)s: %(message)s")
    hide_bars()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    settings = Settings.model_validate(assigned["settings"])
    runner = Runner(Desk.of(settings), JobTable(settings.workspace_dir / TABLE), assigned["owner"])
    work = threading.Event()
    threading.Thread(target=_listen, args=(work,), daemon=True).start()
    # Takes seconds, which the first job that opens a model need not wait for.
    import_module("transformers.modeling_utils")
    while True:
        work.wait()
        work.clear()
        while runner.serve():
            pass


def _listen(work: threading.Event) -> None:
    for _ in sys.stdin:
        work.set()
    # The app is gone. Files are published by renaming, so leaving at once loses nothing that was finished.
    os._exit(0)


if __name__ == "__main__":
    main()
