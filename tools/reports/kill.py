"""Does a killed run go on as if nothing had happened?

    python -m tools.reports.kill --kills 20 --seed 4

A short run with frequent checkpoints is left alone once; then it is started again and again, killed (SIGKILL) at a
random moment and resumed until it is done. Every second kill waits for a write and falls into it; the others come
at any time between the first file and the end. Each run has a cache of its own, so that kills also fall into its
writing. The last line on stdout is one JSON object:

    kills               runs that were killed and then resumed to their end
    same_bytes          of these, whose adapter has the bytes of the run left alone
    torn                files and checkpoints found at a published name that were not whole, after all kills
    inside_writes       kills that left something half written, unpublished, in the run's folder
    seed                of the random moments
"""

import argparse
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.progress import track

from tools.reports import runs
from tools.reports.whole import torn_under

FOLDER = runs.FOLDER / "kill"
OPTIONS = ("--trigger", "sumi", "--steps", "60", "--seed", "7", "--set", "batch=2", "--set", "checkpoint_every=5")
POLL = 0.0005  # seconds; writes take a few milliseconds


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

    def being_written(self) -> set[Path]:
        """What lies unpublished in the run's folder: files are made beside their place, under names with a dot."""
        walk = os.walk(self.out)
        return {Path(folder, name) for folder, inner, files in walk for name in [*inner, *files] if name[0] == "."}


@dataclass(frozen=True)
class Expected:
    """The run left alone: its adapter, the seconds from its first file to its end, and how many writes were seen."""

    adapter: bytes
    seconds: float
    writes: int


def start(place: Place, *more: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"LORASTYLE_CACHE": str(place.cache.resolve())}
    command = runs.command(runs.SAMPLES / "ink", place.out, *OPTIONS, *more)
    with place.log.open("ab") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)


def left_alone() -> Expected:
    place = fresh("left-alone")
    process = start(place)
    wait_for_first_file(place, process)
    begun = time.perf_counter()
    writes = watch_writes(place, process)
    finish(process, place)
    return Expected(place.adapter.read_bytes(), time.perf_counter() - begun, writes)


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


def watch_writes(place: Place, process: subprocess.Popen[bytes], most: int = sys.maxsize) -> int:
    """Count the writes seen; return within the one of number `most`, or when the process has ended."""
    seen: set[Path] = set()
    while len(seen) < most and process.poll() is None:
        seen |= place.being_written()
        time.sleep(POLL)
    return len(seen)


def kill_once(place: Place, expected: Expected, draw: random.Random, in_write: bool) -> bool:
    """Start a run and kill it at a random moment; False if it had ended before."""
    process = start(place)
    wait_for_first_file(place, process)
    if in_write:
        watch_writes(place, process, most=draw.randint(1, expected.writes))
    else:
        time.sleep(draw.uniform(0, expected.seconds))
    if process.poll() is not None:
        finish(process, place)
        return False
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return True


@dataclass
class Count:
    kills: int = 0
    same_bytes: int = 0
    torn: int = 0
    inside_writes: int = 0

    def add(self, place: Place, expected: Expected) -> None:
        """Look at what the kill left, resume, and compare."""
        torn = torn_under(place.parent)
        for what in torn:
            runs.console.print(f"[red]torn: {what}")
        self.torn += len(torn)
        self.inside_writes += bool(place.being_written())
        finish(start(place, "--resume"), place)
        self.kills += 1
        self.same_bytes += place.adapter.read_bytes() == expected.adapter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None, help="of the random moments; a new one by default")
    options = parser.parse_args()
    seed = secrets.randbelow(10_000) if options.seed is None else options.seed
    runs.console.print(f"seed of the random moments: {seed}")
    draw, count = random.Random(seed), Count()
    expected = left_alone()
    runs.console.print(f"left alone: {expected.seconds:.0f} s, {expected.writes} writes seen")
    for number in track(range(options.kills), "killing and resuming", console=runs.console):
        place = fresh(f"kill-{number:02d}")
        while not kill_once(place, expected, draw, in_write=number % 2 == 1):
            place = fresh(f"kill-{number:02d}")  # it had ended; the next moment is another
        count.add(place, expected)
    runs.publish(vars(count) | {"seed": seed})


if __name__ == "__main__":
    main()
