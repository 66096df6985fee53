"""Jobs: what was asked of an engine, how far it is, how it ended."""

from __future__ import annotations

from typing import Any, Literal

from hooks.spec import Spec

State = Literal["queued", "running", "done", "failed", "cancelled"]
ACTIVE: tuple[State, ...] = ("queued", "running")


class Job(Spec):
    """One request on its way. id: the request's; title: a sentence; done of total steps; seconds_left: an estimate.

    error: `{code, message, hint}` of a failed job. from_cache: answered without running the model. session: who asked
    first; sessions: everybody who waits for it. created, started, finished: seconds since 1970.
    """

    id: str
    kind: str
    title: str
    state: State
    done: int = 0
    total: int = 0
    message: str = ""
    seconds_left: float | None = None
    error: dict[str, str] | None = None
    from_cache: bool = False
    session: str = ""
    sessions: tuple[str, ...] = ()
    created: float
    started: float | None = None
    finished: float | None = None

    @property
    def active(self) -> bool:
        """Whether it is still waiting or running."""
        return self.state in ACTIVE


class NewJob(Spec):
    """A job to be put on the table. owner: the workspace object whose engine runs it."""

    id: str
    kind: str
    title: str
    request: dict[str, Any]
    owner: str
    session: str = ""
    priority: int = 0


class Claimed(Spec):
    """A job that an engine has taken. run: this run of it; the same request asked again later is another run."""

    run: int
    id: str
    request: dict[str, Any]
    priority: int
