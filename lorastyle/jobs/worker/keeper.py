"""Keeping a job while it is done: a thread that beats, tells how far the job is, and hears what is asked of it."""

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import lorastyle
from lorastyle.jobs.leases import Asked, Lease, Leases, Report

BEAT = 0.5  # seconds
REMIND = 20  # beats after which a job that should pause is told again: the first time may have hit deaf ears


class Lost(Exception):
    """The job was cancelled, or given to somebody else."""


class Keeper:
    """Open while the job is done. What the job says is written at the next beat, so saying costs it nothing."""

    def __init__(self, leases: Leases, lease: Lease, when_lost: Callable[[], None]) -> None:
        self.lease, self.lost = lease, False
        self._leases, self._when_lost = leases, when_lost
        self._report = Report(lease.job.step, lease.job.steps)
        self._pausing = 0  # beats
        self._wanted = lorastyle.Wishes()
        self._prompts: tuple[str, ...] = ()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def __enter__(self) -> Self:
        self._beat()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def say(self, **told: Any) -> None:
        """Tell how far the job is: fields of Report, the others as they were. Raises Lost where nobody listens."""
        if self.lost:
            raise Lost
        self._report = replace(self._report, **told)

    def count(self, done: int, total: int) -> None:
        """Tell how many of how many steps are done."""
        self.say(step=done, steps=total)

    def wishes(self) -> "lorastyle.Wishes":
        """What was asked for since the last time."""
        with self._lock:
            wanted, self._wanted = self._wanted, lorastyle.Wishes()
        return wanted

    def _run(self) -> None:
        while not self._stop.wait(BEAT) and not self.lost:
            self._beat()

    def _beat(self) -> None:
        asked = self._leases.beat(self.lease, self._report)
        if asked is None:
            self.lost = True
            self._when_lost()
        else:
            self._hear(asked)

    def _hear(self, asked: Asked) -> None:
        changed = asked.prompts if asked.prompts != self._prompts else None
        self._prompts = asked.prompts
        with self._lock:
            before = self._wanted
            self._wanted = lorastyle.Wishes(
                before.sample or asked.sample, before.save or asked.save, changed or before.prompts
            )
        if asked.pause and self._pausing % REMIND == 0:
            os.kill(os.getpid(), signal.SIGTERM)  # as Ctrl-C: training ends at its next step, everything saved
        self._pausing = self._pausing + 1 if asked.pause else 0
