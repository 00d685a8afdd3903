"""Taking in what a person drops: images, captions, folders, zips.

Everything is copied into a staging folder first, counted while it is read, then looked at, and only then becomes part
of the dataset, one image after the other: who looks at the dataset meanwhile sees it grow, and a process that dies
leaves the images that it had finished.
"""

import os
import re
import shutil
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import psutil

from lorastyle import files
from lorastyle.data.formats import HEAD_BYTES, image_format
from lorastyle.data.sidecars import Captioned, Sidecars, accompanies
from lorastyle.errors import BadFile, BadInput
from lorastyle.workspace.drafts.eyes import look
from lorastyle.workspace.drafts.rows import Added
from lorastyle.workspace.drafts.sources import NamedFiles, folder_files, is_zip, loose_files, unpacked
from lorastyle.workspace.drafts.store import NewImage, Store
from lorastyle.workspace.names import new_id, one_line
from lorastyle.workspace.settings import MAKE_ROOM, Limits

Report = Callable[[int, int], None]
MOST_WAITING_BYTES = 2**22  # of captions of images that have not come yet, per file
_CHUNK = 2**20
_SUFFIXES = {"JPEG": ".jpg", "HEIF": ".heic"}
_STAGING = re.compile(r"(\d+)-\w.*")
_in_use: set[Path] = set()
_NAME = 200  # characters of a person's own name for an image


@dataclass
class Intake:
    """One call of `Draft.add`. `room` is how many bytes the person may still use."""

    store: Store
    folder: Path
    staging: Path
    limits: Limits
    room: int
    added: list[str] = field(default_factory=list)
    captioned: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def take(self, paths: Iterable[Path], report: Report | None) -> Added:
        batches = [_Batch(self, source) for source in self._sources(paths)]
        total = sum(len(batch.images) for batch in batches)
        done = 0
        for batch in batches:
            for name in batch.images:
                self._take_one(batch, name)
                done += 1
                if report:
                    report(done, total)
            batch.finish()
        self.store.refuse(self.refused)
        return Added(tuple(self.added), tuple(self.captioned), tuple(self.refused))

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """What is wrong with one file is said, and the others go on."""
        try:
            yield
        except BadInput as error:
            self.refused.append(str(error))

    def _sources(self, paths: Iterable[Path]) -> Iterator[NamedFiles]:
        loose = []
        for path in paths:
            with self.refusing():
                if not path.exists():
                    raise BadFile(path.name, "there is no such file", "check the path")
                if path.is_dir():
                    yield folder_files(path)
                elif is_zip(path):
                    _require_small(path, self.limits)
                    unpacking = self.staging / f"zip-{new_id()}"
                    unpacking.mkdir()
                    most = min(self.limits.unpacked_bytes, max(self.room, 0))
                    yield unpacked(path, unpacking, self.limits.model_copy(update={"unpacked_bytes": most}))
                else:
                    loose.append(path)
        if loose:
            yield loose_files(loose)

    def _take_one(self, batch: "_Batch", name: str) -> None:
        with self.refusing():
            captioned = batch.caption(name)
            id, staged = new_id(), self._staged(batch.source, name)
            try:
                shown = _shown(name if batch.source.name else PurePosixPath(name).name)
                seen, thumbnail = look(staged, shown, self.limits.pixels)
                target = self.folder / "images" / f"{id}{_suffix(staged, shown)}"
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(staged, target)
            finally:
                staged.unlink(missing_ok=True)
            beside = self.folder / "thumbnails" / f"{id}.webp"
            files.write_bytes(beside, thumbnail)
            caption = captioned.caption if captioned.written else ""
            image = NewImage(id, shown, target.name, caption, bool(caption), captioned.focus, captioned.repeats, seen)
            try:
                self.store.insert(image, self.limits.dataset_files)
            except BadInput:
                target.unlink()
                beside.unlink()
                raise
            self.added.append(id)

    def _staged(self, source: NamedFiles, name: str) -> Path:
        """A copy of a file in the staging folder, counted against what is allowed; raises BadFile."""
        place, staged = source.places[name], self.staging / new_id()
        with source.open(name) as stream, open(staged, "xb") as file:
            size = 0
            while chunk := stream.read(_CHUNK):
                size += len(chunk)
                if size > min(self.limits.upload_bytes, self.room):
                    file.close()
                    staged.unlink()
                    raise _too_large(name, self.limits, self.room)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        self.room -= size
        if place.is_relative_to(self.staging):
            place.unlink()
        return staged


