"""Does a killed run go on as if nothing had happened?

    python -m tools.reports.kill --kills 20 --seed 4

A short run with frequent checkpoints is left alone once; then it is started again and again, killed (SIGKILL) at a
random moment and resumed until it is done. Every second kill waits for a write and falls into it; the others come
at any time between the first file and the end. Each run has a cache of its own, so that kills also fall into its
writing. The last line on stdout is one JSON object:

    kills               runs that were killed and then resumed to their end
    same_bytes          of these, whose adapter has the bytes of the run left alone
    torn                files and checkpoints found at a published name that were not whole, after all kills
    inside_writes       kills that left an unpublished file or folder behind
    seed                of the random moments
"""

import argparse
import os
import random
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.progress import track

from tools.reports import runs
from tools.reports.whole import torn_under

FOLDER = runs.FOLDER / "kill"
OPTIONS = ("--trigger", "sumi", "--steps", "60", "--seed", "7", "--set", "batch=2", "--set", "checkpoint_every=5")
POLL = 0.0005  # seconds; writes take a few milliseconds
WRITES = 40  # an upper bound on which write of a run is waited for


@dataclass(frozen=True)
class Place:
    """Where one run keeps its files."""

    parent: Path

    @property
    def out(self) -> Path:
        return self.parent / "run"

    @property
    def cache(self) -> Path:
        return self.parent / "cache"

    @property
    def log(self) -> Path:
        return self.parent.with_suffix(".log")

    @property
    def adapter(self) -> Path:
        return self.out / "run.safetensors"

    def unpublished(self) -> set[Path]:
        """What is being written: files are made beside their place, under names that begin with a dot."""
        return {path for path in self.entries() if path.name.startswith(".")}

    def entries(self) -> Iterator[Path]:
        for folder, folders, names in os.walk(self.parent):
            yield from (Path(folder, name) for name in [*folders, *names])


def start(place: Place, *more: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"LORASTYLE_CACHE": str(place.cache.resolve())}
    command = runs.command(runs.SAMPLES / "ink", place.out, *OPTIONS, *more)
    with place.log.open("ab") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)


def left_alone() -> tuple[bytes, float]:
    """The adapter of an uninterrupted run, and the seconds from its first file to its end."""
    place = fresh("left-alone")
    process = start(place)
    wait_for_first_file(place, process)
    begun = time.perf_counter()
    finish(process, place)
    return place.adapter.read_bytes(), time.perf_counter() - begun


def fresh(name: str) -> Place:
    place = Place(FOLDER / name)
    shutil.rmtree(place.parent, ignore_errors=True)
    place.parent.mkdir(parents=True)
    return place


def finish(process: subprocess.Popen[bytes], place: Place) -> None:
    if process.wait() != 0:
        raise RuntimeError(f"training ended with {process.returncode}; see {place.log}")


def wait_for_first_file(place: Place, process: subprocess.Popen[bytes]) -> None:
    while not place.out.exists() and process.poll() is None:
        time.sleep(POLL)


def wait_for_write(place: Place, process: subprocess.Popen[bytes], number: int) -> None:
    """Return within the write of that `number`, or when the process has ended."""
    seen: set[Path] = set()
    while len(seen) < number and process.poll() is None:
        seen |= place.unpublished()
        time.sleep(POLL)


def kill_once(place: Place, seconds: float, draw: random.Random, in_write: bool) -> bool:
    """Start a run and kill it at a random moment; False if it had ended before."""
    process = start(place)
    wait_for_first_file(place, process)
    if in_write:
        wait_for_write(place, process, draw.randrange(1, WRITES))
    else:
        time.sleep(draw.uniform(0, seconds))
    alive = process.poll() is None
    if alive:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return alive


@dataclass
class Count:
    kills: int = 0
    same_bytes: int = 0
    torn: int = 0
    inside_writes: int = 0

    def add(self, place: Place, expected: bytes) -> None:
        """Look at what the kill left, resume, and compare."""
        torn = torn_under(place.parent)
        for what in torn:
            runs.console.print(f"[red]torn: {what}")
        self.torn += len(torn)
        self.inside_writes += bool(place.unpublished())
        finish(start(place, "--resume"), place)
        self.kills += 1
        self.same_bytes += place.adapter.read_bytes() == expected


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None, help="of the random moments; a new one by default")
    options = parser.parse_args()
    seed = secrets.randbelow(10_000) if options.seed is None else options.seed
    runs.console.print(f"seed of the random moments: {seed}")
    draw, count = random.Random(seed), Count()
    expected, seconds = left_alone()
    for number in track(range(options.kills), "killing and resuming", console=runs.console):
        place = fresh(f"kill-{number:02d}")
        while not kill_once(place, seconds, draw, in_write=number % 2 == 1):
            place = fresh(f"kill-{number:02d}")  # it had ended; the next moment is another
        count.add(place, expected)
    runs.publish(vars(count) | {"seed": seed})


if __name__ == "__main__":
    main()
