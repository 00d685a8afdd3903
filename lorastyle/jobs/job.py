"""A job as everybody sees it, and the states that it goes through."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


class State(StrEnum):
    """Where a job stands: queued -> running -> done, failed or cancelled; running -> pausing -> paused -> queued."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    FAILED = "failed"
    DONE = "done"

    @property
    def ended(self) -> bool:
        return self in ENDED


ENDED = frozenset({State.CANCELLED, State.FAILED, State.DONE})
AT_WORK = frozenset({State.RUNNING, State.PAUSING})


@dataclass(frozen=True)
class Job:
    """A job as it stood when it was asked for.

    `folder` holds settings.json, log.txt and what the job makes. `place` orders the queue. `speed` is in steps per
    second; `created`, `started` and `ended` are seconds since 1970. `error` says in a sentence why the job failed and
    what to do. `prompts` are the preview prompts as last changed while it ran, if they were.
    """

    id: str
    owner: str
    task: str
    title: str
    state: State
    folder: Path
    settings: Mapping[str, Any]
    place: float
    step: int
    steps: int
    message: str
    speed: float
    seconds_left: float | None
    error: str
    result: Mapping[str, Any]
    created: float
    started: float | None
    ended: float | None
    prompts: tuple[str, ...] = ()

    @property
    def run(self) -> Path:
        """The folder that a training writes into; other tasks write into `folder` itself."""
        return self.folder / self.settings.get("out", ".") if self.task == "train" else self.folder

    @property
    def progress(self) -> float:
        """From 0 to 1."""
        return 1.0 if self.state is State.DONE else min(1.0, self.step / self.steps) if self.steps else 0.0

    def summary(self) -> dict[str, Any]:
        """For scripts: everything but the settings, which can be long."""
        told = asdict(self) | {"folder": str(self.folder), "result": dict(self.result), "prompts": list(self.prompts)}
        del told["settings"]
        return told


def job_of(row: sqlite3.Row, folder: Path) -> Job:
    """The job in a row of the table, whose files lie in `folder`."""
    taken = {name: row[name] for name in _AS_STORED}
    return Job(
        **taken,
        state=State(row["state"]),
        folder=folder,
        settings=json.loads(row["settings"]),
        result=json.loads(row["result"]),
        prompts=tuple(json.loads(row["prompts"])),
    )


_AS_STORED = (
    "id", "owner", "task", "title", "place", "step", "steps", "message", "speed", "seconds_left", "error",
    "created", "started", "ended",
)  # fmt: skip
