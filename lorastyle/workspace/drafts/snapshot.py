"""A dataset as it stands at one moment, in a folder that :class:`lorastyle.data.dataset.Dataset` reads.

0001.png, 0002.jpg, ...        the images, under names of ours
5_times/0003.png               those that an epoch shows five times
metadata.jsonl                 for each its caption (`text`), its `focus` and the owner's own `name` for it
"""

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from lorastyle import files


def write_snapshot(folder: Path, stored: Sequence[sqlite3.Row], images: Path) -> None:
    """Write the rows of the table of images, whose files lie in the folder `images`, as a dataset into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, row in enumerate(stored, 1):
        name = f"{number:04}{Path(row['file']).suffix}"
        if row["repeats"] > 1:
            name = f"{row['repeats']}_times/{name}"
        files.link(images / row["file"], folder / name)
        focus = [row["focus_x"], row["focus_y"]]
        told = {"file_name": name, "text": row["caption"], "focus": focus, "name": row["name"]}
        lines.append(json.dumps(told, ensure_ascii=False))
    files.write_text(folder / "metadata.jsonl", "\n".join(lines) + "\n")
