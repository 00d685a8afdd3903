"""Finds files that are not whole at a published name."""

import json
import os
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image
from safetensors import SafetensorError, safe_open

CHECKPOINT = "step-"
PNG_END = b"IEND\xaeB`\x82"


def torn_under(folder: Path) -> list[str]:
    """What is published under `folder` (its name has no dot in front) and not whole, each with the reason."""
    found = []
    for path in published(folder):
        try:
            READERS.get(path.suffix, read_text)(path)
        except (ValueError, OSError, SyntaxError, SafetensorError) as error:  # SyntaxError: a broken PNG or XML
            found.append(f"{path}: {error}")
    return found + torn_checkpoints(folder)


def published(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in sorted(names) if not name.startswith("."))


def torn_checkpoints(folder: Path) -> list[str]:
    """Checkpoints that lack a file which another checkpoint of the same run has."""
    found = []
    for run in {path.parent for path in folder.rglob(f"{CHECKPOINT}*") if path.is_dir()}:
        names = {path: {file.name for file in path.iterdir()} for path in run.glob(f"{CHECKPOINT}*")}
        every = set().union(*names.values())
        lacking = {path: sorted(every - present) for path, present in names.items() if present != every}
        found += [f"{path}: lacks {', '.join(missing)}" for path, missing in lacking.items()]
    return found


def read_safetensors(path: Path) -> None:
    with safe_open(path, framework="numpy") as file:  # it compares the header with the file's length
        file.keys()


def read_lines(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if text and not text.endswith("\n"):
        raise ValueError("the last line has no end")
    for line in text.splitlines():
        json.loads(line)


def read_png(path: Path) -> None:
    if not path.read_bytes().endswith(PNG_END):
        raise ValueError("the last chunk is missing")
    with Image.open(path) as image:
        image.load()


def read_text(path: Path) -> None:
    if not path.read_text(encoding="utf-8").endswith("\n") and path.stat().st_size:
        raise ValueError("the last line has no end")


READERS: dict[str, Callable[[Path], object]] = {
    ".safetensors": read_safetensors,
    ".json": lambda path: json.loads(path.read_text(encoding="utf-8")),
    ".jsonl": read_lines,
    ".toml": lambda path: tomllib.loads(path.read_text(encoding="utf-8")),
    ".svg": ElementTree.parse,
    ".png": read_png,
}
