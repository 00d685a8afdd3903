"""A run's folder: where everything lies, and what is written there before and after training."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorastyle import files
from lorastyle.errors import BadInput
from lorastyle.training.checkpoint import Checkpoint, checkpoints
from lorastyle.training.examples import Examples


@dataclass(frozen=True)
class Run:
    """A finished or unfinished run in the folder `folder`; its adapter is named after the folder."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def adapter(self) -> Path:
        """The published adapter file."""
        return self.folder / f"{self.name}.safetensors"

    @property
    def card(self) -> Path:
        return self.folder / "README.md"

    @property
    def comparison(self) -> Path:
        """The same prompts and seeds without and with the adapter."""
        return self.folder / "comparison.png"

    @property
    def chart(self) -> Path:
        return self.folder / "loss.svg"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.toml"

    @property
    def start(self) -> Path:
        """The adapter that the run goes on from, if it does."""
        return self.folder / "start.safetensors"

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """Whole checkpoints, oldest first."""
        return checkpoints(self.folder / "checkpoints")

    def sample(self, step: int, number: int) -> Path:
        return self.folder / "samples" / f"step-{step:06d}-{number}.png"


def open_run(out: Path | str, resume: bool) -> Run:
    """The run in the folder `out`, swept of what a killed writer left.

    Raises:
        BadInput: the folder has a run in it and `resume` is off, or holds something else.
    """
    run = Run(Path(out).resolve())
    if run.folder.is_dir():
        files.sweep(run.folder)
        if {*run.folder.iterdir()} - {run.start} and not run.recipe.is_file():
            raise BadInput(str(out), "this folder is not empty and holds no run", "choose another folder")
        if run.recipe.is_file() and not resume:
            raise BadInput(
                str(out), "there is a run in this folder already", "add --resume to continue it, or choose another"
            )
    run.folder.mkdir(parents=True, exist_ok=True)
    return run


def write_dataset(run: Run, examples: Examples, refused: Sequence[Mapping[str, Any]]) -> None:
    """Write `dataset.jsonl`: each image with its hash, caption and crop as trained, then what was refused and why."""
    rows = [
        {
            "file": example.sample.name,
            "hash": example.sample.hash,
            "caption": example.captions[0],
            "bucket": list(example.crop.bucket),
            "crop": [round(edge, 2) for edge in example.crop.box],
            "held_out": held,
            "notes": list(example.sample.notes),
        }
        for held, part in ((False, examples.trained), (True, examples.held))
        for example in part
    ]
    lines = [json.dumps(row, ensure_ascii=False) for row in [*rows, *refused]]
    files.write_text(run.folder / "dataset.jsonl", "\n".join(lines) + "\n")
