"""One process that does jobs of one lane: a single training, or everything else for as long as there is some."""

import argparse
import logging
import os
import signal
import time
from pathlib import Path

from lorastyle import Interrupted
from lorastyle.files import read_json
from lorastyle.jobs.database import Database
from lorastyle.jobs.leases import Lease, Leases
from lorastyle.jobs.redaction import Redaction
from lorastyle.jobs.tasks import LANES, TRAINING, UPLOAD, checked
from lorastyle.jobs.worker.bases import WarmBase
from lorastyle.jobs.worker.failures import sentence
from lorastyle.jobs.worker.keeper import Keeper, Lost
from lorastyle.jobs.worker.log import NAME, logged, process_log

logger = logging.getLogger(NAME)
POLL = 0.2  # seconds
WARM = 300.0  # seconds that the quick lane's process keeps its base without work


class Runner:
    """The process of one lane."""

    def __init__(self, root: Path, lane: str, warm: float) -> None:
        self.root, self.lane = root, lane
        self.leases = Leases(Database(root / "jobs.sqlite"), root)
        self.base, self.stays_warm = WarmBase(), warm

    def run(self) -> None:
        """Do jobs until there is none: a training's process does one, the other waits a while for more."""
        if not self.leases.enlist(self.lane):
            return
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # outside of training, too, it means: stop in order
        try:
            self.work()
        except KeyboardInterrupt:
            return
        finally:
            self.leases.leave(self.lane)

    def work(self) -> None:
        idle_since = time.monotonic()
        while time.monotonic() - idle_since < self.stays_warm and self.root.is_dir():
            lease = self.leases.claim(self.lane)
            if lease:
                self.do(lease)
                idle_since = time.monotonic()
            if self.lane == TRAINING:
                return
            if not lease:
                time.sleep(POLL)

    def do(self, lease: Lease) -> None:
        """Do one job, and end it or give it back; the job's state says afterwards what became of it."""
        folder = lease.job.folder
        redact = Redaction(folder / UPLOAD, folder, self.root)
        with logged(folder / "log.txt", redact):
            try:
                with Keeper(self.leases, lease, self.when_lost) as keeper:
                    result = self.execute(lease, keeper)
            except (Interrupted, KeyboardInterrupt) as stopped:
                logger.info("Stopped; everything is saved.")
                if not self.leases.release(lease):
                    raise KeyboardInterrupt from stopped
            except Lost:
                logger.info("Cancelled.")
            except Exception as error:
                said = redact(sentence(error))
                logger.exception("Failed. %s", said)
                self.leases.fail(lease, said)
            else:
                logger.info("Done.")
                self.leases.finish(lease, result)
            # Cancelled in its last moments: nobody is to wait for this process, which goes on with the next job.
            self.leases.let_go(lease)

    def execute(self, lease: Lease, keeper: Keeper) -> dict[str, object]:
        keeper.say(message="Getting ready")
        from lorastyle.jobs.worker.executors import Work, execute  # loads torch, which takes seconds

        job = lease.job
        logger.info("Going on with: %s" if job.step else "Beginning: %s", job.title)
        task = checked(job.task, read_json(job.folder / "settings.json")["settings"])
        result = execute(task, Work(self.root, job.folder, job.owner, self.base, keeper))
        keeper.say()  # it may have been cancelled since it said something last
        return result

    def when_lost(self) -> None:
        """A training that was cancelled ends where it is: what it writes is whole at any moment. The other lane's
        process is asked to stop instead, so that the base stays loaded."""
        if self.lane == TRAINING:
            os._exit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--lane", choices=LANES, required=True)
    parser.add_argument("--warm", type=float, default=WARM, help="seconds without work before leaving")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    root = options.root.resolve()
    with process_log(root):
        Runner(root, options.lane, options.warm).run()


if __name__ == "__main__":
    main()
