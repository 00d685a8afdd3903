"""Where the files of a dataset lie: a folder, or a zip that is read without unpacking it to disk."""

import io
import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

from lorastyle.errors import BadFile, BadInput

MOST_ENTRIES = 10_000
MOST_UNPACKED_BYTES = 10 * 2**30
MOST_FILE_BYTES = 2**30

UNPACKING_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    OSError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
_CLUTTER = {"__macosx", "thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class Refused:
    """A file that is not used: its `name` in the dataset, `what` is wrong with it, what to `do` about it."""

    name: str
    what: str
    do: str

    def __str__(self) -> str:
        return str(BadFile(self.name, self.what, self.do))


class Source(Protocol):
    """A tree of files, named by their paths with slashes. Hidden files are not listed, others that cannot be read
    are in `refused`."""

    name: str
    path: Path
    refused: list[Refused]

    @property
    def files(self) -> Sequence[str]: ...

    def open(self, name: str) -> BinaryIO:
        """A seekable stream of the file; raises BadFile."""


def open_file(path: Path, name: str) -> BinaryIO:
    """The file at `path`, which messages call `name`; raises BadFile where it cannot be opened."""
    try:
        return open(path, "rb")
    except OSError as error:
        raise BadFile(name, f"cannot be opened ({error.strerror})", "check that it exists and may be read") from error


def read_bytes(source: Source, name: str, most: int) -> bytes:
    """The whole of a file that should have at most `most` bytes; raises BadFile where it has more."""
    with source.open(name) as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise BadFile(name, f"has more than {most:,} bytes", "make it smaller")
    return data


class FolderSource:
    """The files under a folder, nested ones too. Links to files are followed, links to folders are refused."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.resolve().name
        self.refused: list[Refused] = []
        self.files = sorted(self._usable_names())

    def open(self, name: str) -> BinaryIO:
        try:
            return open(self.path / name, "rb")
        except OSError as error:
            raise BadFile(
                name, f"cannot be opened ({error.strerror})", "check that it exists and may be read"
            ) from error

    def _usable_names(self) -> Iterator[str]:
        for parent, folders, names in os.walk(self.path, onerror=self._refuse_folder):
            folders[:] = sorted(folder for folder in folders if not is_clutter(folder))
            for name in sorted([*names, *(folder for folder in folders if Path(parent, folder).is_symlink())]):
                path = Path(parent, name)
                if not is_clutter(name) and self._is_usable(path):
                    yield path.relative_to(self.path).as_posix()

    def _is_usable(self, path: Path) -> bool:
        name = path.relative_to(self.path).as_posix()
        printable = os.fsencode(name).decode("utf-8", "backslashreplace")
        if path.is_dir():
            self._refuse(printable, "is a link to a folder, which could lead anywhere", "copy the folder here instead")
        elif not path.exists():
            self._refuse(printable, "is a link to a file that does not exist", "copy the file here or remove the link")
        elif not path.is_file():
            self._refuse(printable, "is not a regular file", "remove it")
        elif printable != name:
            self._refuse(printable, "has a name that is not UTF-8", "rename it")
        else:
            return True
        return False

    def _refuse(self, name: str, what: str, do: str) -> None:
        self.refused.append(Refused(name, what, do))

    def _refuse_folder(self, error: OSError) -> None:
        place = Path(error.filename)
        if place == self.path:
            raise BadInput(
                str(self.path), f"cannot be opened ({error.strerror})", "check that it exists and may be read"
            )
        self._refuse(
            place.relative_to(self.path).as_posix(), f"cannot be opened ({error.strerror})", "check its permissions"
        )


class ZipSource:
    """The files in a zip. Nothing is written to disk. The sizes that it declares bound what is unpacked: an entry is
    never read beyond its own, and one that holds more fails its checksum."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.stem
        self.refused: list[Refused] = []
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
            raise BadFile(str(path), f"cannot be opened as a zip ({error})", "copy or pack it again") from error
        self._check_totals()
        self._entries = self._usable_entries()
        self.files = sorted(self._entries)

    def open(self, name: str) -> BinaryIO:
        try:
            return io.BytesIO(self._zip.read(self._entries[name]))
        except UNPACKING_ERRORS as error:
            raise BadFile(name, f"cannot be unpacked ({error})", "pack the zip again") from error

    def _check_totals(self) -> None:
        entries = self._zip.infolist()
        if len(entries) > MOST_ENTRIES:
            what = f"has {len(entries):,} entries, more than {MOST_ENTRIES:,}"
            raise BadFile(str(self.path), what, "unpack it and give the folder")
        if sum(entry.file_size for entry in entries) > MOST_UNPACKED_BYTES:
            what = f"unpacks to more than {MOST_UNPACKED_BYTES / 2**30:g} GB"
            raise BadFile(str(self.path), what, "make sure that it is what you meant, unpack it and give the folder")

    def _usable_entries(self) -> dict[str, zipfile.ZipInfo]:
        usable: dict[str, zipfile.ZipInfo] = {}
        for entry in self._zip.infolist():
            name = entry.filename.replace("\\", "/")  # as some packers on Windows write them
            if entry.is_dir() or any(is_clutter(part) for part in PurePosixPath(name).parts):
                continue
            reason = "is there twice" if name in usable else _fault_of(entry, name)
            if reason:
                self.refused.append(Refused(name, reason, "pack the zip again without it"))
            else:
                usable[name] = entry
        return usable


def _fault_of(entry: zipfile.ZipInfo, name: str) -> str | None:
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or ":" in parts[0]:
        return "has a path that leads out of the zip"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "is a link"
    if entry.flag_bits & 0x1:
        return "is encrypted"
    if entry.file_size > MOST_FILE_BYTES:
        return f"unpacks to more than {MOST_FILE_BYTES / 2**30:g} GB"
    return None


def is_clutter(name: str) -> bool:
    return (name.startswith(".") and name != "..") or name.lower() in _CLUTTER
