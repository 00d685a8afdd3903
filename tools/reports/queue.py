"""Does every job end exactly once, and as if nothing had happened, whatever is killed?

    python -m tools.reports.queue --kills 20 --jobs 10 --seed 4

Short trainings are queued in a studio: its server runs, which keeps a worker at work. At random moments (while a
process loads, or at some step) processes are killed (SIGKILL): the server, the worker, the worker with all that it
started, or everything; a killed server is started again at once. Each job trains with a seed of its own, and its
adapter is compared with the one that the same recipe gave when it was trained alone, without a queue. The last line
on stdout is one JSON object:

    kills               moments at which something was killed
    jobs                trainings in the queue
    ended_once          of these, that ended as done, and ended no other time
    same_bytes          of these, whose adapter has the bytes of the one trained alone
    recovery_seconds    the longest time from a start after a kill until a killed job stood in its true state again
    seed                of the random moments
"""

import argparse
import os
import random
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from rich.progress import track

import lorastyle
from lorastyle import Job, Jobs, Recipe
from tools.reports import runs

FOLDER = runs.FOLDER / "queue"
DATA = runs.SAMPLES / "ink"
STEPS = 20
LOADING = 6.0  # seconds after a job was taken in which kills of its first phase fall
LOADING_SHARE = 0.3  # of all kills
LAST_SHARE = 0.85  # of a job's steps; a kill that is due later could come too late
PATIENCE = 900.0  # seconds for one job
POLL = 0.01  # seconds
ENDS = {"done", "failed", "cancelled"}
VICTIMS = ("server", "worker", "worker and children", "everything")


def recipe(number: int) -> dict[str, object]:
    """A short training whose bytes tell it from the others."""
    return {
        "steps": STEPS, "batch": 1, "rank": 4, "seed": number, "trigger": "sumi", "checkpoint_every": 3,
        "held_out": 0.0, "preview_steps": 2, "preview_prompts": ["sumi cat"],
    }  # fmt: skip


def trained_alone(number: int, base: lorastyle.Base, data: lorastyle.Dataset) -> bytes:
    """The adapter of a training that nobody disturbed. Its folder is called as the queue's are: its name is in it."""
    run = lorastyle.train(base, data, Recipe(**recipe(number)), out=FOLDER / "alone" / str(number) / "run")
    return run.adapter.read_bytes()


@dataclass(frozen=True, order=True)
class Moment:
    """When to kill: in which job, and how far in it from 0 to 1."""

    job: int
    within: float


def moments(kills: int, jobs: int, draw: random.Random) -> list[Moment]:
    return sorted(Moment(draw.randrange(jobs), draw.random()) for _ in range(kills))


