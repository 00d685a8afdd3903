"""Reading what a job writes while it writes it: its log, its losses, its previews and checkpoints.

Pages ask for these every second, so nothing here takes longer the longer a run is: the rows of metrics.jsonl are
found by bisection in the file, and only those that are shown are parsed.
"""

import json
import mmap
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

LOG_BYTES = 64 * 1024  # of a log at once
_PREVIEW = re.compile(r"step-(\d+)-(\d+)\.png")
_CHECKPOINT = re.compile(r"step-(\d+)")


def read_log(path: Path, offset: int) -> tuple[str, int]:
    """Whole lines of a log from byte `offset` on, and the offset to ask from next."""
    if not path.is_file():
        return "", 0
    with path.open("rb") as file:
        file.seek(max(0, offset))
        data = file.read(LOG_BYTES)
    whole = data[: data.rfind(b"\n") + 1] or (data if len(data) == LOG_BYTES else b"")
    return whole.decode("utf-8", "replace"), max(0, offset) + len(whole)


def read_metrics(path: Path, after: int, points: int) -> list[dict[str, Any]]:
    """At most about `points` rows of a metrics.jsonl, evenly taken from those of steps above `after`; always the last.

    The file has one line a step, in order; a line without its end is still being written.
    """
    if not path.is_file() or path.stat().st_size == 0 or points < 1:
        return []
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
        return _thinned(_Lines(held), after, points)


def _thinned(lines: "_Lines", after: int, points: int) -> list[dict[str, Any]]:
    if not lines.end:
        return []
    last = lines.at(lines.line_before(lines.end))
    count = last["step"] - after
    if count <= 0:
        return []
    begin = lines.first_after(after)
    if count <= points:
        return [json.loads(line) for line in lines.held[begin : lines.end].splitlines()]
    stride = (lines.end - begin) / (points - 1 or 1)
    starts = dict.fromkeys(lines.line_at(begin + int(number * stride)) for number in range(points - 1))
    rows = [lines.at(start) for start in starts]
    return [*(row for row in rows if row["step"] != last["step"]), last]


class _Lines:
    """The whole lines of a mapped file, known by the byte at which they start."""

    def __init__(self, held: mmap.mmap) -> None:
        self.held = held
        self.end = held.rfind(b"\n") + 1

    def line_at(self, position: int) -> int:
        """The start of the line that has the byte `position`."""
        return self.held.rfind(b"\n", 0, min(position, self.end - 1)) + 1

    def line_before(self, start: int) -> int:
        return self.line_at(start - 1)

    def at(self, start: int) -> dict[str, Any]:
        row: dict[str, Any] = json.loads(self.held[start : self.held.find(b"\n", start)])
        return row

    def first_after(self, step: int) -> int:
        """The start of the first line whose step is above `step`."""
        low, high = 0, self.end
        while low < high:
            start = self.line_at((low + high) // 2)
            if self.at(start)["step"] > step:
                high = start
            else:
                low = self.held.find(b"\n", start) + 1
        return low


def read_previews(run: Path, prompts: list[str]) -> list[dict[str, Any]]:
    """The previews of a run, oldest first; the prompt is the picture's own where it tells, else the one of its number.

    A picture's path stays the same when it is drawn again after a restart, with the same bytes.
    """
    found = [(_PREVIEW.fullmatch(path.name), path) for path in (run / "samples").glob("step-*.png")]
    rows = sorted((int(match[1]), int(match[2]), path) for match, path in found if match)
    return [
        {"step": step, "number": number, "prompt": _prompt(path, number, prompts), "path": path}
        for step, number, path in rows
    ]


def _prompt(path: Path, number: int, prompts: list[str]) -> str:
    told = _told(path, path.stat().st_mtime_ns).get("prompt")
    return told if isinstance(told, str) else prompts[number] if number < len(prompts) else ""


@lru_cache(maxsize=4096)
def _told(path: Path, version: int) -> Mapping[str, Any]:
    """What a picture of ours says of itself in its text chunk."""
    with Image.open(path) as picture:
        told = json.loads(picture.info.get("lorastyle", "{}"))
    return told if isinstance(told, dict) else {}


def read_checkpoints(run: Path) -> list[dict[str, Any]]:
    """The adapters of a run's checkpoints, oldest first."""
    found = [(_CHECKPOINT.fullmatch(path.name), path) for path in (run / "checkpoints").glob("step-*")]
    rows = sorted((int(match[1]), path / "adapter.safetensors") for match, path in found if match)
    return [{"step": step, "path": path} for step, path in rows]
