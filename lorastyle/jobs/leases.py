"""The worker's side of the queue: taking a job, keeping it, giving it back, ending it.

Whoever takes a job gets a lease, a word that is in the job's row as long as the job is theirs. Every later write asks
for that word, so a process that was believed dead, or that did not notice a cancellation, can change nothing.
A lease ends with the process that holds it: known by number and time of birth, and by a beat that must go on.
"""

import json
import secrets
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorastyle.jobs.database import Database, note
from lorastyle.jobs.job import AT_WORK, Job, State, job_of
from lorastyle.jobs.processes import Identity

MOST_DEATHS = 3  # in a row without a step in between; then it is not bad luck
DIED = (
    "The process that did this was ended from outside three times without getting further, most likely because the "
    "memory ran out. Close other programs and retry; or clone it with a smaller batch, resolution or base."
)
MINE = f"id = ? AND lease = ? AND state IN ({', '.join(repr(state.value) for state in sorted(AT_WORK))})"


@dataclass(frozen=True)
class Lease:
    """A job in the hands of a process, and the word that proves it; `beat` counts how often it said that it goes on."""

    job: Job
    word: str
    holder: Identity
    beat: int


@dataclass(frozen=True)
class Report:
    """How far a job is."""

    step: int = 0
    steps: int = 0
    message: str = ""
    speed: float = 0.0
    seconds_left: float | None = None


@dataclass(frozen=True)
class Asked:
    """What people want of a job that runs; `prompts` are empty where they were never changed."""

    pause: bool
    sample: bool
    save: bool
    prompts: tuple[str, ...]


def holder(row: sqlite3.Row) -> Identity:
    return Identity(row["pid"], row["born"])


def settle(change: sqlite3.Connection, row: sqlite3.Row, blamed: bool) -> None:
    """Put a job whose process is dead into its true state: paused where that was wanted, else back into the queue.

    Args:
        blamed: the process died of itself, as far as anyone saw; that may be said only so often.
    """
    deaths = (1 if row["step"] > row["died_at"] else row["deaths"] + 1) if blamed else row["deaths"]
    died_at = row["step"] if blamed else row["died_at"]
    waits = State.FAILED if deaths >= MOST_DEATHS else State.QUEUED
    state = State.PAUSED if row["state"] == State.PAUSING else waits
    failed = state is State.FAILED
    change.execute(
        "UPDATE jobs SET state = ?, lease = '', pid = 0, born = 0, deaths = ?, died_at = ?, message = '', speed = 0, "
        "seconds_left = NULL, error = ?, ended = ? WHERE id = ?",
        (state, deaths, died_at, DIED if failed else "", time.time() if failed else None, row["id"]),
    )
    note(change, row["id"], "process ended")
    note(change, row["id"], state)


