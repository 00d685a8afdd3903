"""A store with a queue, folders to train on, and processes that take a job and do nothing with it."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from lorastyle import Job, Jobs

HOLD = """
import sys, time
from pathlib import Path
from lorastyle.jobs.database import Database
from lorastyle.jobs.leases import Leases, Report
root = Path(sys.argv[1])
leases = Leases(Database(root / "jobs.sqlite"), root)
leases.enlist(sys.argv[2])
lease = leases.claim(sys.argv[2])
if sys.argv[3] != "0":
    leases.beat(lease, Report(step=int(sys.argv[3]), steps=100))
print("holds", flush=True)
time.sleep(600)
"""


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path / "studio")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder that looks like images to the queue, which never opens them."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(b"")
        (folder / f"{number}.txt").write_text("a caption")
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures of coloured noise, the same in every test run."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for number in range(3):
        blocks = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(blocks).resize((64, 64), Image.Resampling.NEAREST).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def training(jobs: Jobs, images: Path) -> Callable[..., Job]:
    """Adds a training to the queue."""

    def add(title: str = "", owner: str = "me", **recipe: object) -> Job:
        return jobs.add("train", {"data": str(images), "recipe": recipe}, owner=owner, title=title)

    return add


@pytest.fixture
def hold(jobs: Jobs) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a process that takes the next job of a lane, has come to some step with it, and holds it until killed."""
    started: list[subprocess.Popen[str]] = []

    def start(lane: str = "training", step: int = 0) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, str(jobs.root), lane, str(step)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        return process

    yield start
    for process in started:
        kill(process)
        if process.stdout:
            process.stdout.close()


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.fixture
def worker(jobs: Jobs) -> Iterator[Callable[[], psutil.Process]]:
    """Starts a worker; at the end everything that it started is killed with it."""

    def start() -> psutil.Process:
        jobs.ensure_worker()
        wait_until(jobs.worker_alive)
        return next(iter(processes_of(jobs.root, "lorastyle.jobs.worker")))

    yield start
    kill_all(jobs.root)


def kill_all(root: Path) -> None:
    """Kill every process of a studio, those too that are started meanwhile."""
    while found := processes_of(root):
        for process in found:
            process.kill()
        psutil.wait_procs(found, timeout=30)


def processes_of(root: Path, module: str | None = None) -> list[psutil.Process]:
    """The living processes of a studio: all of them, or those of one module."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        command = process.info["cmdline"] or []
        if (
            str(root) in command
            and process.info["status"] != psutil.STATUS_ZOMBIE
            and (not module or module in command)
        ):
            found.append(process)
    return found


def wait_until(holds: Callable[[], object], seconds: float = 120) -> None:
    """Return as soon as it holds; what does not within a long while never will."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.02)
