"""Jobs as they stand after some hours of work, written straight into a store, for the pages to show."""

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from lorastyle import Job, Jobs, write_image
from tests.jobs.conftest import kill_all
from tests.ui.conftest import CODE, OPENS_WITHIN, free_port

ADAPTER = "step-{step:06d}/adapter.safetensors"
# The studio without the worker that it keeps: jobs stay as they were put into the queue.
PAGES_ALONE = """
import sys
from pathlib import Path
from ui.loading import prepare
prepare(Path(sys.argv[1]) / "uploads")
import uvicorn
from lorastyle import Workspace
from ui.server import create_app
uvicorn.run(create_app(Workspace(sys.argv[1])), port=int(sys.argv[2]), log_level="warning")
"""


@contextmanager
def served(root: Path) -> Iterator[str]:
    """The address of the pages over the folder `root`, served until the block ends."""
    port, log = free_port(), root / "pages.log"
    with log.open("wb") as out:
        command = [sys.executable, "-c", PAGES_ALONE, str(root), str(port)]
        process = subprocess.Popen(command, cwd=CODE, stdout=out, stderr=out)
    address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + OPENS_WITHIN
    try:
        while not _answers(address):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield address
    finally:
        process.kill()  # it would wait for clients that listen for news
        process.wait(timeout=30)
        kill_all(root)  # a worker that one of the pages called


def _answers(address: str) -> bool:
    try:
        return httpx.get(address).status_code == 200
    except httpx.TransportError:
        return False


def picture(path: Path, hue: int, side: int = 96) -> Path:
    """A small picture, each hue another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    gradient = Image.linear_gradient("L").resize((side, side))
    write_image(path, Image.merge("HSV", (Image.new("L", (side, side), hue % 256), gradient, gradient)).convert("RGB"))
    return path


def stand(jobs: Jobs, job: Job, state: str, **columns: Any) -> Job:
    """The job in another state, as if a worker had been at it."""
    now = time.time()
    told: dict[str, Any] = {"state": state, "started": now - 1800}
    if state in ("done", "failed", "cancelled"):
        told["ended"] = now - 600
    told |= {name: json.dumps(value) if isinstance(value, Mapping) else value for name, value in columns.items()}
    with sqlite3.connect(jobs.root / "jobs.sqlite") as store:
        names = ", ".join(f"{name} = ?" for name in told)
        store.execute(f"UPDATE jobs SET {names} WHERE id = ?", (*told.values(), job.id))
    store.close()
    return jobs.get(job.id)


def training(
    jobs: Jobs, data: Path, title: str, steps: tuple[int, ...], owner: str = "me", base: str = "pocket"
) -> Job:
    """A training that has ended, with a preview and a checkpoint (an empty file) at each of `steps`."""
    job = jobs.add("train", {"data": str(data), "base": base, "recipe": {}}, owner=owner, title=title)
    for number, step in enumerate(steps):
        checkpoint(job, step)
        picture(job.run / "samples" / f"step-{step:06d}-0.png", 40 * number)
    return stand(jobs, job, "done", step=steps[-1], steps=steps[-1])


def checkpoint(job: Job, step: int) -> None:
    """A checkpoint that a training saves at that step: an empty file."""
    path = job.run / "checkpoints" / ADAPTER.format(step=step)
    path.parent.mkdir(parents=True)
    path.touch()


def drawing(jobs: Jobs, prompt: str, hue: int, adapters: Mapping[str, float] | None = None, owner: str = "me") -> Job:
    """A picture that was drawn."""
    settings = {"prompts": [prompt], "adapters": dict(adapters or {}), "seed": hue}
    job = jobs.add("generate", settings, owner=owner, title=prompt)
    path = picture(job.folder / "images" / "000.png", hue)
    return stand(jobs, job, "done", step=20, steps=20, result={"images": [str(path)]})


def grid(jobs: Jobs, trained: Job, strengths: list[float], prompts: list[str], owner: str = "me") -> Job:
    """A grid of all checkpoints of a training."""
    paths = [str(checkpoint["path"]) for checkpoint in jobs.checkpoints(trained.id)]
    settings = {"checkpoints": paths, "strengths": strengths, "prompts": prompts}
    job = jobs.add("grid", settings, owner=owner, title=f"Grid of {trained.title}")
    cells: list[dict[str, Any]] = [
        {"checkpoint": path, "strength": strength, "prompt": prompt}
        for prompt in prompts
        for path in paths
        for strength in strengths
    ]
    for number, cell in enumerate(cells):
        cell["path"] = str(picture(job.folder / "grid" / f"{number}.png", 15 * number))
    return stand(jobs, job, "done", result={"sheet": cells[0]["path"], "cells": cells})


def adapter(path: Path, trigger: str = "", rank: int = 4, kind: str = "lora", base: str = "pocket") -> Path:
    """A file that is an adapter to whoever reads its header."""
    factors = {"lora_A.weight": (rank, 8), "lora_B.weight": (8, rank)}
    if kind == "dora":
        factors |= {"lora_magnitude_vector": (8,)}
    tensors = {f"unet.mid.attn.to_q.{name}": np.zeros(shape, np.float32) for name, shape in factors.items()}
    told = {"lorastyle.trigger": trigger, "lorastyle.base": base, "lorastyle.family": "pocket"}
    save_file(tensors, path, metadata=told)
    return path
