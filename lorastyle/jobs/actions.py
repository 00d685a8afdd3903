"""What people can do to a job: which state becomes which."""

import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass

from lorastyle.errors import BadInput
from lorastyle.jobs.database import note
from lorastyle.jobs.job import AT_WORK, ENDED, State
from lorastyle.jobs.leases import holder, settle


@dataclass(frozen=True)
class Action:
    """The state that each state becomes, and what to say in all others."""

    becomes: Mapping[State, State]
    otherwise: str


PAUSE = Action(
    {State.QUEUED: State.PAUSED, State.RUNNING: State.PAUSING} | {at: at for at in (State.PAUSING, State.PAUSED)},
    "only what waits or runs can be paused",
)
RESUME = Action(
    {State.PAUSED: State.QUEUED, State.PAUSING: State.RUNNING} | {at: at for at in (State.QUEUED, State.RUNNING)},
    "only what is paused can go on; retry it, or clone it",
)
CANCEL = Action(
    {at: State.CANCELLED for at in State if at not in ENDED} | {State.CANCELLED: State.CANCELLED},
    "there is nothing left to cancel",
)
RETRY = Action({State.FAILED: State.QUEUED, State.CANCELLED: State.QUEUED}, "clone it to do the same once more")


def act(change: sqlite3.Connection, id: str, action: Action) -> None:
    """Do it in one transaction; raises BadInput where the job's state does not allow it."""
    row = change.execute("SELECT * FROM jobs WHERE id = ?", (id,)).fetchone()
    if row["state"] in AT_WORK and not holder(row).alive():
        settle(change, row, blamed=False)
        row = change.execute("SELECT * FROM jobs WHERE id = ?", (id,)).fetchone()
    before = State(row["state"])
    if before not in action.becomes:
        raise BadInput(f"job {row['title']}", f"it is {before}", action.otherwise)
    after = action.becomes[before]
    if after is before:
        return
    change.execute("UPDATE jobs SET state = ? WHERE id = ?", (after, id))
    note(change, id, after)
    if after.ended:
        change.execute("UPDATE jobs SET ended = ?, message = '', seconds_left = NULL WHERE id = ?", (time.time(), id))
    if before.ended:
        change.execute(
            "UPDATE jobs SET ended = NULL, error = '', deaths = 0, died_at = -1, "
            "place = (SELECT max(place) + 1 FROM jobs) WHERE id = ?",
            (id,),
        )
