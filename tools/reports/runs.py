"""What the reports share: they train by the command line and draw by the Python interface, as any user would."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

import lorastyle

FOLDER = Path("runs") / "reports"
SAMPLES = Path("sample_data")
BATCH = 10

console = Console(stderr=True, highlight=False)


def command(data: Path, out: Path, *options: str) -> list[str]:
    """The command that trains on `data` into `out`."""
    return [sys.executable, "-m", "lorastyle.cli", "train", str(data), "--out", str(out), "--json", *options]


def train(data: Path, out: Path, *options: str) -> dict[str, Any]:
    """Train on `data` into a new folder `out`, with the trainer's own progress on stderr; returns what it printed."""
    console.print(f"[bold]training {out}[/bold] {' '.join(options)}")
    shutil.rmtree(out, ignore_errors=True)
    finished = subprocess.run(command(data, out, *options), check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(finished.stdout.splitlines()[-1])


def metrics(out: Path) -> list[dict[str, Any]]:
    """The rows of a run's `metrics.jsonl`."""
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def draw(base: lorastyle.Base, prompts: Sequence[str], adapter: str | None, seed: int) -> np.ndarray:
    """One picture for each prompt, RGB bytes [n, height, width, 3], with `adapter` or by the base alone."""
    with Progress(console=console) as bar:
        task = bar.add_task("drawing with the adapter" if adapter else "drawing by the base alone", total=None)
        pictures = lorastyle.generate(
            base,
            list(prompts),
            adapters={adapter: 1.0} if adapter else None,
            seed=seed,
            batch=BATCH,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    return np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])


def to_pixels(pictures: np.ndarray) -> torch.Tensor:
    """Pixels [n, 3, height, width] in -1..1 of RGB bytes [n, height, width, 3]."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_bytes(pixels: torch.Tensor) -> np.ndarray:
    """RGB bytes [n, height, width, 3] of pixels [n, 3, height, width] in about -1..1."""
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def latents(base: lorastyle.Base, pictures: np.ndarray) -> torch.Tensor:
    """The base's latents [n, c, height / 8, width / 8] of RGB bytes [n, height, width, 3]."""
    return torch.cat([base.encode_images(part).cpu() for part in to_pixels(pictures).split(16)])


def carried(base: lorastyle.Base, pictures: np.ndarray) -> np.ndarray:
    """Pictures after a pass through the base's autoencoder, which blurs them as it does everything it draws."""
    return to_bytes(torch.cat([base.decode_latents(part).cpu() for part in latents(base, pictures).split(16)]))


def publish(results: dict[str, Any]) -> None:
    """Print the results as the last line on stdout."""
    print(json.dumps(results), flush=True)
