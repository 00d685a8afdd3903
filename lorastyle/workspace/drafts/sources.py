"""Files that somebody wants to add, named as they named them, wherever they lie.

No name that came from outside becomes a path: what is unpacked lies in the staging folder under numbers.
"""

import shutil
import stat
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from lorastyle.data.formats import HEAD_BYTES, image_format
from lorastyle.data.sidecars import accompanies
from lorastyle.data.sources import UNPACKING_ERRORS, FolderSource, Refused, is_clutter, open_file
from lorastyle.errors import BadFile
from lorastyle.workspace.settings import Limits

_ZIP_HEADS = (b"PK\x03\x04", b"PK\x05\x06")
_CHUNK = 2**20


@dataclass
class NamedFiles:
    """A source of a dataset (see :class:`lorastyle.data.sources.Source`) whose files lie anywhere: `places` by name."""

    name: str
    places: Mapping[str, Path]
    refused: list[Refused] = field(default_factory=list)
    path: Path = Path()

    @property
    def files(self) -> list[str]:
        return sorted(self.places)

    def open(self, name: str) -> BinaryIO:
        return open_file(self.places[name], name)


def is_zip(path: Path) -> bool:
    with open_file(path, path.name) as stream:
        return stream.read(4) in _ZIP_HEADS


def loose_files(paths: Iterable[Path]) -> NamedFiles:
    """Files that were dropped together, known by their names alone; of equal names, the second is "2/NAME".

    So is what lies beside that second file and has its stem: captions stay with their images.
    """
    places: dict[str, Path] = {}
    numbers: dict[Path, int] = {}
    for path in paths:
        if is_clutter(path.name):
            continue
        number = next(free for free in count(numbers.get(path.with_suffix(""), 1)) if _apart(path, free) not in places)
        numbers.setdefault(path.with_suffix(""), number)
        places[_apart(path, number)] = path
    return NamedFiles("", places)


def _apart(path: Path, number: int) -> str:
    return path.name if number == 1 else f"{number}/{path.name}"


def folder_files(path: Path) -> NamedFiles:
    """The files under a folder; raises BadInput where it cannot be read."""
    folder = FolderSource(path)
    return NamedFiles(folder.name, {name: path / name for name in folder.files}, folder.refused, path)


def unpacked(path: Path, staging: Path, limits: Limits) -> NamedFiles:
    """The files in a zip, unpacked one by one into the folder `staging`.

    The sizes that it declares bound what is unpacked: an entry is never read beyond its own, and one that holds more
    fails its checksum. Raises BadFile, and leaves nothing to use, where an entry leads out of the zip, is a link or
    encrypted, or where the limits are passed. Where there is no image, all is refused, each file for its own reason.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            places = _Unpacking(archive, path.name, staging, limits).places()
    except UNPACKING_ERRORS as error:
        raise BadFile(path.name, f"cannot be unpacked ({error})", "pack it again") from error
    stem = PurePosixPath(path.name).stem
    pictures = {name: place for name, place in places.items() if not accompanies(name)}
    faults = list(_faults(pictures))
    if len(faults) < len(pictures):
        return NamedFiles(stem, places, path=path)
    none = Refused(path.name, "has no image in it", "pack a folder of images as PNG, JPEG or WebP")
    return NamedFiles(stem, {}, [none, *faults], path)


@dataclass
class _Unpacking:
    archive: zipfile.ZipFile
    name: str
    staging: Path
    limits: Limits

    def places(self) -> dict[str, Path]:
        entries = self.archive.infolist()
        if len(entries) > self.limits.archive_entries:
            what = f"has {len(entries):,} entries, more than the {self.limits.archive_entries:,} allowed here"
            raise BadFile(self.name, what, "make several smaller zips of it")
        for entry in entries:  # all before any, so that a zip with one bad entry writes nothing
            self._require_harmless(entry)
        if sum(entry.file_size for entry in entries) > self.limits.unpacked_bytes:
            what = f"unpacks to more than the {self.limits.unpacked_bytes / 2**30:.3g} GB allowed here"
            raise BadFile(self.name, what, "make several smaller zips of it")
        places: dict[str, Path] = {}
        for number, entry in enumerate(entries):
            name = entry.filename.replace("\\", "/")
            if entry.is_dir() or any(is_clutter(part) for part in PurePosixPath(name).parts):
                continue
            if name in places:
                raise BadFile(self.name, f"has two entries of the name {name}", "pack it again")
            places[name] = self._write(entry, self.staging / f"{number:06}")
        return places

    def _require_harmless(self, entry: zipfile.ZipInfo) -> None:
        parts = entry.filename.replace("\\", "/").split("/")
        fault = None
        if parts[0] == "" or ".." in parts or ":" in parts[0]:
            fault = "a path that leads out of the zip"
        elif (mode := entry.external_attr >> 16) and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or mode < 0o10000):
            fault = "a link or another entry that is no file"
        elif entry.flag_bits & 0x1:
            fault = "an encrypted entry"
        elif entry.file_size > self.limits.upload_bytes:
            fault = f"a file of more than the {self.limits.upload_bytes / 2**20:.4g} MB allowed here"
        if fault:
            raise BadFile(self.name, f"has {fault}, so nothing of it is used", "pack the images again, nothing else")

    def _write(self, entry: zipfile.ZipInfo, place: Path) -> Path:
        with self.archive.open(entry) as stream, open(place, "xb") as file:
            shutil.copyfileobj(stream, file, _CHUNK)
        return place


def _faults(places: Mapping[str, Path]) -> Iterator[Refused]:
    """Why files are no images, those that are none."""
    for name, place in places.items():
        with open(place, "rb") as stream:
            head = stream.read(HEAD_BYTES)
        try:
            image_format(head, name)
        except BadFile as error:
            yield Refused(name, error.what, error.do)
