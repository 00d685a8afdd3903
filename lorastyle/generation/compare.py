"""Grids of checkpoint x strength x prompt, drawn as one routed batch.

grid = lorastyle.compare_grid(base, run.checkpoints, [0.5, 1.0], ["a cat face"], seed=0, out="grid")
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from lorastyle import files
from lorastyle.bases.base import Base
from lorastyle.errors import BadInput
from lorastyle.generation.generate import generate
from lorastyle.generation.grids import comparison
from lorastyle.generation.parameters import called


@dataclass(frozen=True)
class Cell:
    """One picture of a grid: the adapter file and the strength it was drawn with, the prompt, and where it lies."""

    checkpoint: Path
    strength: float
    prompt: str
    path: Path


@dataclass(frozen=True)
class Grid:
    """A drawn grid. `cells` are ordered by prompt, then checkpoint, then strength; `sheet` shows them all, labelled."""

    folder: Path
    cells: tuple[Cell, ...]
    sheet: Path

    def summary(self) -> dict[str, Any]:
        """The same for JSON."""
        cells = [{name: _plain(value) for name, value in asdict(cell).items()} for cell in self.cells]
        return {"sheet": str(self.sheet), "cells": cells}


def compare_grid(
    base: Base,
    checkpoints: Sequence[Path | str],
    strengths: Sequence[float],
    prompts: Sequence[str],
    seed: int = 0,
    out: Path | str = "grid",
    *,
    steps: int = 20,
    guidance: float | None = None,
    batch: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> Grid:
    """Draw every prompt with every checkpoint at every strength; the pictures of one prompt begin as the same noise.

    All are rows of one call: each row of a batch has its own adapter and strength, so the base is loaded and injected
    once, and no picture waits for a swap.

    Args:
        checkpoints: adapter files, or folders of checkpoints. strengths: 0 shows the base itself.
        out: a folder for the pictures and `sheet.png`.
        steps, guidance, batch, progress: as :func:`lorastyle.generation.generate.generate` takes them.

    Raises:
        BadInput: one of the lists is empty, or an adapter does not fit the base.
        BadFile: an adapter's file cannot be used.
    """
    adapters = [Path(given) / "adapter.safetensors" if Path(given).is_dir() else Path(given) for given in checkpoints]
    for name, given in (("checkpoints", adapters), ("strengths", strengths), ("prompts", prompts)):
        if not given:
            raise BadInput(name, "there are none", "give at least one")
    out = Path(out)
    wanted = list(itertools.product(enumerate(prompts), enumerate(adapters), enumerate(strengths)))
    images = generate(
        base,
        [prompt for (_, prompt), _, _ in wanted],
        [{adapter: strength} for _, (_, adapter), (_, strength) in wanted],
        numbers=[number for (number, _), _, _ in wanted],
        seed=seed,
        steps=steps,
        guidance=guidance,
        batch=batch,
        progress=progress,
    )
    cells = []
    for image, ((row, prompt), (column, adapter), (depth, strength)) in zip(images, wanted, strict=True):
        path = out / f"prompt-{row + 1}-checkpoint-{column + 1}-strength-{depth + 1}.png"
        files.write_image(path, image)
        cells.append(Cell(adapter, strength, prompt, path))
    sheet = out / "sheet.png"
    files.write_image(sheet, _sheet(images, adapters, strengths, prompts))
    return Grid(out, tuple(cells), sheet)


def _sheet(
    images: Sequence[Image.Image], adapters: Sequence[Path], strengths: Sequence[float], prompts: Sequence[str]
) -> Image.Image:
    """One row for each prompt, one column for each checkpoint and strength."""
    columns = [f"{called(adapter)} at {strength:g}" for adapter in adapters for strength in strengths]
    rows = [images[start : start + len(columns)] for start in range(0, len(images), len(columns))]
    return comparison(rows, prompts, columns, "same seeds in each row")


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value
