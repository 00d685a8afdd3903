"""Which process is which: a number alone is soon given to another, so the time of its start goes with it."""

import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

SAME_START = 2.0  # seconds; the system's idea of when it booted can shift a little between two readings


@dataclass(frozen=True)
class Identity:
    """A process: its number, and when it was born (seconds since 1970)."""

    pid: int
    born: float

    @classmethod
    def own(cls) -> Self:
        process = psutil.Process()
        return cls(process.pid, process.create_time())

    def alive(self) -> bool:
        """Whether that very process still runs; one that only waits for its parent to notice its end does not."""
        return self._process() is not None

    def kill(self) -> None:
        """End it at once, if it still runs."""
        if process := self._process():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                return  # it ended by itself in the meantime

    def terminate(self) -> None:
        """Ask it to save and end, if it still runs."""
        if process := self._process():
            try:
                process.terminate()
            except psutil.NoSuchProcess:
                return

    def _process(self) -> psutil.Process | None:
        if self.pid <= 0:
            return None
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.born) < SAME_START
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


def start_detached(module: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a module of ours as a process that outlives this one.

    It gets paths of ours and words of ours as arguments, never anything that a person wrote. What it has to say it
    writes into logs.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )
    # Whoever has started a process must take note of its end, or it stays in the system's table.
    threading.Thread(target=process.wait, name=f"waits for {module}", daemon=True).start()
    return process


def start_worker(root: Path) -> None:
    """Start a worker for the jobs under `root`; one that finds another at work ends at once."""
    start_detached("lorastyle.jobs.worker", "--root", str(root), "--leaves-when-idle")
