"""Who holds a job, and what becomes of it when the holder dies; the holders are processes that are really killed."""

import os
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lorastyle import Job, Jobs
from lorastyle.jobs.database import Database
from lorastyle.jobs.leases import Leases, Report
from lorastyle.jobs.processes import Identity
from lorastyle.jobs.worker import supervisor
from lorastyle.jobs.worker.supervisor import Supervisor
from tests.jobs.conftest import kill

Add = Callable[..., Job]
Hold = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def leases(jobs: Jobs) -> Leases:
    return Leases(Database(jobs.root / "jobs.sqlite"), jobs.root)


@pytest.fixture
def watch(jobs: Jobs, leases: Leases) -> Supervisor:
    return Supervisor(jobs.root, leases)


class Linked(Database):
    """Rows that name another, which must be there when the transaction ends."""

    versions = ("CREATE TABLE rows (id INTEGER PRIMARY KEY, other REFERENCES rows (id) DEFERRABLE INITIALLY DEFERRED)",)


def test_a_change_that_cannot_be_kept_is_undone(tmp_path: Path) -> None:
    database = Linked(tmp_path / "linked.sqlite")
    database.rows("PRAGMA foreign_keys = ON")
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"), database.change() as change:
        change.execute("INSERT INTO rows VALUES (1, 99)")
    with database.change() as change:
        change.execute("INSERT INTO rows VALUES (2, NULL)")
    assert [row["id"] for row in database.rows("SELECT id FROM rows")] == [2]


def ends(jobs: Jobs, job: Job) -> list[str]:
    return [what for _, what in jobs.history(job.id) if what in ("done", "failed", "cancelled")]


def test_jobs_are_taken_in_the_order_of_the_queue_each_in_its_lane(leases: Leases, jobs: Jobs, training: Add) -> None:
    first, second = training("first"), training("second")
    picture = jobs.add("generate", {"prompts": ["a"]})
    jobs.move(second.id, first.id)
    taken = [leases.claim("training"), leases.claim("quick"), leases.claim("training"), leases.claim("training")]
    assert [lease and lease.job.id for lease in taken] == [second.id, picture.id, first.id, None]
    assert jobs.get(first.id).state == "running"


def test_progress_is_told_and_what_is_asked_is_heard_once(leases: Leases, jobs: Jobs, training: Add) -> None:
    job = training()
    lease = leases.claim("training")
    assert lease is not None
    jobs.ask(job.id, "sample")
    jobs.set_prompts(job.id, ["a dog"])
    asked = leases.beat(lease, Report(3, 10, "Training", 2.0, 3.5))
    assert asked is not None
    assert (asked.sample, asked.save, asked.pause, asked.prompts) == (True, False, False, ("a dog",))
    told = jobs.get(job.id)
    assert (told.step, told.steps, told.message, told.speed, told.seconds_left) == (3, 10, "Training", 2.0, 3.5)
    assert told.progress == 0.3
    again = leases.beat(lease, Report(3, 10))
    assert again is not None
    assert (again.sample, again.prompts) == (False, ("a dog",))
    jobs.pause(job.id)
    assert jobs.get(job.id).state == "pausing"
    pausing = leases.beat(lease, Report(4, 10))
    assert pausing is not None
    assert pausing.pause
    assert leases.release(lease)
    assert jobs.get(job.id).state == "paused"


def test_a_job_ends_once(leases: Leases, jobs: Jobs, training: Add) -> None:
    job = training()
    lease = leases.claim("training")
    assert lease is not None
    assert leases.finish(lease, {"adapter": "a"})
    assert not leases.fail(lease, "no")
    assert not leases.finish(lease, {})
    assert leases.beat(lease, Report()) is None
    done = jobs.get(job.id)
    assert (done.state, done.result, done.error) == ("done", {"adapter": "a"}, "")
    assert ends(jobs, job) == ["done"]


def test_who_lost_a_job_can_change_nothing(leases: Leases, jobs: Jobs, training: Add) -> None:
    job = training()
    lease = leases.claim("training")
    assert lease is not None
    jobs.cancel(job.id)
    assert leases.beat(lease, Report(5, 5)) is None
    assert not leases.finish(lease, {})
    leases.release(lease)
    jobs.retry(job.id)
    newer = leases.claim("training")
    assert newer is not None
    assert not leases.fail(lease, "no")
    assert jobs.get(job.id).state == "running"
    assert leases.finish(newer, {})
    assert ends(jobs, job) == ["cancelled", "done"]


