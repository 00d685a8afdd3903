"""A folder of captioned drawings, as `lorastyle train` takes it."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 512
COLOURS = 256  # enough for a few flat colours and the steps between them along the lines; keeps the files small


@dataclass(frozen=True)
class Entry:
    """One drawing: RGB bytes [512, 512, 3] and its caption."""

    pixels: np.ndarray
    caption: str


@dataclass(frozen=True)
class Folder:
    """Drawings by file name, and the text of the README that gives their source and licence."""

    name: str
    entries: Mapping[str, Entry]
    readme: str

    def write(self, parent: Path) -> None:
        """Write the folder under `parent`, in place of what lies there."""
        path = parent / self.name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        for name, entry in self.entries.items():
            write_png(path / f"{name}.png", entry.pixels)
            (path / f"{name}.txt").write_text(entry.caption + "\n", encoding="utf-8")
        (path / "README.md").write_text(self.readme, encoding="utf-8")


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write RGB bytes [h, w, 3] with a palette of their own."""
    Image.fromarray(pixels).quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def file_name(words: str) -> str:
    return words.lower().replace(" ", "-")
