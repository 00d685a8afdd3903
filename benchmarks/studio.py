"""What the studio costs, and whether it holds when many use it while it trains.

    python -m benchmarks.studio

A dataset of 500 captioned images, a training with 10,000 rows of metrics, and a training that runs throughout on the
same processor are laid out in a folder of its own. The last line on stdout is one JSON object:

    serve_seconds             from the command until the first page is served, files compiled
    answer_seconds            until it answers at all, with the page that waits
    review_500_seconds        from opening the review of 500 images until a caption can be edited, the browser's caches
                              warm; the median of several, while nothing trains
    review_500_cold_seconds   the same for somebody who has never been there
    rows_sent_per_edit        rows in the answer to one edited caption
    poll_10000_ms             one look at the training with 10,000 rows, which draws all of it; the median of several
    clients, requests         clients at once that upload, edit, queue, cancel and look, and what they asked for
    errors, lost_edits        requests that failed; captions that are not what was last written
    p95_seconds               the 95th percentile of all their requests
    memory_mb                 the most memory that the studio's process had at any moment
"""

import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
from PIL import Image, ImageDraw
from rich.console import Console

from benchmarks import visitors
from lorastyle import Draft, Job, Workspace
from tests.ui import seeding

IMAGES, ROWS = 500, 10_000
SIDE = 256
INK = Path("sample_data") / "ink"
LOOKS_EVERY = 0.1  # seconds between looks at the memory
OPENS_WITHIN = 300.0  # seconds

console = Console(stderr=True, highlight=False)


def main() -> None:
    """Measure everything, and print it."""
    visitors.require_chromium()
    with tempfile.TemporaryDirectory(prefix="lorastyle-studio-") as folder:
        workspace = Workspace(Path(folder) / "root")
        console.print(f"Laying out {IMAGES} images")
        draft, watched = _images(workspace, Path(folder)), _watched(workspace, Path(folder))
        with _studio(workspace):  # the first start compiles what Python has not compiled yet
            console.print("Started once")
        with _studio(workspace) as (studio, told):
            console.print("One person, nothing trains")
            alone = visitors.alone(studio, draft.id, watched.id)
            console.print("Many at once, while it trains")
            with _training(workspace) as training:
                together = visitors.together(studio, draft, watched, training)
    print(json.dumps(told | alone | together))


# What is laid out


def _images(workspace: Workspace, folder: Path) -> Draft:
    """Images that no check takes for twins: coarse random patterns."""
    draft = workspace.area().new_dataset("500 images")
    images = folder / "images"
    images.mkdir()
    for number in range(IMAGES):
        noise = random.Random(number)
        image = Image.new("RGB", (SIDE, SIDE + 32 * (number % 3)), tuple(noise.randbytes(3)))
        draw = ImageDraw.Draw(image)
        for _ in range(12):
            x, y = noise.randrange(SIDE), noise.randrange(SIDE)
            draw.rectangle((x, y, x + noise.randrange(8, 120), y + noise.randrange(8, 120)), tuple(noise.randbytes(3)))
        image.save(images / f"{number:03d}.png")
        (images / f"{number:03d}.txt").write_text(f"pattern number {number}, inkpen", encoding="utf-8")
    draft.add([images])
    return draft


def _watched(workspace: Workspace, folder: Path) -> Job:
    job = seeding.training(workspace.jobs, folder, "10,000 steps", (5_000, 10_000))
    row = {"loss": 0.1, "smoothed": 0.1, "learning_rate": 1e-4, "steps_per_second": 2.5, "memory_bytes": 10**9}
    lines = "".join(json.dumps({"step": step} | row) + "\n" for step in range(1, ROWS + 1))
    (job.run / "metrics.jsonl").write_text(lines, encoding="utf-8")
    (job.folder / "log.txt").write_text("a line of the log\n" * 500, encoding="utf-8")
    return seeding.stand(workspace.jobs, job, "paused", step=ROWS, steps=2 * ROWS)


@contextmanager
def _training(workspace: Workspace) -> Iterator[Job]:
    """A training that has begun, and ends with the block."""
    area, jobs = workspace.area(), workspace.jobs
    draft = area.new_dataset("ink")
    draft.add([INK])
    job = area.train(draft, "pocket", {"purpose": "style", "trigger": "inkpen", "steps": 50_000}, "ink")
    jobs.ensure_worker()
    _until(lambda: jobs.get(job.id).step > 2)
    try:
        yield job
        if jobs.get(job.id).state != "running":
            sys.exit(f"The training did not run throughout: {jobs.get(job.id).error}")
    finally:
        jobs.cancel(job.id)
        _until(lambda: jobs.get(job.id).state == "cancelled")


@contextmanager
def _studio(workspace: Workspace) -> Iterator[tuple[str, dict[str, float]]]:
    """A studio in a process of its own: its address, and what is told of it once the block has ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "ui", "--root", str(workspace.root), "--port", str(port), "--no-browser"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    begin = time.perf_counter()
    process = subprocess.Popen(command, env=environment)
    try:
        told = {"answer_seconds": round(_until(lambda: _status(address) > 0) - begin, 2),
                "serve_seconds": round(_until(lambda: _status(address) == 200) - begin, 2)}  # fmt: skip
        with _memory(process.pid, told):
            yield address, told
    finally:
        process.terminate()
        process.wait()


def _status(address: str) -> int:
    """The status of the answer of the first page; 0 where nobody answers."""
    try:
        return httpx.get(address, timeout=60).status_code
    except httpx.TransportError:
        return 0


@contextmanager
def _memory(pid: int, told: dict[str, float]) -> Iterator[None]:
    """Look at the memory of a process now and then, and tell the most that was seen."""
    process, most, ended = psutil.Process(pid), [0], threading.Event()

    def look() -> None:
        while not ended.wait(LOOKS_EVERY):
            most[0] = max(most[0], process.memory_info().rss)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        told["memory_mb"] = round(most[0] / 2**20, 1)


def _until(is_so: Callable[[], bool]) -> float:
    """Wait until it is so; returns when that was."""
    deadline = time.perf_counter() + OPENS_WITHIN
    while not is_so():
        if time.perf_counter() > deadline:
            sys.exit("The studio or its worker did not get ready.")
        time.sleep(0.02)
    return time.perf_counter()


if __name__ == "__main__":
    main()
