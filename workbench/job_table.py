"""The table of jobs in SQLite: the queue, how far each job is, and the memory of all this across restarts."""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from hooks.errors import StoreError, WorkbenchError
from workbench.jobs import ACTIVE, Claimed, Job, NewJob, State

log = logging.getLogger(__name__)
TABLE = "jobs.sqlite"
KEPT_ROWS = 2000
WAIT_SECONDS = 20.0
CLOSED = {
    "code": "error",
    "message": "the app was closed while this ran.",
    "hint": "Run it again: what was already computed is in the store.",
}
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, title TEXT NOT NULL,
    request TEXT NOT NULL, owner TEXT NOT NULL, state TEXT NOT NULL, priority INTEGER NOT NULL,
    done INTEGER NOT NULL DEFAULT 0, total INTEGER NOT NULL DEFAULT 0, message TEXT NOT NULL DEFAULT '',
    seconds_left REAL, error TEXT, from_cache INTEGER NOT NULL DEFAULT 0, session TEXT NOT NULL, sessions TEXT NOT NULL,
    cancel INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL, started REAL, finished REAL, worker INTEGER
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, owner, priority DESC, seq);
"""


class _Damaged(StoreError):
    """The file is no job table."""


class JobTable:
    """The jobs of a workspace in SQLite; safe from several threads and processes, one short connection per call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._create()
        except _Damaged:
            aside = path.with_name(f"{path.name}.{int(time.time())}.damaged")
            path.rename(aside)
            log.warning("%s is damaged; it was renamed to %s and the list of jobs starts anew", path.name, aside.name)
            self._create()

    def _create(self) -> None:
        with self._connect() as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.executescript(_SCHEMA)
            db.execute("DELETE FROM jobs WHERE seq <= (SELECT MAX(seq) FROM jobs) - ?", (KEPT_ROWS,))

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        """One connection for one operation. Raises StoreError when the table cannot be read or written."""
        try:
            with closing(sqlite3.connect(self._path, timeout=WAIT_SECONDS, isolation_level=None)) as db:
                db.row_factory = sqlite3.Row
                db.execute("PRAGMA synchronous=NORMAL")
                yield db
        except sqlite3.DatabaseError as error:
            kind = StoreError if isinstance(error, sqlite3.OperationalError) else _Damaged
            raise kind(f"the list of jobs {self._path} cannot be used: {error}.", "Is the disk full?") from error

    @contextmanager
    def _exclusively(self) -> Iterator[sqlite3.Connection]:
        """A connection inside one write transaction, rolled back when anything is raised."""
        with self._connect() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    # -- asking

    def get(self, job_id: str) -> Job | None:
        """The job, or None."""
        with self._connect() as db:
            row = db.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return None if row is None else _job(row)

    def all(self, *, active: bool = False, but: str = "", limit: int = KEPT_ROWS) -> list[Job]:
        """The jobs, newest first, at most `limit`; when `active`, those that wait or run; none of the kind `but`."""
        where = "AND state IN ('queued', 'running')" if active else ""
        query = f"SELECT * FROM jobs WHERE kind != ? {where} ORDER BY seq DESC LIMIT ?"
        with self._connect() as db:
            return [_job(row) for row in db.execute(query, (but, limit))]

    def active_of(self, owner: str) -> list[Job]:
        """The jobs of one workspace object that wait or run."""
        with self._connect() as db:
            query = "SELECT * FROM jobs WHERE state IN ('queued', 'running') AND owner = ?"
            return [_job(row) for row in db.execute(query, (owner,))]

    def must_stop(self, run: int) -> bool:
        """Whether a run should stop at its next step: it was cancelled, or its row was replaced."""
        with self._connect() as db:
            row = db.execute("SELECT cancel FROM jobs WHERE seq = ? AND state = 'running'", (run,)).fetchone()
        return row is None or bool(row["cancel"])

    def stopping(self, job_id: str) -> bool:
        """Whether a running job was cancelled and has not stopped yet."""
        with self._connect() as db:
            query = "SELECT 1 FROM jobs WHERE id = ? AND state = 'running' AND cancel = 1"
            return db.execute(query, (job_id,)).fetchone() is not None

    def has_worked(self, worker: int, owner: str) -> bool:
        """Whether this worker ever took a job."""
        with self._connect() as db:
            row = db.execute("SELECT 1 FROM jobs WHERE worker = ? AND owner = ? LIMIT 1", (worker, owner)).fetchone()
        return row is not None

    # -- what a door does

    def add(self, new: NewJob) -> Job:
        """Queue a job. An identical one that waits or runs is joined; one that has ended is replaced."""
        with self._exclusively() as db:
            row = db.execute("SELECT * FROM jobs WHERE id = ?", (new.id,)).fetchone()
            if row is not None and row["state"] in ACTIVE and not row["cancel"]:
                sessions = sorted({*json.loads(row["sessions"]), new.session})
                db.execute(
                    "UPDATE jobs SET sessions = ?, priority = max(priority, ?) WHERE id = ?",
                    (json.dumps(sessions), new.priority, new.id),
                )
            else:
                _insert(db, new, "queued")
            return _job(db.execute("SELECT * FROM jobs WHERE id = ?", (new.id,)).fetchone())

    def add_done(self, new: NewJob) -> Job:
        """Record a job that needed no work, since its answer is on disk."""
        with self._exclusively() as db:
            _insert(db, new, "done")
            now = time.time()
            db.execute("UPDATE jobs SET from_cache = 1, started = ?, finished = ? WHERE id = ?", (now, now, new.id))
            return _job(db.execute("SELECT * FROM jobs WHERE id = ?", (new.id,)).fetchone())

    def cancel(self, job_id: str, session: str = "") -> bool:
        """Stop waiting for a job; gives whether the job itself is to stop.

        A job that other sessions wait for goes on without this one, and a session that did not ask for it changes
        nothing. An empty session means everybody.
        """
        with self._exclusively() as db:
            row = db.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
            if row is None or row["state"] not in ACTIVE:
                return False
            sessions = json.loads(row["sessions"])
            if session and session not in sessions:
                return False
            left = [other for other in sessions if other != session] if session else []
            if left:
                db.execute("UPDATE jobs SET sessions = ? WHERE id = ?", (json.dumps(left), job_id))
                return False
            if row["state"] == "queued":
                db.execute("UPDATE jobs SET state = 'cancelled', finished = ? WHERE id = ?", (time.time(), job_id))
            else:
                db.execute("UPDATE jobs SET cancel = 1, message = 'stopping' WHERE id = ?", (job_id,))
            return True

    # -- what an engine does

    def claim(self, owner: str, worker: int, *, above: int | None = None) -> Claimed | None:
        """Take the most urgent waiting job of `owner`, the oldest among equals; only of a priority above `above`."""
        floor = -(1 << 31) if above is None else above
        query = "FROM jobs WHERE state = 'queued' AND owner = ? AND priority > ?"
        with self._connect() as db:
            if db.execute(f"SELECT 1 {query} LIMIT 1", (owner, floor)).fetchone() is None:
                return None
        with self._exclusively() as db:
            row = db.execute(f"SELECT * {query} ORDER BY priority DESC, seq LIMIT 1", (owner, floor)).fetchone()
            if row is None:
                return None
            taken = (time.time(), worker, row["seq"])
            db.execute("UPDATE jobs SET state = 'running', started = ?, worker = ? WHERE seq = ?", taken)
            return Claimed(run=row["seq"], id=row["id"], request=json.loads(row["request"]), priority=row["priority"])

    def progress(self, run: int, done: int, total: int, message: str, seconds_left: float | None) -> None:
        """Note how far a running job is."""
        with self._connect() as db:
            db.execute(
                "UPDATE jobs SET done = ?, total = ?, message = CASE cancel WHEN 1 THEN message ELSE ? END, "
                "seconds_left = ? WHERE seq = ? AND state = 'running'",
                (done, total, _storable(message), seconds_left, run),
            )

    def finish(self, run: int, *, from_cache: bool = False) -> None:
        """A run has put its answer on disk."""
        with self._connect() as db:
            db.execute(
                "UPDATE jobs SET state = 'done', from_cache = ?, done = total, seconds_left = NULL, message = '', "
                "finished = ? WHERE seq = ? AND state = 'running'",
                (int(from_cache), time.time(), run),
            )

    def fail(self, run: int, error: WorkbenchError) -> None:
        """A run ends with an error, or as cancelled where that is the error."""
        state = "cancelled" if error.code == "cancelled" else "failed"
        described = None if state == "cancelled" else json.dumps(error.as_dict())
        with self._connect() as db:
            db.execute(
                "UPDATE jobs SET state = ?, error = ?, seconds_left = NULL, message = '', finished = ? "
                "WHERE seq = ? AND state = 'running'",
                (state, described, time.time(), run),
            )

    def fail_waiting(self, owner: str, error: WorkbenchError) -> None:
        """Fail everything that an owner has queued: its worker cannot start."""
        with self._connect() as db:
            db.execute(
                "UPDATE jobs SET state = 'failed', error = ?, finished = ? WHERE state = 'queued' AND owner = ?",
                (json.dumps(error.as_dict()), time.time(), owner),
            )

    def worker_gone(self, worker: int, owner: str, error: WorkbenchError, *, requeue: bool) -> list[str]:
        """End the jobs that a dead worker was running; gives their ids.

        Jobs that were to be cancelled are cancelled. The others fail with `error`, or wait again when `requeue`.
        """
        running = "state = 'running' AND worker = ? AND owner = ?"
        with self._exclusively() as db:
            ids = [row["id"] for row in db.execute(f"SELECT id FROM jobs WHERE {running}", (worker, owner))]
            db.execute(
                f"UPDATE jobs SET state = 'cancelled', message = '', finished = ? WHERE cancel = 1 AND {running}",
                (time.time(), worker, owner),
            )
            if requeue:
                db.execute(f"UPDATE jobs SET state = 'queued', done = 0 WHERE {running}", (worker, owner))
            else:
                db.execute(
                    "UPDATE jobs SET state = 'failed', error = ?, message = '', seconds_left = NULL, finished = ? "
                    f"WHERE {running}",
                    (json.dumps(error.as_dict()), time.time(), worker, owner),
                )
        return ids

    def fail_orphans(self, is_alive: Callable[[str], bool]) -> int:
        """Fail the waiting and running jobs of owners that are no more; gives how many."""
        with self._connect() as db:
            rows = db.execute("SELECT DISTINCT owner FROM jobs WHERE state IN ('queued', 'running')").fetchall()
        return sum(self.close_owner(row["owner"]) for row in rows if not is_alive(row["owner"]))

    def close_owner(self, owner: str) -> int:
        """Fail what an owner that goes away leaves unfinished; gives how many."""
        with self._connect() as db:
            return db.execute(
                "UPDATE jobs SET state = CASE cancel WHEN 1 THEN 'cancelled' ELSE 'failed' END, error = ?, "
                "message = '', seconds_left = NULL, finished = ? WHERE owner = ? AND state IN ('queued', 'running')",
                (json.dumps(CLOSED), time.time(), owner),
            ).rowcount


def _insert(db: sqlite3.Connection, new: NewJob, state: State) -> None:
    db.execute("DELETE FROM jobs WHERE id = ?", (new.id,))
    db.execute(
        "INSERT INTO jobs (id, kind, title, request, owner, state, priority, session, sessions, created) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            new.id,
            new.kind,
            _storable(new.title),
            json.dumps(new.request, ensure_ascii=True),
            new.owner,
            state,
            new.priority,
            new.session,
            json.dumps([new.session]),
            time.time(),
        ),
    )


def _storable(text: str) -> str:
    """SQLite refuses half of a surrogate pair; in a title a question mark does instead."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _job(row: sqlite3.Row) -> Job:
    fields = {name: row[name] for name in Job.model_fields if name in row.keys()}  # noqa: SIM118 - a Row iterates over values
    fields["error"] = None if row["error"] is None else json.loads(row["error"])
    fields["sessions"] = tuple(json.loads(row["sessions"]))
    fields["from_cache"] = bool(row["from_cache"])
    return Job.model_validate(fields)
