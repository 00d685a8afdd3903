"""Whole files: a reader sees the old file or the new one, never part of one.

Everything is written beside its place under a name of our own, synced to the disk, and renamed. A writer that is
killed leaves at most a leftover under such a name, which :func:`sweep` removes.
"""

import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import psutil

from lorastyle.errors import BadFile

if TYPE_CHECKING:
    from PIL.Image import Image

PARAMETER_TEXTS = ("lorastyle", "parameters")  # JSON for us to read, and the one text that other tools show
_MARK = re.compile(r"\.(?P<name>.+)\.lorastyle-(?P<pid>\d+)-[0-9a-f]{8}\.(?P<role>new|old)")
_in_use: set[Path] = set()


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write `data` as the file `path`, whole or not at all; missing parent folders are made.

    Raises BadFile where the disk is full or the place cannot be written.
    """
    with new_file(path) as file:
        file.write(data)


@contextmanager
def new_file(path: Path | str, mode: int = 0o644) -> Iterator[BinaryIO]:
    """A file to write piece by piece, which becomes `path` when the block ends well and vanishes when it raises.

    It has the permissions `mode`, less what the umask takes, from the beginning.
    """
    path = _absolute(path)
    with _beside(path) as new, _said_plainly(path):
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
        _sync_folder(path.parent)


def link(source: Path | str, target: Path | str) -> None:
    """The same file at a second place, without a second copy where the file system can do that.

    For files that are never written to again, only replaced whole. Missing parent folders are made.
    """
    target = _absolute(target)
    with _said_plainly(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:  # another disk, or a file system without links
            shutil.copyfile(source, target)


def write_text(path: Path | str, text: str) -> None:
    """Write `text` as UTF-8, as :func:`write_bytes` does."""
    write_bytes(path, text.encode())


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON; raises ValueError for NaN and infinity, which JSON cannot say."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_text(path: Path | str) -> str:
    """The text of a UTF-8 file; raises BadFile where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise BadFile(str(path), "there is no such file", "check the path") from None
    except OSError as error:
        what = f"cannot be read ({error.strerror or error})"
        raise BadFile(str(path), what, "check the path and its permissions") from error
    except UnicodeDecodeError as error:
        raise BadFile(str(path), "is not text in UTF-8", "save it as UTF-8 text") from error


def write_image(path: Path | str, image: "Image") -> None:
    """Write a picture as PNG, as :func:`write_bytes` does, with how it was drawn, if its `info` says so.

    :func:`lorastyle.generation.generate.generate` puts that into `info`; :func:`read_parameters` reads it back.
    """
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    for name in PARAMETER_TEXTS:
        if name in image.info:
            texts.add_text(name, image.info[name])
    data = io.BytesIO()
    image.save(data, format="PNG", pnginfo=texts)
    write_bytes(path, data.getvalue())


def read_parameters(path: Path | str) -> dict[str, Any]:
    """How a picture that :func:`write_image` wrote was drawn: prompt, seed, adapters, and so on.

    Raises BadFile where it is no PNG or does not say.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as image:
            value = json.loads(image.info.get(PARAMETER_TEXTS[0], "null"))
    except FileNotFoundError:
        raise BadFile(str(path), "there is no such file", "check the path") from None
    except (OSError, ValueError, SyntaxError, RecursionError, Image.DecompressionBombError) as error:
        raise BadFile(str(path), f"cannot be read as a PNG ({error})", "choose a picture drawn by lorastyle") from error
    if not isinstance(value, dict):
        raise BadFile(str(path), "does not say how it was drawn", "choose a picture drawn by lorastyle")
    return value


def read_json(path: Path | str) -> Any:
    """The value in a JSON file; raises BadFile where there is none."""
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise BadFile(str(path), f"is not valid JSON ({error.msg}, {place})", "correct or delete it") from error
    except RecursionError as error:
        raise BadFile(str(path), "is nested too deeply to be read", "correct or delete it") from error


@contextmanager
def new_folder(path: Path | str) -> Iterator[Path]:
    """A folder to fill, which becomes `path` when the block ends well and vanishes when it raises.

    A folder already at `path` is replaced: it is moved aside, and :func:`sweep` puts it back should the process die
    between the two renames, the only moment at which `path` does not exist.

    Raises BadFile where the disk is full or the place cannot be written.
    """
    path = _absolute(path)
    with _beside(path) as new, _said_plainly(path):
        new.mkdir()
        yield new
        _sync_tree(new)
        _put_in_place(new, path)
        _sync_folder(path.parent)


def remove_folder(path: Path | str) -> None:
    """Remove a folder so that nobody sees part of it: it is renamed to a leftover first, which :func:`sweep` knows."""
    path = _absolute(path)
    leftover = _our_name(path, "new")
    with _said_plainly(path):
        os.replace(path, leftover)
        shutil.rmtree(leftover)


def sweep(folder: Path | str) -> list[Path]:
    """Remove what killed writers left anywhere under `folder`; returns the leftovers found.

    What a living process is writing is not touched. A folder that was moved aside and not yet replaced is put back.
    """
    leftovers = []
    for parent, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            found = Path(parent, name)
            mark = _MARK.fullmatch(name)
            if mark and not _in_the_making(found, int(mark["pid"])):
                _clear(found, mark)
                leftovers.append(found)
        folders[:] = [name for name in folders if not _MARK.fullmatch(name)]
    return sorted(leftovers)


def _clear(leftover: Path, mark: re.Match[str]) -> None:
    published = leftover.with_name(mark["name"])
    with suppress(FileNotFoundError):  # another process may be sweeping the same folder
        if mark["role"] == "old" and not published.exists():
            os.replace(leftover, published)
        else:
            _remove(leftover)


def _in_the_making(leftover: Path, pid: int) -> bool:
    # In a container the number of a killed process is soon ours, so our own writers are known by path.
    return leftover.resolve() in _in_use if pid == os.getpid() else psutil.pid_exists(pid)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    with _said_plainly(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    new = _our_name(path, "new")
    _in_use.add(new)
    try:
        yield new
    finally:
        if new.exists():
            _remove(new)
        _in_use.discard(new)


def _put_in_place(new: Path, path: Path) -> None:
    if not path.exists():
        os.replace(new, path)
        return
    old = _our_name(path, "old")
    os.replace(path, old)
    try:
        os.replace(new, path)
    except OSError:
        os.replace(old, path)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _our_name(path: Path, role: str) -> Path:
    return path.with_name(f".{path.name}.lorastyle-{os.getpid()}-{os.urandom(4).hex()}.{role}")


def _absolute(path: Path | str) -> Path:
    path = Path(path)
    return path.parent.resolve() / path.name


@contextmanager
def _said_plainly(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = f"cannot be written ({error.strerror or error})"
        raise BadFile(str(path), what, "check the path, its permissions and the free space there") from error


def _sync_tree(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            with open(Path(parent, name), "rb+") as file:
                os.fsync(file.fileno())
        _sync_folder(Path(parent))


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows has no handle of a folder to sync
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