@dataclass
class Studio:
    """A studio under attack."""

    root: Path
    draw: random.Random
    jobs: Jobs = field(init=False)
    server: subprocess.Popen[bytes] | None = None
    recovery: float = 0.0

    def __post_init__(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        self.jobs = Jobs(self.root)

    def start_server(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as found:
            port = found.getsockname()[1]
        command = [sys.executable, "-m", "ui", "--root", str(self.jobs.root), "--port", str(port), "--no-browser"]
        with (FOLDER / "server.log").open("ab") as log:
            self.server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def wait_for(self, moment: Moment, job: Job) -> None:
        """Return at that moment, or when the job is over before."""
        deadline, taken = time.monotonic() + PATIENCE, 0.0
        while time.monotonic() < deadline:
            now = self.jobs.get(job.id)
            taken = taken or (time.monotonic() if now.state == "running" else 0.0)
            if now.state in ENDS or (taken and self.is_due(moment, now.step, time.monotonic() - taken)):
                time.sleep(self.draw.uniform(0, 0.3))  # steps are told twice a second; this falls between
                return
            time.sleep(POLL)
        raise RuntimeError(f"a job got no further: {self.jobs.get(job.id)}")

    def is_due(self, moment: Moment, step: int, seconds: float) -> bool:
        if moment.within < LOADING_SHARE:
            return step > 0 or seconds > moment.within / LOADING_SHARE * LOADING
        return step >= (moment.within - LOADING_SHARE) / (1 - LOADING_SHARE) * LAST_SHARE * STEPS

    def kill(self, victims: str) -> None:
        """Kill, start the server again if it was among them, and wait until nothing stands as running that is dead."""
        held = self.jobs.list(states=("running", "pausing"))
        before = {job.id: len(self.jobs.history(job.id)) for job in held}
        for process in self.processes(victims):
            process.kill()
        if self.server and victims in ("server", "everything"):
            self.server.kill()
            self.server.wait()
            self.start_server()
        begun = time.time()
        if victims in ("worker and children", "everything"):
            for job in held:
                self.recovery = max(self.recovery, self.settled(job, before[job.id]) - begun)

    def settled(self, job: Job, known: int) -> float:
        """When the killed job's true state was put down, in seconds since 1970."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if events := self.jobs.history(job.id)[known:]:
                return events[0][0]
            time.sleep(POLL)
        raise RuntimeError(f"a killed job stands as running: {self.jobs.get(job.id)}")

    def processes(self, victims: str) -> Iterator[psutil.Process]:
        """The worker, and its children where they are meant too."""
        ours = {"server": (), "worker": ("lorastyle.jobs.worker",)}
        modules = ours.get(victims, ("lorastyle.jobs.worker", "lorastyle.jobs.worker.runner"))
        for process in psutil.process_iter(["cmdline"]):
            command = process.info["cmdline"] or []
            if str(self.jobs.root) in command and any(module in command for module in modules):
                yield process

    def finish(self, jobs: list[Job]) -> list[Job]:
        """The jobs when all are over."""
        for job in jobs:
            self.wait_for(Moment(0, 2.0), job)
        return [self.jobs.get(job.id) for job in jobs]

    def close(self) -> None:
        for process in self.processes("everything"):
            process.kill()
        if self.server:
            self.server.kill()
            self.server.wait()


def attack(studio: Studio, jobs: list[Job], plan: list[Moment]) -> None:
    studio.start_server()
    for moment in track(plan, "killing", console=runs.console):
        studio.wait_for(moment, jobs[moment.job])
        victims = studio.draw.choice(VICTIMS)
        runs.console.print(f"job {moment.job + 1} at {moment.within:.2f}: {victims}")
        studio.kill(victims)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=None, help="of the random moments; a new one by default")
    options = parser.parse_args()
    seed = secrets.randbelow(10_000) if options.seed is None else options.seed
    runs.console.print(f"seed of the random moments: {seed}")
    draw = random.Random(seed)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    os.environ["LORASTYLE_CACHE"] = str((FOLDER / "cache").resolve())
    base, data = lorastyle.load_base("pocket"), lorastyle.Dataset.open(DATA)
    numbers = track(range(options.jobs), "training alone", console=runs.console)
    alone = [trained_alone(number, base, data) for number in numbers]
    studio = Studio(FOLDER / "studio", draw)
    wanted = [{"data": str(DATA.resolve()), "recipe": recipe(number)} for number in range(options.jobs)]
    jobs = [studio.jobs.add("train", settings, title=f"job {at + 1}") for at, settings in enumerate(wanted)]
    try:
        attack(studio, jobs, moments(options.kills, options.jobs, draw))
        ended = studio.finish(jobs)
    finally:
        studio.close()
    histories = [[what for _, what in studio.jobs.history(job.id) if what in ENDS] for job in ended]
    for job, history in zip(ended, histories, strict=True):
        runs.console.print(f"{job.title}: {', '.join(history)} {job.error}")
    same = [
        job.state == "done" and Path(job.result["adapter"]).read_bytes() == own
        for job, own in zip(ended, alone, strict=True)
    ]
    runs.publish(
        {
            "kills": options.kills,
            "jobs": options.jobs,
            "ended_once": histories.count(["done"]),
            "same_bytes": sum(same),
            "recovery_seconds": round(studio.recovery, 2),
            "seed": seed,
        }
    )


if __name__ == "__main__":
    main()
