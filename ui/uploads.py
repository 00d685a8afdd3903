"""From files as Gradio took them in to a folder laid out as the person had it, so that captions find their images."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from gradio.utils import get_upload_folder

from lorastyle import BadInput

_NAME = 200  # characters of one part of a path


@contextmanager
def laid_out(uploaded: Iterable[Mapping[str, Any]]) -> Iterator[list[Path]]:
    """The files {"path": where Gradio put it, "name": as the person has it, folders with "/"} under their own names.

    Yields what lies at the top; all of it is gone afterwards. Raises BadInput for a path that is no upload.
    """
    store = Path(get_upload_folder()).resolve()
    with tempfile.TemporaryDirectory(prefix="added-", dir=_beside(store)) as made:
        folder = Path(made)
        for file in uploaded:
            source = _uploaded(store, str(file["path"]))
            target = folder.joinpath(*_parts(str(file["name"])))
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                _link(source, target)
        yield sorted(folder.iterdir())


def discard(uploaded: Iterable[Mapping[str, Any]]) -> None:
    """Remove uploads that were taken in; the dataset has its own copy."""
    store = Path(get_upload_folder()).resolve()
    for file in uploaded:
        path = _uploaded(store, str(file["path"]))
        path.unlink(missing_ok=True)


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