def test_a_killed_training_goes_back_into_the_queue(jobs: Jobs, training: Add, hold: Hold, watch: Supervisor) -> None:
    job, other = training(), training()
    holder = hold(step=7)
    watch.recover(blamed=True)
    assert jobs.get(job.id).state == "running"
    kill(holder)
    watch.recover(blamed=True)
    found = jobs.get(job.id)
    assert (found.state, found.step) == ("queued", 7)
    assert jobs.list()[0] == found
    assert jobs.get(other.id).state == "queued"


def test_a_killed_training_that_was_to_pause_is_paused(
    jobs: Jobs, training: Add, hold: Hold, watch: Supervisor
) -> None:
    job = training()
    holder = hold()
    assert jobs.pause(job.id).state == "pausing"
    kill(holder)
    watch.recover(blamed=True)
    assert jobs.get(job.id).state == "paused"


def test_an_action_finds_the_true_state_without_a_worker(jobs: Jobs, training: Add, hold: Hold) -> None:
    job = training()
    kill(hold())
    assert jobs.pause(job.id).state == "paused"
    assert jobs.resume(job.id).state == "queued"
    kill(hold())
    assert jobs.cancel(job.id).state == "cancelled"
    assert ends(jobs, job) == ["cancelled"]


def test_who_dies_three_times_at_one_step_fails_with_a_sentence(
    jobs: Jobs, training: Add, hold: Hold, watch: Supervisor
) -> None:
    job = training()
    for step in (0, 4, 4):
        kill(hold(step=step))
        watch.recover(blamed=True)
        assert jobs.get(job.id).state == "queued"
    kill(hold(step=4))
    watch.recover(blamed=True)
    failed = jobs.get(job.id)
    assert failed.state == "failed"
    assert "memory" in failed.error
    assert ends(jobs, job) == ["failed"]
    assert jobs.retry(job.id).error == ""


def test_deaths_that_no_worker_saw_are_not_counted(jobs: Jobs, training: Add, hold: Hold, watch: Supervisor) -> None:
    job = training()
    for _ in range(5):
        kill(hold())
        watch.recover(blamed=False)
        assert jobs.get(job.id).state == "queued"


def test_a_process_that_hangs_is_ended(
    jobs: Jobs, training: Add, hold: Hold, watch: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, holder = training(), hold()
    monkeypatch.setattr(supervisor, "SILENCE", -1.0)
    watch.recover(blamed=True)
    assert holder.poll() is None
    watch.recover(blamed=True)
    assert holder.wait(30) != 0
    watch.recover(blamed=True)
    assert jobs.get(job.id).state == "queued"


def test_a_process_that_does_not_let_go_of_a_cancelled_job_is_ended(
    jobs: Jobs, leases: Leases, training: Add, hold: Hold, watch: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, holder = training(), hold()
    assert jobs.cancel(job.id).state == "cancelled"
    jobs.retry(job.id)
    assert leases.claim("training") is None  # two processes would write into one folder
    watch.end_abandoned()
    assert holder.poll() is None
    monkeypatch.setattr(supervisor, "GRACE", -1.0)
    watch.end_abandoned()
    holder.wait(30)
    assert leases.claim("training") is not None


def test_a_lane_has_one_process(jobs: Jobs, leases: Leases, training: Add, hold: Hold) -> None:
    training()
    holder = hold()
    assert not leases.enlist("training")
    at_work = leases.at_work("training")
    assert at_work is not None
    assert at_work.pid == holder.pid
    kill(holder)
    assert leases.at_work("training") is None
    assert leases.enlist("training")
    leases.leave("training")


def test_a_number_alone_is_not_a_process() -> None:
    own = Identity.own()
    assert own.alive()
    assert not Identity(own.pid, own.born - 60).alive()
    assert not Identity(0, 0).alive()
    gone = subprocess.Popen(["true"])
    gone_identity = Identity(gone.pid, time.time())
    gone.wait()
    assert not gone_identity.alive()
    gone_identity.kill()


def test_folders_without_a_job_are_removed_once_they_are_old(jobs: Jobs, training: Add, watch: Supervisor) -> None:
    job = training()
    fresh, old = (jobs.root / "jobs" / name for name in ("fresh", "old"))
    for folder in (fresh, old):
        folder.mkdir()
    os.utime(old, (1, 1))
    os.utime(job.folder, (1, 1))
    watch.tidy()
    assert fresh.exists()
    assert job.folder.exists()
    assert not old.exists()
