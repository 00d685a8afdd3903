"""The worker: it starts a process for each lane in which jobs wait, and puts what dead ones held into its true state.

It imports nothing heavy and never touches a job itself. Everything it knows it reads from the store, so that another
worker, started after this one was killed, goes on with the same processes.
"""

import signal
import subprocess
import threading
import time
from pathlib import Path
from types import FrameType

from lorastyle import files
from lorastyle.jobs.database import Database
from lorastyle.jobs.leases import Lease, Leases
from lorastyle.jobs.processes import Identity, start_detached
from lorastyle.jobs.tasks import LANES
from lorastyle.jobs.worker.log import process_log

POLL = 0.5  # seconds
GRACE = 3.0  # seconds that a process has to let go of a cancelled job by itself
SILENCE = 90.0  # seconds without a beat after which a process hangs; it beats twice a second
STOPPING = 60.0  # seconds that processes have to save and end when the worker is told to
IDLE = 600.0  # seconds without work after which a worker that the studio started leaves
ORPHAN = 3600.0  # seconds after which a folder without a job was left by somebody killed while adding it


def run_worker(root: Path, idle: float | None = None) -> bool:
    """Work through the jobs under `root` until SIGTERM or Ctrl-C, or for `idle` seconds without any.

    False where another worker is at it already.
    """
    root = root.resolve()
    root.mkdir(parents=True, exist_ok=True)
    leases = Leases(Database(root / "jobs.sqlite"), root)
    if not leases.enlist("worker"):
        return False
    try:
        with process_log(root):
            Supervisor(root, leases).run(idle)
    finally:
        leases.leave("worker")
    return True


class Supervisor:
    """One worker. `silent` holds, for each lease, its last beat and when it was seen first, in time that does not run
    while the machine sleeps; `left` when a job was first seen to be taken out of its process's hands."""

    def __init__(self, root: Path, leases: Leases) -> None:
        self.root, self.leases = root, leases
        self.started: dict[str, subprocess.Popen[bytes]] = {}
        self.silent: dict[str, tuple[int, float]] = {}
        self.left: dict[str, float] = {}
        self.stop = threading.Event()

    def run(self, idle: float | None) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.asked_to_stop)
        # Those that died while no worker was there to see it are not to blame: somebody ended everything.
        self.recover(blamed=False)
        self.tidy()
        busy = time.monotonic()
        while not self.stop.wait(POLL):
            if not self.root.is_dir():
                return
            if self.tick():
                busy = time.monotonic()
            elif idle is not None and time.monotonic() - busy > idle:
                return
        self.stop_processes()

    def asked_to_stop(self, number: int, frame: FrameType | None) -> None:
        self.stop.set()

    def tick(self) -> bool:
        """See to everything once; False where there is nothing to do."""
        self.recover(blamed=True)
        self.end_abandoned()
        waiting = [lane for lane in LANES if self.leases.waiting(lane)]
        for lane in waiting:
            self.ensure_process(lane)
        return bool(waiting or self.leases.held())

    def ensure_process(self, lane: str) -> None:
        if lane in self.started and self.started[lane].poll() is None:
            return
        if self.leases.at_work(lane) is None:
            self.started[lane] = start_detached(f"{__package__}.runner", "--root", str(self.root), "--lane", lane)

    def recover(self, blamed: bool) -> None:
        """Put jobs whose process is dead, or hangs, into their true state."""
        held = self.leases.held()
        for lease in held:
            if self.hangs(lease):
                lease.holder.kill()
            if not lease.holder.alive():
                self.leases.settle(lease, blamed)
        self.silent = {lease.word: self.silent[lease.word] for lease in held}

    def hangs(self, lease: Lease) -> bool:
        now = time.monotonic()
        beat, since = self.silent.get(lease.word, (-1, now))
        if beat != lease.beat:
            self.silent[lease.word] = (lease.beat, now)
            return False
        return now - since > SILENCE

    def end_abandoned(self) -> None:
        """End processes that do not let go of cancelled jobs by themselves."""
        abandoned = self.leases.abandoned()
        self.left = {lease.word: self.left.get(lease.word, time.monotonic()) for lease in abandoned}
        for lease in abandoned:
            if time.monotonic() - self.left[lease.word] > GRACE:
                lease.holder.kill()
            if not lease.holder.alive():
                self.leases.let_go(lease)

    def stop_processes(self) -> None:
        """Let running jobs save and go back into the queue."""
        known = [found for lane in LANES if (found := self.leases.at_work(lane))]
        just_started = [one for one in self.started.values() if one.pid not in {found.pid for found in known}]
        for process in known:
            process.terminate()
        for started in just_started:
            started.terminate()
        deadline = time.monotonic() + STOPPING
        while any(map(Identity.alive, known)) and time.monotonic() < deadline:
            time.sleep(POLL / 5)
        self.recover(blamed=False)

    def tidy(self) -> None:
        """Remove what somebody left who was killed while adding a job."""
        folder, known = self.root / "jobs", self.leases.known()
        for path in folder.iterdir() if folder.is_dir() else []:
            if not path.name.startswith(".") and path.name not in known:
                if time.time() - path.stat().st_mtime > ORPHAN:
                    files.remove_folder(path)
            elif path.name.startswith(".") and time.time() - path.stat().st_mtime > ORPHAN:
                files.sweep(folder)
