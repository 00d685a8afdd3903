"""From files as Gradio took them in to a folder laid out as the person had it, so that captions find their images."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any

from gradio.utils import get_upload_folder

from lorastyle import BadInput

_NAME = 200  # characters of one part of a path


@contextmanager
def laid_out(uploaded: Iterable[Mapping[str, Any]]) -> Iterator[list[Path]]:
    """The files {"path": where Gradio put it, "name": as the person has it, folders with "/"} under their own names.

    Where a name comes again, a second file of it is laid beside the first in a folder of its own, and what comes later
    of that stem with it: a browser sends one folder's image and caption, then another's.

    Yields what lies at the top; all of it is gone afterwards. Raises BadInput for a path that is no upload.
    """
    store = Path(get_upload_folder()).resolve()
    with tempfile.TemporaryDirectory(prefix="added-", dir=_beside(store)) as made:
        tops = _Tops(Path(made))
        for file in uploaded:
            source = _uploaded(store, str(file["path"]))
            target = tops.place(Path(*_parts(str(file["name"]))))
            target.parent.mkdir(parents=True, exist_ok=True)
            _link(source, target)
        yield [path for top in tops.all() for path in sorted(top.iterdir())]


def discard(uploaded: Iterable[Mapping[str, Any]]) -> None:
    """Remove uploads that were taken in; the dataset has its own copy."""
    store = Path(get_upload_folder()).resolve()
    for file in uploaded:
        path = _uploaded(store, str(file["path"]))
        path.unlink(missing_ok=True)


class _Tops:
    """Numbered folders under `folder`, in each of which a name is there once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.latest: dict[Path, int] = {}

    def place(self, name: Path) -> Path:
        """A free place for the file that a person calls `name`."""
        stem = name.with_suffix("")
        places = ((number, self.folder / str(number) / name) for number in count(self.latest.get(stem, 1)))
        self.latest[stem], place = next((number, place) for number, place in places if not place.exists())
        return place

    def all(self) -> list[Path]:
        return sorted(self.folder.iterdir(), key=lambda top: int(top.name))


def _beside(store: Path) -> Path:
    store.mkdir(parents=True, exist_ok=True)
    return store


def _uploaded(store: Path, path: str) -> Path:
    source = Path(path)
    if source.is_symlink() or not source.resolve().is_relative_to(store):
        raise BadInput("file", "it was not uploaded here", "drop it on the page")
    return source.resolve()


def _parts(name: str) -> list[str]:
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "..", ".")]
    if not parts or any("\0" in part for part in parts):
        raise BadInput("file", "it has no name", "give it one, and drop it again")
    return [part[:_NAME] if len(parts) > 1 and part is not parts[-1] else part[-_NAME:] for part in parts]


def _link(source: Path, target: Path) -> None:
    if not source.is_file():
        raise BadInput(target.name, "its upload is gone", "drop it on the page again")
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)