class _Batch:
    """The files of one source, with captions that have waited for them, and images that captions may be for."""

    def __init__(self, intake: Intake, source: NamedFiles) -> None:
        self.intake, self.source = intake, source
        intake.refused += [str(refused) for refused in source.refused]
        self._waited = self._with_waiting()
        self._there = self._with_images() if any(map(accompanies, source.places)) else {}
        self._sidecars = self._understood()
        self.images = [name for name in self._sidecars.images if name not in self._there]

    def caption(self, name: str) -> Captioned:
        """What is said of an image; a caption that cannot be read is refused, the image is not."""
        with self.intake.refusing():
            found = self._sidecars.of(name)
            self._require_short(name, found.caption)
            return found
        return Captioned("", 1, (), written=False)

    def _require_short(self, name: str, caption: str) -> None:
        most = self.intake.limits.caption_characters
        if len(caption) > most:
            what = f"its caption has {len(caption):,} characters, more than the {most:,} allowed here, and is left out"
            raise BadFile(name, what, "write a shorter one")

    def finish(self) -> None:
        """Give captions to images that were there before, and keep those of images that have not come yet."""
        for name, id in self._there.items():
            with self.intake.refusing():
                for place, caption in self._sidecars.found(name):
                    self._give(id, place, caption)
        waiting: dict[str, bytes] = {}
        for name in self._sidecars.unused:
            with self.intake.refusing():
                waiting[name] = self._kept(name)
        self.intake.store.wait_with(waiting, [name for name in self._waited if name not in waiting])

    def _kept(self, name: str) -> bytes:
        with self.source.open(name) as stream:
            data = stream.read(MOST_WAITING_BYTES + 1)
        if len(data) > MOST_WAITING_BYTES:
            raise BadFile(name, "names images that are not there, and is too large to be kept until they come",
                          "add it together with its images")  # fmt: skip
        return data

    def _give(self, id: str, place: str, caption: str) -> None:
        def given(row: sqlite3.Row) -> dict[str, object]:
            self._require_short(row["name"], caption)
            return {} if row["caption"] or not caption else {"caption": caption, "by_person": 1}

        if self.intake.store.change("captions from files", given, [id], join=True):
            self.intake.captioned.append(id)
        elif place not in self._waited and self.intake.store.image(id)["caption"] != caption:
            raise BadFile(place, "its image has another caption already, which stays", "change that by hand if need be")

    def _with_waiting(self) -> list[str]:
        """Put captions that came before their images beside what came now."""
        names = []
        for name, data in self.intake.store.waiting().items():
            if name not in self.source.places:
                place = self.intake.staging / f"waiting-{new_id()}"
                place.write_bytes(data)
                self.source.places = {**self.source.places, name: place}
            names.append(name)
        return names

    def _with_images(self) -> dict[str, str]:
        """Put images of the dataset beside captions that came now, by their whole name and by its last part."""
        rows = self.intake.store.images()
        by_last: defaultdict[str, list[str]] = defaultdict(list)
        for row in rows:
            by_last[PurePosixPath(row["name"]).name].append(row["id"])
        there = {last: ids[0] for last, ids in by_last.items() if len(ids) == 1} | {
            row["name"]: row["id"] for row in rows
        }
        there = {name: id for name, id in there.items() if name not in self.source.places}
        places = dict.fromkeys(there, self.intake.folder)  # never opened: only captions of them are asked for
        self.source.places = {**self.source.places, **places}
        return there

    def _understood(self) -> Sidecars:
        """The source sorted into images and captions; metadata that cannot be understood is refused, and left out."""
        while True:
            try:
                return Sidecars(self.source, more=True)
            except BadFile as error:
                if error.where not in self.source.places:
                    raise
                self.intake.refused.append(str(error))
                self.source.places = {name: at for name, at in self.source.places.items() if name != error.where}


@contextmanager
def staging_folder(uploads: Path) -> Iterator[Path]:
    """A new folder for one intake, gone afterwards."""
    folder = uploads / f"{os.getpid()}-{new_id()}"
    _in_use.add(folder)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
        _in_use.discard(folder)


def sweep(uploads: Path) -> None:
    """Remove the staging folders of processes that were killed."""
    for folder in uploads.glob("*"):
        name = _STAGING.fullmatch(folder.name)
        # A process that is started again may get its old number, so our own folders are known by path.
        if name and (folder not in _in_use if int(name[1]) == os.getpid() else not psutil.pid_exists(int(name[1]))):
            shutil.rmtree(folder, ignore_errors=True)  # another process may be sweeping, too


def _require_small(path: Path, limits: Limits) -> None:
    if path.stat().st_size > limits.upload_bytes:
        raise _too_large(path.name, limits, limits.upload_bytes)


def _too_large(name: str, limits: Limits, room: int) -> BadFile:
    if room < limits.upload_bytes:
        return BadFile(name, "there is no room for it: what you may store here is used up", MAKE_ROOM)
    return BadFile(name, f"is larger than the {limits.upload_bytes / 2**20:.4g} MB allowed here", "make it smaller")


def _suffix(path: Path, name: str) -> str:
    """The suffix that fits what the file is, whatever it was called."""
    with open(path, "rb") as stream:
        found = image_format(stream.read(HEAD_BYTES), name)
    return _SUFFIXES.get(found, f".{found.lower()}")


def _shown(name: str) -> str:
    """A person's own name for an image, as it may be shown."""
    return one_line(name)[-_NAME:] or "image"
