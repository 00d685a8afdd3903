"""Looking at images without letting their pixels fill this process: one at a time, and large ones in another process.

What that process is told and what it answers is JSON; it is this module, run by itself.
"""

import base64
import json
import subprocess
import sys
import threading
from pathlib import Path

from lorastyle import files
from lorastyle.data.images import image_size
from lorastyle.errors import BadFile
from lorastyle.workspace.drafts.looks import Look, look_at

LARGE = 8_000_000  # pixels; they take 24 MB, and twice that while they are converted
_one_at_a_time = threading.Lock()


def look(path: Path, name: str, most_pixels: int) -> tuple[Look, bytes]:
    """As :func:`lorastyle.workspace.drafts.looks.look_at`, from any number of threads."""
    width, height = image_size(path, name)
    with _one_at_a_time:
        here = width * height <= LARGE or width * height > most_pixels
        return look_at(path, name, most_pixels) if here else _look_elsewhere(path, name, most_pixels)


def write_thumbnail(path: Path, image: Path, name: str) -> None:
    """Write the thumbnail of an image that was let in before."""
    files.write_bytes(path, look(image, name, sys.maxsize)[1])


def _look_elsewhere(path: Path, name: str, most_pixels: int) -> tuple[Look, bytes]:
    command = [sys.executable, "-m", __name__]
    told = json.dumps({"path": str(path), "name": name, "most_pixels": most_pixels})
    done = subprocess.run(command, input=told, capture_output=True, text=True, check=False)
    if done.returncode:
        what = "cannot be decoded with the memory that there is"
        raise BadFile(name, what, "make it smaller; training uses far fewer pixels")
    answer = json.loads(done.stdout)
    if "error" in answer:
        raise BadFile(*answer["error"])
    return Look.from_json(answer["look"]), base64.b64decode(answer["thumbnail"])


def _answer(path: str, name: str, most_pixels: int) -> dict[str, object]:
    try:
        seen, thumbnail = look_at(Path(path), name, most_pixels)
    except BadFile as error:
        return {"error": [error.where, error.what, error.do]}
    return {"look": seen.to_json(), "thumbnail": base64.b64encode(thumbnail).decode()}


if __name__ == "__main__":
    print(json.dumps(_answer(**json.load(sys.stdin))))