class Leases:
    """What the worker's processes do with the table of jobs."""

    def __init__(self, database: Database, root: Path) -> None:
        self._database, self._root = database, root

    # processes

    def enlist(self, role: str) -> bool:
        """Take a role ("worker", or a lane) for this process; False where a living process has it."""
        own = Identity.own()
        with self._database.change() as change:
            row = change.execute("SELECT * FROM processes WHERE role = ?", (role,)).fetchone()
            if row and holder(row) != own and holder(row).alive():
                return False
            change.execute("INSERT OR REPLACE INTO processes VALUES (?, ?, ?)", (role, own.pid, own.born))
        return True

    def leave(self, role: str) -> None:
        own = Identity.own()
        with self._database.change() as change:
            change.execute("DELETE FROM processes WHERE role = ? AND pid = ?", (role, own.pid))

    def at_work(self, role: str) -> Identity | None:
        """The living process that has a role."""
        rows = self._database.rows("SELECT * FROM processes WHERE role = ?", role)
        return holder(rows[0]) if rows and holder(rows[0]).alive() else None

    # one job

    def claim(self, lane: str) -> Lease | None:
        """Take the first job that waits in a lane."""
        own, word = Identity.own(), secrets.token_urlsafe(16)
        with self._database.change() as change:
            query = "SELECT * FROM jobs WHERE state = ? AND lane = ? ORDER BY place"
            waiting = change.execute(query, (State.QUEUED, lane)).fetchall()
            # A cancelled job that was tried again at once may still have its old process for a moment.
            row = next((row for row in waiting if holder(row) == own or not holder(row).alive()), None)
            if row is None:
                return None
            change.execute(
                "UPDATE jobs SET state = ?, lease = ?, pid = ?, born = ?, beat = 0, message = '', error = '', "
                "started = coalesce(started, ?) WHERE id = ?",
                (State.RUNNING, word, own.pid, own.born, time.time(), row["id"]),
            )
            note(change, row["id"], State.RUNNING)
            row = change.execute("SELECT * FROM jobs WHERE id = ?", (row["id"],)).fetchone()
        return self._lease(row)

    def beat(self, lease: Lease, report: Report) -> Asked | None:
        """Say that the job goes on and how far it is; returns what is asked of it, None where it is not ours any more.

        What is asked for once is given out once.
        """
        with self._database.change() as change:
            row = change.execute(f"SELECT * FROM jobs WHERE {MINE}", (lease.job.id, lease.word)).fetchone()
            if row is None:
                return None
            change.execute(
                "UPDATE jobs SET beat = beat + 1, sample = 0, save = 0, step = max(step, ?), steps = ?, message = ?, "
                "speed = ?, seconds_left = ? WHERE id = ?",
                (report.step, report.steps or row["steps"], report.message, report.speed, report.seconds_left,
                 row["id"]),
            )  # fmt: skip
        prompts = tuple(json.loads(row["prompts"]))
        return Asked(row["state"] == State.PAUSING, bool(row["sample"]), bool(row["save"]), prompts)

    def finish(self, lease: Lease, result: Mapping[str, Any]) -> bool:
        """End the job as done; False where it had ended otherwise before."""
        return self._end(lease, State.DONE, json.dumps(result), "")

    def fail(self, lease: Lease, error: str) -> bool:
        """End the job as failed; `error` says why and what to do."""
        return self._end(lease, State.FAILED, "{}", error)

    def _end(self, lease: Lease, state: State, result: str, error: str) -> bool:
        with self._database.change() as change:
            ended = change.execute(
                "UPDATE jobs SET state = ?, result = ?, error = ?, ended = ?, message = '', seconds_left = NULL, "
                f"lease = '', sample = 0, save = 0, step = CASE WHEN ? THEN steps ELSE step END WHERE {MINE}",
                (state, result, error, time.time(), state is State.DONE, lease.job.id, lease.word),
            )
            if ended.rowcount:
                note(change, lease.job.id, state)
        return bool(ended.rowcount)

    def release(self, lease: Lease) -> bool:
        """Give a job back that stopped with everything saved: paused where that was wanted, else it waits again.

        True where it is paused.
        """
        with self._database.change() as change:
            row = change.execute(f"SELECT * FROM jobs WHERE {MINE}", (lease.job.id, lease.word)).fetchone()
            if row is None:
                return False
            state = State.PAUSED if row["state"] == State.PAUSING else State.QUEUED
            change.execute(
                "UPDATE jobs SET state = ?, lease = '', message = '', speed = 0, seconds_left = NULL WHERE id = ?",
                (state, row["id"]),
            )
            note(change, row["id"], state)
        return state is State.PAUSED

    # all jobs

    def waiting(self, lane: str) -> bool:
        return bool(self._database.rows("SELECT 1 FROM jobs WHERE state = ? AND lane = ? LIMIT 1", State.QUEUED, lane))

    def held(self) -> list[Lease]:
        """The leases of all jobs at work."""
        return [self._lease(row) for row in self._database.rows("SELECT * FROM jobs WHERE state IN (?, ?)", *AT_WORK)]

    def settle(self, lease: Lease, blamed: bool) -> None:
        """Put the job into its true state, if its process is dead and nobody was quicker."""
        with self._database.change() as change:
            row = change.execute(f"SELECT * FROM jobs WHERE {MINE}", (lease.job.id, lease.word)).fetchone()
            if row and not holder(row).alive():
                settle(change, row, blamed)

    def abandoned(self) -> list[Lease]:
        """The leases of jobs that were taken out of their process's hands, by a cancellation, and not yet let go."""
        at_work = ", ".join("?" * len(AT_WORK))
        query = f"SELECT * FROM jobs WHERE lease != '' AND state NOT IN ({at_work})"
        return [self._lease(row) for row in self._database.rows(query, *AT_WORK)]

    def let_go(self, lease: Lease) -> None:
        """Take note that the process does nothing more for an abandoned job."""
        with self._database.change() as change:
            change.execute("UPDATE jobs SET lease = '' WHERE lease = ?", (lease.word,))

    def _lease(self, row: sqlite3.Row) -> Lease:
        return Lease(job_of(row, self._root / "jobs" / row["id"]), row["lease"], holder(row), row["beat"])

    def known(self) -> set[str]:
        """The ids of all jobs."""
        return {row["id"] for row in self._database.rows("SELECT id FROM jobs")}
