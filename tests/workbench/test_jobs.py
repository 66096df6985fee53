"""The job table: joining, order, cancelling, and what is left after a crash."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from hooks.errors import Cancelled, InputError, StoreError, WorkbenchError
from workbench.job_table import JobTable
from workbench.jobs import Job, NewJob

OWNER, WORKER = "app", 42


@pytest.fixture
def table(tmp_path: Path) -> JobTable:
    return JobTable(tmp_path / "jobs.sqlite")


def new(job_id: str, *, session: str = "", priority: int = 0, owner: str = OWNER, title: str = "Title") -> NewJob:
    return NewJob(
        id=job_id, kind="open", title=title, request={"n": job_id}, owner=owner, session=session, priority=priority
    )


def state(table: JobTable, job_id: str) -> Job:
    job = table.get(job_id)
    assert job is not None
    return job


def test_an_identical_job_joins_the_one_that_waits_or_runs(table: JobTable) -> None:
    first = table.add(new("a", session="one"))
    joined = table.add(new("a", session="two"))
    assert (joined.created, joined.session, joined.sessions) == (first.created, "one", ("one", "two"))
    table.claim(OWNER, WORKER)
    assert table.add(new("a", session="three")).state == "running"
    assert table.claim(OWNER, WORKER) is None
    assert len(table.all()) == 1


def test_joining_makes_a_job_as_urgent_as_the_most_urgent_asker(table: JobTable) -> None:
    for job_id in ("a", "b"):
        table.add(new(job_id))
    table.add(new("b", priority=5))
    claimed = table.claim(OWNER, WORKER)
    assert claimed is not None
    assert (claimed.id, claimed.priority) == ("b", 5)


def test_the_most_urgent_is_taken_first_and_the_oldest_among_equals(table: JobTable) -> None:
    for job_id, priority in (("a", 0), ("b", 2), ("c", 2), ("d", 1)):
        table.add(new(job_id, priority=priority))
    taken = [claimed.id for _ in range(4) if (claimed := table.claim(OWNER, WORKER))]
    assert taken == ["b", "c", "d", "a"]


def test_only_more_urgent_jobs_are_taken_in_between(table: JobTable) -> None:
    table.add(new("a", priority=1))
    assert table.claim(OWNER, WORKER, above=1) is None
    table.add(new("b", priority=2))
    claimed = table.claim(OWNER, WORKER, above=1)
    assert claimed is not None
    assert claimed.id == "b"


def test_an_engine_takes_only_its_owners_jobs(table: JobTable) -> None:
    table.add(new("a", owner="other"))
    assert table.claim(OWNER, WORKER) is None


def test_every_job_is_taken_once_by_many_threads(table: JobTable) -> None:
    for number in range(60):
        table.add(new(f"{number}"))
    taken: list[str] = []

    def work() -> None:
        while claimed := table.claim(OWNER, WORKER):
            taken.append(claimed.id)
            table.progress(claimed.run, 1, 2, "half", 1.0)
            table.finish(claimed.run)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken, key=int) == [str(number) for number in range(60)]
    assert {job.state for job in table.all()} == {"done"}


def test_progress_and_end_are_seen(table: JobTable) -> None:
    table.add(new("a"))
    claimed = table.claim(OWNER, WORKER)
    assert claimed is not None
    table.progress(claimed.run, 3, 10, "ablating", 7.5)
    job = state(table, "a")
    assert (job.state, job.done, job.total, job.message, job.seconds_left) == ("running", 3, 10, "ablating", 7.5)
    assert job.started is not None
    table.finish(claimed.run, from_cache=True)
    job = state(table, "a")
    assert (job.state, job.done, job.from_cache, job.seconds_left) == ("done", 10, True, None)
    assert job.finished is not None
    assert job.finished >= job.started >= job.created


def test_an_error_keeps_its_code_message_and_hint(table: JobTable) -> None:
    table.add(new("a"))
    claimed = table.claim(OWNER, WORKER)
    assert claimed is not None
    table.fail(claimed.run, InputError("the prompt is empty.", "Type something."))
    assert state(table, "a").error == {"code": "input", "message": "the prompt is empty.", "hint": "Type something."}


def test_a_failed_job_can_be_asked_again(table: JobTable) -> None:
    table.add(new("a"))
    claimed = table.claim(OWNER, WORKER)
    assert claimed is not None
    table.fail(claimed.run, WorkbenchError("no.", ""))
    again = table.add(new("a"))
    assert (again.state, again.error) == ("queued", None)


# -- cancelling


def test_c31_a_cancel_leaves_the_job_of_another_session(table: JobTable) -> None:
    table.add(new("a", session="one"))
    table.add(new("b", session="two"))
    for job_id in ("a", "b"):
        assert not table.cancel(job_id, "stranger")
    assert table.cancel("a", "one")
    assert state(table, "a").state == "cancelled"
    assert state(table, "b").state == "queued"


def test_c31_a_shared_job_goes_on_until_the_last_session_leaves(table: JobTable) -> None:
    table.add(new("a", session="one"))
    table.add(new("a", session="two"))
    claimed = table.claim(OWNER, WORKER)
    assert claimed is not None
    assert not table.cancel("a", "one")
    assert not table.must_stop(claimed.run)
    assert table.cancel("a", "two")
    assert table.must_stop(claimed.run)


def test_cancelling_without_a_session_stops_it_for_everybody(table: JobTable) -> None:
    table.add(new("a", session="one"))
    table.add(new("a", session="two"))
    assert table.cancel("a")
    assert state(table, "a").state == "cancelled"


def test_a_running_job_is_cancelled_when_its_engine_stops(table: JobTable) -> None:
    table.add(new("a"))
    claimed = table.claim(OWNER, WORKER)
    assert claimed is not None
    table.cancel("a")
    assert state(table, "a").state == "running"
    assert table.stopping("a")
    table.fail(claimed.run, Cancelled("cancelled.", ""))
    job = state(table, "a")
    assert (job.state, job.error) == ("cancelled", None)


def test_asking_again_while_the_cancelled_run_still_stops_is_another_run(table: JobTable) -> None:
    """What the old run says about itself does not touch the new one."""
    table.add(new("a"))
    old = table.claim(OWNER, WORKER)
    assert old is not None
    table.cancel("a")
    table.add(new("a"))
    assert table.must_stop(old.run)
    table.progress(old.run, 9, 9, "late", None)
    table.fail(old.run, Cancelled("cancelled.", ""))
    job = state(table, "a")
    assert (job.state, job.done) == ("queued", 0)
    assert table.claim(OWNER, WORKER) is not None


def test_an_ended_job_cannot_be_cancelled(table: JobTable) -> None:
    table.add_done(new("a"))
    assert not table.cancel("a")
    assert state(table, "a").state == "done"


# -- what survives


def test_jobs_survive_a_restart(tmp_path: Path, table: JobTable) -> None:
    table.add(new("a", session="one", title="Zero head 3.1"))
    table.add_done(new("b"))
    again = JobTable(tmp_path / "jobs.sqlite")
    assert [job.id for job in again.all()] == ["b", "a"]
    assert again.all() == table.all()
    assert [job.id for job in again.all(active=True)] == ["a"]


def test_jobs_of_a_dead_process_fail_with_a_sentence(table: JobTable) -> None:
    table.add(new("running", owner="dead"))
    table.claim("dead", WORKER)
    table.add(new("queued", owner="dead"))
    table.add(new("alive"))
    assert table.fail_orphans(lambda owner: owner == OWNER) == 2
    for job_id in ("running", "queued"):
        error = state(table, job_id).error
        assert error is not None
        assert error["message"] == "the app was closed while this ran."
        assert error["hint"]
    assert state(table, "alive").state == "queued"


def test_jobs_of_a_dead_worker_fail_but_those_waiting_go_on(table: JobTable) -> None:
    for job_id in ("a", "b"):
        table.add(new(job_id))
    table.claim(OWNER, WORKER)
    died = WorkbenchError("the process died.", "Try again.")
    assert table.worker_gone(WORKER, OWNER, died, requeue=False) == ["a"]
    assert state(table, "a").error == died.as_dict()
    assert state(table, "b").state == "queued"


def test_a_worker_killed_for_a_cancel_gives_its_other_jobs_back(table: JobTable) -> None:
    for job_id in ("a", "b"):
        table.add(new(job_id))
        table.claim(OWNER, WORKER)
    table.cancel("b")
    table.worker_gone(WORKER, OWNER, WorkbenchError("died.", ""), requeue=True)
    assert state(table, "a").state == "queued"
    assert state(table, "b").state == "cancelled"


def test_a_damaged_table_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "jobs.sqlite"
    path.write_bytes(b"this is not a database, it is a text of some length" * 100)
    table = JobTable(path)
    table.add(new("a"))
    assert state(table, "a").state == "queued"
    assert len(list(tmp_path.glob("*.damaged"))) == 1
    assert "jobs.sqlite" in caplog.text


def test_a_table_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite").mkdir()
    with pytest.raises(StoreError, match=r"jobs\.sqlite"):
        JobTable(tmp_path / "jobs.sqlite")


def test_titles_with_half_a_character_are_shown_as_far_as_possible(table: JobTable) -> None:
    assert table.add(new("a", title="on “\ud800 and \0”")).title == "on “? and \0”"
